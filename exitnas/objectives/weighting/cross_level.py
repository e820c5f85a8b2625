"""Cross-level optimization of the loss weights: gradients from both halves of the data (LeeBERT eq. 9, appendix A)."""

from dataclasses import dataclass, field
from typing import Any

from exitnas.objectives.base import Terms
from exitnas.objectives.options import count, number
from exitnas.objectives.weighting.base import Losses
from exitnas.objectives.weighting.learned import LearnedWeighting


@dataclass
class CrossLevelV1(LearnedWeighting):
    """CLO-v1: after every step of the model on D1, Omega -= lr_d1 * grad L_D1 + lr * grad L_D2 (eq. 9, algorithm 1).

    Both losses are those of the updated model. Adam sees grad L_D1 * lr_d1 / lr + grad L_D2 at rate lr, which is the
    equation when the optimizer is `sgd`.

    Args:
        lr_d1: lambda_1, above 0; none takes `lr`. The paper's is the learning rate of its model, and that is what
            retraining fills in.
    """

    lr_d1: float | None = None

    name = "clo_v1"
    splits = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lr_d1 is not None:
            number(f"weighting {self.name!r}", "lr_d1", self.lr_d1, 0, float("inf"), above=True)

    @property
    def ratio(self) -> float:
        """lambda_1 / lambda_2."""
        return 1.0 if self.lr_d1 is None else self.lr_d1 / self.lr

    def update(self, seen: Terms, again: Losses, other: Losses) -> None:
        self.move(self.ratio * self.gradient(again()) + self.gradient(other()))


@dataclass
class CrossLevel(CrossLevelV1):
    """CLO-v2: D2 takes part in the last of every C steps only (algorithm 2); the others use the step's own D1 losses.

    With C = 1 this is CLO-v1.

    Args:
        cycle: C, at least 1; the paper picks from 2, 4 and 8.
    """

    cycle: int = 4
    _steps: int = field(default=0, init=False)

    name = "clo_v2"

    def __post_init__(self) -> None:
        super().__post_init__()
        count("weighting 'clo_v2'", "cycle", self.cycle)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "steps": self._steps}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        super().load_state_dict(saved)
        self._steps = saved["steps"]

    def update(self, seen: Terms, again: Losses, other: Losses) -> None:
        self._steps += 1
        if self._steps % self.cycle:
            self.move(self.ratio * self.gradient(seen))
        else:
            self.move(self.ratio * self.gradient(again()) + self.gradient(other()))
