"""Leave when consecutive exits keep agreeing (PABEE, Zhou et al. 2020)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from exitnas.errors import UsageError, require
from exitnas.policies.base import Policy, State, check_count, check_number
from exitnas.policies.thresholds import even_thresholds


def windowed(difference: Tensor, patience: int) -> Tensor:
    """Largest of the last `patience` differences at each exit, [N, E] -> [N, E].

    Column m holds how much exits m and m-1 differ (`inf` in the first column, which has no predecessor). A counter of
    consecutive differences below tau reaches `patience` at the first exit where the result lies below tau.
    """
    padded = torch.nn.functional.pad(difference, (patience - 1, 0), value=float("inf"))
    return padded.unfold(1, patience, 1).amax(dim=-1)


@dataclass(frozen=True)
class Patience(Policy):
    """Count consecutive exits that agree with the one before; leave when the counter reaches `patience`.

    The counter starts at 0, grows by 1 when this exit predicts what the previous one did and falls back to 0 when it
    does not. The first layer has no predecessor, so layer `patience` + 1 is the earliest to leave at, and
    `patience` >= E never leaves early.

    Args:
        patience: whole number, at least 1.
        tau: regression only, and required there: predictions agree when |y_m - y_(m-1)| < tau, strictly.
    """

    patience: int
    tau: float | None = None

    name: ClassVar[str] = "patience"
    regression: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count(self.name, "patience", self.patience)
        if self.tau is not None:
            check_number(self.name, "tau", self.tau, "a number of at least 0, in units of the label", 0.0)

    def check(self, num_exits: int, num_labels: int | None = None) -> None:
        super().check(num_exits, num_labels)
        if num_labels == 1 and self.tau is None:
            raise UsageError("policy 'patience' on a regression model needs tau: how close two predictions must be")
        contradiction = num_labels is not None and num_labels > 1 and self.tau is not None
        require(not contradiction, "policy 'patience': tau is for regression, this model is a classifier: leave it out")

    def fresh_state(self, batch: int, num_labels: int, device: torch.device) -> State:
        regression = num_labels == 1
        previous = torch.full((batch,), float("nan") if regression else -1, device=device)
        return {
            "previous": previous if regression else previous.long(),
            "count": torch.zeros(batch, dtype=torch.int64, device=device),
        }

    def needs_exit(self, exit_index: int, num_exits: int) -> bool:
        return exit_index == num_exits - 1 or self.can_leave(num_exits - 2, num_exits)

    def can_leave(self, exit_index: int, num_exits: int) -> bool:
        return exit_index >= self.patience and self.tau != 0

    def step(
        self,
        exit_index: int,
        logits: Tensor,
        state: State,
        *,
        certainty: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        now, _ = self.answer(logits, state)
        same = now == state["previous"] if self.tau is None else (now - state["previous"]).abs() < self.tau
        state["count"] = torch.where(same, state["count"] + 1, 0)
        state["previous"] = now
        return state["count"] >= self.patience

    @classmethod
    def sweep(
        cls, logits: Tensor, points: int = 25, *, certainty: Tensor | None = None, patience: int = 1
    ) -> list[Policy]:
        """Classification: patience 1..E-1, the E-1 settings that differ, whatever `points` asks for.

        Regression: `points` values of tau for one `patience`, at quantiles of the observed differences, from nobody
        early to everybody at layer `patience` + 1.
        """
        if logits.shape[-1] > 1:
            return [cls(count) for count in range(1, max(logits.shape[1], 2))]
        check_count(cls.name, "patience", patience)
        values = logits[..., 0].float()
        difference = torch.full_like(values, float("inf"))
        difference[:, 1:] = values.diff(dim=1).abs()
        high = 1.0 + float(values.diff(dim=1).abs().max()) if values.shape[1] > 1 else 1.0
        return [cls(patience, cut) for cut in even_thresholds(windowed(difference, patience), points, 0.0, high)]
