"""Gradient alignment: the distillation gradient projected onto the task gradient (GAML-BERT eq. 4-7)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from exitnas.objectives.base import Terms
from exitnas.objectives.gradient.base import AddUp, GradientRule
from exitnas.objectives.options import choice, flag, number


@dataclass
class GradientAlignment(GradientRule):
    """g = (1 - alpha) g_CE + alpha P(g_KD), with P the projection onto g_CE (eq. 5-6); one forward, two backwards.

    GA-hard is g_CE alone where the angle is above 90 degrees (eq. 7). g_CE is the gradient of column 0 of the terms
    (with the certainty head's loss, if there is one), g_KD of the other columns. With `scope` global the result is a
    multiple of g_CE, whose size Adam largely undoes: `tensor` projects every parameter tensor by itself, which keeps
    something of g_KD's balance between layers. `angles` are global ones (eq. 4) in either scope.

    Args:
        hard: GA-hard instead of GA-soft; fixed by the row.
        alpha: share of the distillation, above 0 and below 1.
        scope: `global`, one angle per step as in the paper, or `tensor`.
    """

    hard: bool
    alpha: float = 0.3
    scope: str = "global"

    needs = "distillation"

    def __post_init__(self) -> None:
        super().__post_init__()
        owner = f"gradient rule '{'ga_hard' if self.hard else 'ga_soft'}'"
        flag(owner, "hard", self.hard)
        number(owner, "alpha", self.alpha, 0, 1, above=True, below=True)
        choice(owner, "scope", self.scope, ("global", "tensor"))
        self._towards: list[Tensor | None] = []
        self._task: list[Tensor | None] = []

    def accumulate(self, terms: Terms, total: Tensor, parameters: list[nn.Parameter]) -> None:
        towards = torch.autograd.grad(terms.auxiliary_part(), parameters, retain_graph=True, allow_unused=True)
        task = torch.autograd.grad(terms.task_part(), parameters, allow_unused=True)
        self._towards, self._task = _sums(self._towards, towards), _sums(self._task, task)

    def finish(self, parameters: list[nn.Parameter], add_up: AddUp) -> None:
        """Both gradients are those of the whole batch before they are compared: the angle is not linear in them."""
        towards, task = self._towards, self._task
        self._towards, self._task = [], []
        add_up([gradient for gradient in (*towards, *task) if gradient is not None])
        pairs = list(zip(towards, task, strict=True))
        zero = parameters[0].new_zeros(())
        dots = torch.stack([zero if k is None or c is None else _dot(k, c) for k, c in pairs])
        norms_kd = torch.stack([zero if k is None else _dot(k, k) for k, _ in pairs])
        norms_ce = torch.stack([zero if c is None else _dot(c, c) for _, c in pairs])
        self.angles.append(angle(*torch.stack([dots.sum(), norms_kd.sum(), norms_ce.sum()]).tolist()))
        if self.scope == "global":
            dots, norms_ce = dots.sum().expand_as(dots), norms_ce.sum().expand_as(norms_ce)
        for parameter, gradient, factor in zip(parameters, task, self.factors(dots, norms_ce), strict=True):
            parameter.grad = None if gradient is None else gradient * factor

    def factors(self, dots: Tensor, squares: Tensor) -> Tensor:
        """What g_CE is multiplied with, from g_KD . g_CE and |g_CE|^2 (tensors of one shape); eq. 5 in 6 or 7."""
        projected = torch.where(squares > 0, dots / squares, torch.zeros_like(dots))
        factors = (1 - self.alpha) + self.alpha * projected
        return torch.where(dots < 0, torch.ones_like(factors), factors) if self.hard else factors


def _sums(so_far: list[Tensor | None], more: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """Element by element; None stands for zero."""
    if not so_far:
        return list(more)
    return [a if b is None else b if a is None else a + b for a, b in zip(so_far, more, strict=True)]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.flatten(), b.flatten())


def angle(dot: float, square_a: float, square_b: float) -> float | None:
    """Degrees between two vectors (eq. 4) from their product and squared lengths; None when one of them is zero."""
    length = math.sqrt(square_a) * math.sqrt(square_b)
    if not length > 0 or not math.isfinite(length):
        return None
    return math.degrees(math.acos(max(-1.0, min(1.0, dot / length))))


def share_above_90(angles: list[float | None]) -> float | None:
    """Share of the steps whose gradients conflict; None when no step had an angle."""
    known = [value for value in angles if value is not None]
    return sum(value > 90 for value in known) / len(known) if known else None
