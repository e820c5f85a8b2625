"""The exit module built from a genotype, with its parameters and multiply-accumulates counted."""

from typing import Any

from torch import Tensor, nn

from exitnas.exits.genotype import ExitGenotype, Genotype
from exitnas.exits.operations import ACTIVATIONS, ENCODERS, POOLINGS
from exitnas.exits.operations.base import Pooling, first_tokens


class Exit(nn.Module):
    """One classifier after one encoder layer (LECO section 4).

    Linear D->d, activation, sum of at most two encoder operations, pooling, activation, Linear d->C. With
    `width=None` there is no down-projection and d = D.

    An exit that pools the first token computes its encoder operations at that token only, and the down-projection and
    first activation on the tokens those depend on: all for attention, `reach + 1` otherwise.

    Attributes:
        tokens_read: how many tokens from the first on the logits can depend on; None for all.
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
        reaches = [operation.reach for operation in self._operations()]
        whole = not self.pooling.first_token_only or None in reaches
        self.tokens_read: int | None = None if whole else 1 + max(reaches)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Logits `[B, C]` from hidden states `[B, T, D]`, in fp32; `mask [B, T]` is True at real tokens, None: all."""
        if self.tokens_read is not None:
            hidden, mask = first_tokens(hidden, mask, self.tokens_read)
        weight = self.classifier.weight
        # A quantized layer has no weight tensor and takes fp32.
        x = self.activation_in(self.down(hidden.to(weight.dtype) if isinstance(weight, Tensor) else hidden.float()))
        if self.pooling.first_token_only:
            first, *rest = [operation.first_token(x, mask) for operation in self._operations()]
            pooled = sum(rest, first)
        else:
            first, *rest = [operation(x, mask) for operation in self._operations()]
            pooled = self.pooling(sum(rest, first), mask)
        return self.classifier(self.activation_out(pooled))

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates for one sample of `tokens` tokens; activations count as nothing."""
        tokens = tokens if self.tokens_read is None else min(tokens, self.tokens_read)
        down = 0 if isinstance(self.down, nn.Identity) else tokens * self.down.weight.numel()
        if self.pooling.first_token_only:
            inside = sum(operation.first_token_macs(tokens) for operation in self._operations())
        else:
            inside = sum(operation.macs(tokens) for operation in self._operations()) + self.pooling.macs(tokens)
        return down + inside + self.classifier.weight.numel()

    def _operations(self) -> list[Any]:
        """The one or two encoder operations."""
        return list(self.encoder)


def build_exits(genotype: Genotype, num_labels: int) -> nn.ModuleList:
    """The exits of all layers, first layer first, freshly initialized from torch's global generator."""
    return nn.ModuleList(Exit(exit_, genotype.hidden_size, genotype.width, num_labels) for exit_ in genotype.exits)


def exit_costs(genotype: Genotype, num_labels: int, tokens: int) -> list[dict[str, int]]:
    """Per exit `{"parameters": ..., "macs": ...}`, the latter for one sample of `tokens` tokens."""
    import torch

    with torch.device("meta"):
        exits = [Exit(exit_, genotype.hidden_size, genotype.width, num_labels) for exit_ in genotype.exits]
    return [{"parameters": sum(p.numel() for p in exit_.parameters()), "macs": exit_.macs(tokens)} for exit_ in exits]
