"""Leave when the exit's distribution is sharp enough (BranchyNet, DeeBERT, FastBERT)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from exitnas.errors import require
from exitnas.policies.base import Policy, State, check_number, probabilities
from exitnas.policies.thresholds import even_thresholds


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of softmax(logits), [..., C] -> [...]; finite for any gap between logits, infinite ones too."""
    return torch.special.entr(probabilities(logits)).sum(dim=-1)


@dataclass(frozen=True)
class Entropy(Policy):
    """Leave when entropy < `threshold`, strictly; so 0 lets nobody go and runs the last exit alone.

    Args:
        threshold: at least 0, in nats (log C is the largest entropy there is).
        normalized: divide the entropy by log C first, so that thresholds live in [0, 1] for any C (FastBERT's speed).
    """

    threshold: float
    normalized: bool = False

    name: ClassVar[str] = "entropy"

    def __post_init__(self) -> None:
        check_number(self.name, "threshold", self.threshold, "a number of at least 0", 0.0)
        fits = isinstance(self.normalized, bool)
        require(fits, f"policy 'entropy': normalized must be true or false, got {self.normalized!r}")

    def signal(self, logits: Tensor) -> Tensor:
        """Entropy as compared, [..., C] -> [...]."""
        return entropy(logits) / math.log(logits.shape[-1]) if self.normalized else entropy(logits)

    def needs_exit(self, exit_index: int, num_exits: int) -> bool:
        return exit_index == num_exits - 1 or self.can_leave(exit_index, num_exits)

    def can_leave(self, exit_index: int, num_exits: int) -> bool:
        return self.threshold > 0

    def step(
        self,
        exit_index: int,
        logits: Tensor,
        state: State,
        *,
        certainty: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        return self.signal(logits) < self.threshold

    @classmethod
    def sweep(
        cls, logits: Tensor, points: int = 25, *, certainty: Tensor | None = None, normalized: bool = False
    ) -> list[Policy]:
        """`points` thresholds at quantiles of the observed entropy, from everybody at layer 1 to nobody early."""
        one = cls(0.0, normalized)
        one.check(*logits.shape[1:])
        high = 1.01 if normalized else 1.01 * math.log(logits.shape[-1])
        return [cls(cut, normalized) for cut in even_thresholds(one.signal(logits), points, 0.0, high)]
