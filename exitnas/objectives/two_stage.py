"""Two-stage training: first backbone and last exit, then the other exits on the frozen backbone (LECO eq. 2-3)."""

from dataclasses import dataclass

from torch import Tensor

from exitnas.objectives.base import Objective, Stage, Step, Terms, task_terms
from exitnas.objectives.options import number


@dataclass(frozen=True)
class TwoStage(Objective):
    """Stage 1: L_E over backbone and last exit; stage 2: sum of L_m, m < E, over the early exits alone.

    LECO eq. 2-3, BERxiT eq. 4-5 of the two stages; DeeBERT (Xin et al. 2020). Stage 1 keeps the checkpoint with the
    best last exit. A certainty head is trained in both stages, since stage 1 shows it a single layer only.

    Args:
        first: share of the epochs that stage 1 gets, in (0, 1); each stage gets at least one epoch.
    """

    first: float = 0.5

    name = "two_stage"

    def __post_init__(self) -> None:
        number("objective 'two_stage'", "first", self.first, 0, 1, above=True, below=True)

    @property
    def trains_every_exit(self) -> bool:
        return False

    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage("backbone and last exit", self.first, exits="last", select="last"),
            Stage("early exits", 1 - self.first, backbone=False, exits="early"),
        )

    def terms(self, logits: list[Tensor], labels: Tensor, step: Step, states: list[Tensor] | None = None) -> Terms:
        last = len(logits) - 1
        return task_terms(logits, labels, [last] if step.stage == 0 else range(last))
