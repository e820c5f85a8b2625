"""The supernet: an encoder with every candidate exit after every layer, and their architecture parameters."""

import torch
from torch import Tensor, nn

from exitnas.backbones.base import Backbone
from exitnas.exits.operations import EDGES
from exitnas.supernet.architecture import Architecture
from exitnas.supernet.cells import MixedActivation, MixedEncoder, MixedPooling
from exitnas.supernet.relaxations import DEFAULT_RELAXATION
from exitnas.supernet.space import SearchSpace


class SuperExit(nn.Module):
    """The exit of LECO section 4 with a mixed operation on every edge."""

    def __init__(self, space: SearchSpace, hidden_size: int, num_labels: int):
        super().__init__()
        inner = hidden_size if space.width is None else space.width
        self.down = nn.Identity() if space.width is None else nn.Linear(hidden_size, inner)
        self.activation_in = MixedActivation(space.activation_in)
        self.encoder = MixedEncoder((space.encoder_1, space.encoder_2), inner)
        self.pooling = MixedPooling(space.pooling, inner)
        self.activation_out = MixedActivation(space.activation_out)
        self.classifier = nn.Linear(inner, num_labels)

    def forward(self, hidden: Tensor, mask: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """Logits `[B, C]` from hidden states `[B, T, D]`; `weights` maps every edge to this layer's `[n]`."""
        x = self.activation_in(self.down(hidden.to(self.classifier.weight.dtype)), weights["activation_in"])
        x = self.encoder(x, mask, [weights["encoder_1"], weights["encoder_2"]])
        x = self.activation_out(self.pooling(x, mask, weights["pooling"]), weights["activation_out"])
        return self.classifier(x)


class Supernet(nn.Module):
    """A backbone, a `SuperExit` per layer and the architecture parameters of all of them.

    Raises:
        UsageError: the space has no width of its own and does not fit the backbone's hidden size.

    Attributes:
        backbone: the encoder, run layer by layer.
        exits: one `SuperExit` per layer.
        architecture: the architecture parameters, held apart from all other weights.
        log_scales: `[E]`, logarithms of what the architecture step may multiply the logits of every exit by. Ours, not
            LECO's: on examples that the weights fit too well, whatever makes an exit less sure lowers the loss, null
            first of all. A scale of its own takes that over, so that operations are judged by what they encode.
    """

    def __init__(self, backbone: Backbone, space: SearchSpace, num_labels: int, relaxation: str = DEFAULT_RELAXATION):
        super().__init__()
        space.check_fits(backbone.hidden_size)
        self.space = space
        self.backbone = backbone
        self.exits = nn.ModuleList(
            SuperExit(space, backbone.hidden_size, num_labels) for _ in range(backbone.num_layers)
        )
        self.architecture = Architecture(space, backbone.num_layers, relaxation)
        self.log_scales = nn.Parameter(torch.zeros(backbone.num_layers))

    def set_auxiliary_skip(self, beta: float) -> None:
        """Set the weight of the auxiliary skip-connections of all encoder cells (DARTS-)."""
        for exit_ in self.exits:
            exit_.encoder.auxiliary_skip = beta  # type: ignore[union-attr]

    def exit_logits(self, states: list[Tensor], mask: Tensor) -> list[Tensor]:
        """Logits `[B, C]` of every exit from the hidden states `[B, T, D]` of every layer."""
        weights = self.architecture.weights()
        return [
            exit_(hidden, mask, {edge: weights[edge][layer] for edge in EDGES})
            for layer, (exit_, hidden) in enumerate(zip(self.exits, states, strict=True))
        ]

    def scaled(self, logits: list[Tensor]) -> list[Tensor]:
        """The logits `[B, C]` of every exit, each multiplied by its scale."""
        return [scale * values for scale, values in zip(self.log_scales.exp(), logits, strict=True)]
