"""The last exit alone: what fine-tuning an encoder with one classifier does."""

from dataclasses import dataclass

from torch import Tensor

from exitnas.objectives.base import Objective, Stage, Step, Terms, task_terms


@dataclass(frozen=True)
class Last(Objective):
    """L = L_E: backbone and last exit; the exits below are never trained. The checkpoint is the best last exit's.

    The first stage of `two_stage` (LECO eq. 2) for the whole of training. `exitnas baseline truncated` trains the first
    k layers of an encoder with it.
    """

    name = "last"

    @property
    def trains_every_exit(self) -> bool:
        return False

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("backbone and last exit", exits="last", select="last"),)

    def terms(self, logits: list[Tensor], labels: Tensor, step: Step, states: list[Tensor] | None = None) -> Terms:
        return task_terms(logits, labels, [len(logits) - 1])
