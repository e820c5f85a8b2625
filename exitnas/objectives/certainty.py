"""The certainty head of learning to exit (BERxiT section 4.2, eq. 8-11)."""

import torch
from torch import Tensor, nn

from exitnas.objectives.base import Terms


class CertaintyHead(nn.Module):
    """u = sigmoid(c . h + b) with h the state of the first token ([CLS]); one head for all layers (BERxiT eq. 8).

    It reads the encoder's hidden state, as the paper's does, not what an exit pooled: exits of a genotype differ in
    width and pooling, the hidden state means the same at every layer.
    """

    def __init__(self, hidden_size: int):
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """Certainty `[B]` in [0, 1] from hidden states `[B, T, D]`; the mask is not needed and only taken for form."""
        return torch.sigmoid(self.linear(hidden[:, 0].to(self.linear.weight.dtype))).squeeze(-1)


def certainty_targets(logits: Tensor, labels: Tensor) -> Tensor:
    """`[B]` constants in [0, 1]: 1 where the exit is right, else 0 (eq. 10); for regression 1 - tanh|error| (eq. 11).

    Args:
        logits: `[B, C]` of one exit.
        labels: `[B]` int64 classes or float32 values.
    """
    if labels.is_floating_point():
        return 1 - torch.tanh((logits.detach().float().squeeze(-1) - labels).abs())
    return (logits.detach().argmax(-1) == labels).float()


def certainty_loss(certainty: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """J_i, the mean over the batch of the squared distance of `certainty` `[B]` from its target (eq. 9)."""
    return (certainty.float() - certainty_targets(logits, labels)).square().mean()


def with_certainty(
    terms: Terms, head: nn.Module, states: list[Tensor], mask: Tensor, logits: list[Tensor], labels: Tensor
) -> Terms:
    """The terms with L_i replaced by L_i + J_i wherever L_i is used (BERxiT section 4.2, below eq. 11)."""
    used = (terms.coefficients[:, 0] != 0).tolist()
    zero = terms.losses.new_zeros(())
    added = [certainty_loss(head(states[m], mask), logits[m], labels) if flag else zero for m, flag in enumerate(used)]
    first = terms.losses[:, :1] + torch.stack(added).unsqueeze(1)
    return Terms(torch.cat([first, terms.losses[:, 1:]], 1), terms.coefficients, terms.extra)
