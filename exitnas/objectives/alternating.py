"""Alternating training: the last exit's loss and the joint loss in turn (BERxiT eq. 6-7, LECO eq. 4-5)."""

from dataclasses import dataclass

from torch import Tensor

from exitnas.objectives.base import Objective, Step, Terms, task_terms
from exitnas.objectives.options import choice


@dataclass(frozen=True)
class Alternating(Objective):
    """Odd turns, the first included: L_E alone; even turns: the sum of all L_m. Turns count from 1.

    Args:
        by: `step` as in BERxiT, or `epoch` as LECO tells it.
    """

    by: str = "step"

    name = "alternating"

    def __post_init__(self) -> None:
        choice("objective 'alternating'", "by", self.by, ("step", "epoch"))

    @property
    def trains_every_exit(self) -> bool:
        return False

    def terms(self, logits: list[Tensor], labels: Tensor, step: Step, states: list[Tensor] | None = None) -> Terms:
        turn = step.step if self.by == "step" else step.epoch
        return task_terms(logits, labels, [len(logits) - 1] if turn % 2 == 0 else range(len(logits)))
