"""Leave when the largest class probability is high enough (RightTool; BERxiT section 4.1)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from exitnas.policies.base import Policy, State, check_number, probabilities
from exitnas.policies.thresholds import even_thresholds


@dataclass(frozen=True)
class MaxProb(Policy):
    """Leave when max_k p(k) > `threshold`, strictly; so anything below 1/C lets everybody go.

    1 lets nobody go and runs the last exit alone.

    Args:
        threshold: a probability, 0..1.
    """

    threshold: float

    name: ClassVar[str] = "max_prob"

    def __post_init__(self) -> None:
        check_number(self.name, "threshold", self.threshold, "a probability, 0 to 1", 0.0, 1.0)

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
        return probabilities(logits).amax(dim=-1) > self.threshold

    @classmethod
    def sweep(cls, logits: Tensor, points: int = 25, *, certainty: Tensor | None = None) -> list[Policy]:
        """`points` thresholds at quantiles of the observed probability, from everybody at layer 1 to nobody early."""
        cls(1.0).check(*logits.shape[1:])
        signal = -probabilities(logits).amax(dim=-1)
        return [cls(abs(cut)) for cut in even_thresholds(signal, points, -1.0, 0.0)]
