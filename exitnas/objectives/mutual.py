"""Mutual learning: every exit learns from others (LeeBERT eq. 4, GAML-BERT eq. 2-3)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from exitnas.objectives.base import EXIT_WEIGHTS, Auxiliary, Objective, Step, Terms, exit_weights, task_losses
from exitnas.objectives.distillation import distillation_losses
from exitnas.objectives.options import choice, flag, number


@dataclass(frozen=True)
class Mutual(Objective):
    """L = sum over m of L_m + sum over m and t in T(m) of KD(t -> m) / (E |T(m)|) (LeeBERT eq. 4-5 with weights 1).

    `Terms` has K = 1 + E columns: column 1 + t holds what the exits learn from exit t.

    Args:
        teachers: T(m): `all` other exits (LAE), all `later` ones (LLE), or the `last` one alone.
        temperature: tau of the distillation, above 0.
        detach: treat teachers as constants, so that no teacher is drawn to its students.
        average: divide by E |T(m)| as LeeBERT eq. 4 does; false is the plain sum of GAML-BERT eq. 3.
        alpha: GAML-BERT eq. 2: (1 - alpha) of the task losses and alpha of the distillation; none adds both as they
            are. Gradient alignment has an alpha of its own instead.
        weights: of the task losses: `uniform` sums them (LeeBERT eq. 1); `depth` gives exit m the share
            m / (1 + ... + E) (GAML-BERT eq. 1).
    """

    teachers: str = "all"
    temperature: float = 1.0
    detach: bool = True
    average: bool = True
    alpha: float | None = None
    weights: str = "uniform"

    name = "mutual"
    regression = False

    def __post_init__(self) -> None:
        owner = "objective 'mutual'"
        choice(owner, "teachers", self.teachers, ("all", "later", "last"))
        number(owner, "temperature", self.temperature, 0, float("inf"), above=True)
        flag(owner, "detach", self.detach)
        flag(owner, "average", self.average)
        if self.alpha is not None:
            number(owner, "alpha", self.alpha, 0, 1, above=True, below=True)
        choice(owner, "weights", self.weights, EXIT_WEIGHTS)

    @property
    def auxiliary(self) -> Auxiliary:
        return "distillation"

    def columns(self, exits: int) -> list[str]:
        return ["task", *(f"from exit {number}" for number in range(1, exits + 1))]

    def who_teaches(self, exits: int, like: Tensor) -> Tensor:
        """`[E, E]` of 0 and 1: row m marks T(m)."""
        everyone = like.new_ones(exits, exits)
        if self.teachers == "all":
            return everyone - torch.diag(like.new_ones(exits))
        later = everyone.triu(1)
        if self.teachers == "last":
            later[:, :-1] = 0.0
        return later

    def terms(self, logits: list[Tensor], labels: Tensor, step: Step, states: list[Tensor] | None = None) -> Terms:
        exits = len(logits)
        task = task_losses(logits, labels)
        teaching = self.who_teaches(exits, task)
        shares = teaching
        if self.average:
            shares = teaching / (exits * teaching.sum(1, keepdim=True).clamp(min=1.0))
        weights = exit_weights(self.weights, exits, task)
        if self.weights == "depth":
            weights = weights / weights.sum()
        if self.alpha is not None:
            weights, shares = (1 - self.alpha) * weights, self.alpha * shares
        distilled = distillation_losses(logits, logits, self.temperature, self.detach)
        losses = torch.cat([task.unsqueeze(1), distilled.where(teaching > 0, torch.zeros_like(distilled))], 1)
        return Terms(losses, torch.cat([weights.unsqueeze(1), shares], 1))
