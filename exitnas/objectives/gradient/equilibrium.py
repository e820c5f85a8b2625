"""Gradient equilibrium: rescaling at every branch, so that no layer's gradient grows with the exits above it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from exitnas.objectives.gradient.base import GradientRule


@dataclass
class Equilibrium(GradientRule):
    """Where exit i of E branches off, its gradient is scaled by 1 / n and the deeper layers' by (n - 1) / n.

    n = E - i + 1 counts the exits from there on, i from 1.
    Li et al. 2019, section 3.3 (gradient equilibrium). A layer then receives the mean of the gradients of the exits
    above it, where plain joint training gives it their sum. Exits themselves get their gradient unscaled.
    """

    needs = "every exit"

    def branch(self, states: list[Tensor]) -> list[Tensor]:
        exits = len(states)
        if exits == 1 or not torch.is_grad_enabled() or not states[0].requires_grad:
            return states
        branched = []
        for index, hidden in enumerate(states):
            n = exits - index
            if n > 1:
                # The hook scales what arrives from both sides, so the exit's side is prepared to leave 1 / n of it.
                hidden.register_hook(lambda gradient, n=n: gradient * ((n - 1) / n))
                branched.append(_Scaled.apply(hidden, 1 / (n - 1)))
            else:
                branched.append(hidden)
        return branched


class _Scaled(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a constant."""

    @staticmethod
    def forward(context, hidden: Tensor, factor: float) -> Tensor:
        context.factor = factor
        return hidden.view_as(hidden)

    @staticmethod
    def backward(context, gradient: Tensor):
        return gradient * context.factor, None
