"""Leave when the certainty head says so (learning to exit, BERxiT section 4.2)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from exitnas.errors import UsageError
from exitnas.policies.base import Policy, State, check_number
from exitnas.policies.thresholds import even_thresholds


@dataclass(frozen=True)
class LearningToExit(Policy):
    """Leave when the head's certainty > `threshold`, strictly; so 1 lets nobody go and runs the last exit alone.

    The head outputs certainty, as in the paper; code that learns an uncertainty and leaves below a threshold has the
    opposite sign. Works for regression too, since no distribution is looked at.

    Args:
        threshold: 0..1.
    """

    threshold: float

    name: ClassVar[str] = "lte"
    regression: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"certainty"})

    def __post_init__(self) -> None:
        check_number(self.name, "threshold", self.threshold, "a number, 0 to 1", 0.0, 1.0)

    def needs_exit(self, exit_index: int, num_exits: int) -> bool:
        return exit_index == num_exits - 1 or self.can_leave(exit_index, num_exits)

    def can_leave(self, exit_index: int, num_exits: int) -> bool:
        return self.threshold < 1

    def step(
        self,
        exit_index: int,
        logits: Tensor,
        state: State,
        *,
        certainty: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        return _given(certainty) > self.threshold

    @classmethod
    def sweep(cls, logits: Tensor, points: int = 25, *, certainty: Tensor | None = None) -> list[Policy]:
        """`points` thresholds at quantiles of the observed certainty, from everybody at layer 1 to nobody early."""
        return [cls(abs(cut)) for cut in even_thresholds(-_given(certainty), points, -1.0, 0.0)]


def _given(certainty: Tensor | None) -> Tensor:
    if certainty is None:
        raise UsageError("policy 'lte' needs a certainty head, and this model has none: retrain it with --lte")
    return certainty
