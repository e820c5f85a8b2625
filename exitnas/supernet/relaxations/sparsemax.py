"""Sparsemax: like softmax, but weak candidates get exactly zero."""

import torch
from torch import Tensor

from exitnas.supernet.relaxations.base import Relaxation


class Sparsemax(Relaxation):
    """The point of the simplex nearest to alpha / temperature (Martins and Astudillo 2016, algorithm 1).

    A candidate that fell to zero gets no gradient, neither in alpha nor in its weights, and comes back only when the
    others sink: use a temperature above 1, and long enough a warm-up (`arch_warmup_epochs`).
    """

    def weights(self, alpha: Tensor, temperature: float) -> Tensor:
        z = alpha / temperature
        ordered = z.sort(dim=-1, descending=True).values
        count = torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)
        # The k largest are kept for the largest k with 1 + k z_(k) > sum of the k largest.
        sums = ordered.cumsum(-1)
        kept = (1 + count * ordered > sums).sum(-1, keepdim=True)
        threshold = (sums.gather(-1, kept - 1) - 1) / kept
        return (z - threshold).clamp(min=0)
