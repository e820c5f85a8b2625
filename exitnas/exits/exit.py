"""The exit module built from a genotype, with its parameters and multiply-accumulates counted."""

from typing import Any

from torch import Tensor, nn

from exitnas.exits.genotype import ExitGenotype, Genotype
from exitnas.exits.operations import ACTIVATIONS, ENCODERS, POOLINGS
from exitnas.exits.operations.base import Pooling


class Exit(nn.Module):
    """One classifier after one encoder layer (LECO section 4).

    Linear D->d, activation, sum of at most two encoder operations, pooling, activation, Linear d->C. With
    `width=None` there is no down-projection and d = D.

    An exit that pools the first token and whose encoder operations work token by token computes that token only.
    """

    def __init__(self, genotype: ExitGenotype, hidden_size: int, width: int | None, num_labels: int):
        super().__init__()
        inner = hidden_size if width is None else width
        self.genotype = genotype
        self.down = nn.Identity() if width is None else nn.Linear(hidden_size, width)
        self.activation_in = ACTIVATIONS.create(genotype.activation_in)
        self.encoder = nn.ModuleList(ENCODERS.create(name, inner) for name in genotype.encoder if name != "null")
        self.pooling: Pooling = POOLINGS.create(genotype.pooling, inner)
        self.activation_out = ACTIVATIONS.create(genotype.activation_out)
        self.classifier = nn.Linear(inner, num_labels)
        self.first_token_only = self.pooling.first_token_only and all(op.token_local for op in self.encoder)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Logits `[B, C]` from hidden states `[B, T, D]`; `mask [B, T]` is True at real tokens. Computes in fp32."""
        if self.first_token_only:
            hidden, mask = hidden[:, :1], mask[:, :1]
        x = self.activation_in(self.down(hidden.to(self.classifier.weight.dtype)))
        first, *rest = self.encoder
        encoded = first(x, mask)
        for operation in rest:
            encoded = encoded + operation(x, mask)
        return self.classifier(self.activation_out(self.pooling(encoded, mask)))

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates for one sample of `tokens` tokens; activations count as nothing."""
        tokens = 1 if self.first_token_only else tokens
        down = 0 if isinstance(self.down, nn.Identity) else tokens * self.down.weight.numel()
        operations: list[Any] = list(self.encoder)
        inside = sum(operation.macs(tokens) for operation in operations) + self.pooling.macs(tokens)
        return down + inside + self.classifier.weight.numel()


def build_exits(genotype: Genotype, num_labels: int) -> nn.ModuleList:
    """The exits of all layers, first layer first, freshly initialized from torch's global generator."""
    return nn.ModuleList(Exit(exit_, genotype.hidden_size, genotype.width, num_labels) for exit_ in genotype.exits)


def exit_costs(genotype: Genotype, num_labels: int, tokens: int) -> list[dict[str, int]]:
    """Per exit `{"parameters": ..., "macs": ...}`, the latter for one sample of `tokens` tokens."""
    import torch

    with torch.device("meta"):
        exits = [Exit(exit_, genotype.hidden_size, genotype.width, num_labels) for exit_ in genotype.exits]
    return [{"parameters": sum(p.numel() for p in exit_.parameters()), "macs": exit_.macs(tokens)} for exit_ in exits]
