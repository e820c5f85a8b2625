"""Everybody leaves at one fixed layer: early exit without a decision."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from exitnas.errors import require
from exitnas.policies.base import Policy, State, check_count


@dataclass(frozen=True)
class Static(Policy):
    """Leave at layer `exit` (1..E); no other exit is run, and no layer after it."""

    exit: int

    name: ClassVar[str] = "static"
    regression: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count(self.name, "exit", self.exit)

    def check(self, num_exits: int, num_labels: int | None = None) -> None:
        super().check(num_exits, num_labels)
        require(self.exit <= num_exits, f"policy 'static': exit must be 1..{num_exits} here, got {self.exit}")

    def needs_exit(self, exit_index: int, num_exits: int) -> bool:
        return exit_index == self.exit - 1

    def can_leave(self, exit_index: int, num_exits: int) -> bool:
        return exit_index == self.exit - 1

    def step(
        self,
        exit_index: int,
        logits: Tensor,
        state: State,
        *,
        certainty: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        return torch.full(logits.shape[:1], exit_index == self.exit - 1, dtype=torch.bool, device=logits.device)

    @classmethod
    def sweep(cls, logits: Tensor, points: int = 25, *, certainty: Tensor | None = None) -> list[Policy]:
        """All E settings; there are no others, whatever `points` asks for."""
        return [cls(exit=layer) for layer in range(1, logits.shape[1] + 1)]
