"""Imitation of deeper layers, after the global past-future method (Liao et al. 2021)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from exitnas.objectives.base import Auxiliary, Objective, Step, Terms, task_losses
from exitnas.objectives.options import number


@dataclass(frozen=True)
class GlobalPastFuture(Objective):
    """L = sum over m of L_m + weight * sum over m < E of I_m; lower layers imitate the deeper ones.

    I_m is the mean, over the deeper layers j > m and the batch, of 1 - cos(h_m, h_j), with h the state of the first
    token and the deeper one held constant. Of Liao et al. this is the training signal alone: that a shallow state
    should tell what the deep ones will be. Not implemented are the learned maps that predict future states and the
    exits that read past states and predicted future ones: they would replace the exits, which are what a genotype
    describes.

    Args:
        weight: factor of the imitation, at least 0.
    """

    weight: float = 1.0

    name = "global_past_future"

    def __post_init__(self) -> None:
        number("objective 'global_past_future'", "weight", self.weight, 0, float("inf"))

    @property
    def auxiliary(self) -> Auxiliary:
        return "imitation"

    def terms(self, logits: list[Tensor], labels: Tensor, step: Step, states: list[Tensor] | None = None) -> Terms:
        if states is None:
            raise ValueError("global_past_future imitates hidden states: pass `states`, one [B, T, D] per layer")
        task = task_losses(logits, labels)
        losses = torch.stack([task, task.new_zeros(len(task))], 1)
        coefficients = torch.ones_like(losses)
        first = torch.stack([state[:, 0] for state in states]).float()
        for m in range(len(states) - 1):
            cosines = functional.cosine_similarity(first[m].unsqueeze(0), first[m + 1 :].detach(), dim=-1)
            losses[m, 1] = 1 - cosines.mean()
        coefficients[:, 1] = self.weight
        coefficients[-1, 1] = 0.0
        return Terms(losses, coefficients)
