"""Leave when consecutive exits give the favoured class nearly the same probability (LECO section 5)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from exitnas.policies.base import Policy, State, check_count, check_number, probabilities
from exitnas.policies.patience import windowed
from exitnas.policies.thresholds import even_thresholds


def disagreement(p: Tensor, previous: Tensor) -> Tensor:
    """|p(k*) - previous(k*)| with k* = argmax p (LECO eq. 6); [..., C] twice -> [...]."""
    favourite = p.argmax(dim=-1, keepdim=True)
    return (p.gather(-1, favourite) - previous.gather(-1, favourite)).abs().squeeze(-1)


@dataclass(frozen=True)
class Cobee(Policy):
    """Comparison-based early exit: count disagreements below `tau` in a row; leave at `patience` (LECO eq. 6-7).

    The counter grows by 1 when this exit's disagreement with the previous one is < `tau`, strictly, and falls back to
    0 otherwise. The first layer has no predecessor, so layer `patience` + 1 is the earliest to leave at. The favoured
    class may change between the two exits: only its probability is compared.

    Args:
        tau: at least 0; disagreements lie in [0, 1], so 0 lets nobody go.
        patience: whole number, at least 1 (the paper's t).
    """

    tau: float
    patience: int = 1

    name: ClassVar[str] = "cobee"

    def __post_init__(self) -> None:
        check_number(self.name, "tau", self.tau, "a number of at least 0 (1 is the largest disagreement)", 0.0)
        check_count(self.name, "patience", self.patience)

    def fresh_state(self, batch: int, num_labels: int, device: torch.device) -> State:
        return {
            "previous": torch.full((batch, num_labels), float("nan"), device=device),
            "count": torch.zeros(batch, dtype=torch.int64, device=device),
        }

    def needs_exit(self, exit_index: int, num_exits: int) -> bool:
        return exit_index == num_exits - 1 or self.can_leave(num_exits - 2, num_exits)

    def can_leave(self, exit_index: int, num_exits: int) -> bool:
        return exit_index >= self.patience and self.tau > 0

    def step(
        self,
        exit_index: int,
        logits: Tensor,
        state: State,
        *,
        certainty: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        p = probabilities(logits)
        close = disagreement(p, state["previous"]) < self.tau  # NaN at the first exit: not close
        state["count"] = torch.where(close, state["count"] + 1, 0)
        state["previous"] = p
        return state["count"] >= self.patience

    @classmethod
    def sweep(
        cls, logits: Tensor, points: int = 25, *, certainty: Tensor | None = None, patience: int = 1
    ) -> list[Policy]:
        """`points` values of tau for one `patience`, at quantiles of the observed disagreements.

        From everybody at layer `patience` + 1 to nobody early.
        """
        cls(0.0, patience).check(*logits.shape[1:])
        p = probabilities(logits)
        signal = torch.full(p.shape[:2], float("inf"), device=p.device)
        signal[:, 1:] = disagreement(p[:, 1:], p[:, :-1])
        return [cls(cut, patience) for cut in even_thresholds(windowed(signal, patience), points, 0.0, 1.01)]
