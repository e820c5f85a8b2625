"""Weighted training: the mean of the exits' losses, deeper exits counting more (GAML-BERT eq. 1, PABEE)."""

from dataclasses import dataclass

from torch import Tensor

from exitnas.objectives.base import EXIT_WEIGHTS, Objective, Step, Terms, exit_weights, task_losses
from exitnas.objectives.options import choice


@dataclass(frozen=True)
class Weighted(Objective):
    """L = sum over m of a_m L_m, divided by sum over m of a_m (GAML-BERT eq. 1; Zhou et al. 2020, eq. 3).

    Args:
        weights: `depth` for a_m = m, counted from 1 (the relative cost of leaving there); `uniform` for a_m = 1.
    """

    weights: str = "depth"

    name = "weighted"

    def __post_init__(self) -> None:
        choice("objective 'weighted'", "weights", self.weights, EXIT_WEIGHTS)

    def terms(self, logits: list[Tensor], labels: Tensor, step: Step, states: list[Tensor] | None = None) -> Terms:
        losses = task_losses(logits, labels).unsqueeze(1)
        weights = exit_weights(self.weights, len(logits), losses)
        return Terms(losses, (weights / weights.sum()).unsqueeze(1))
