"""The contract of a gradient rule; by itself the plain sum."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from exitnas.objectives.base import Terms
from exitnas.objectives.options import option_values


@dataclass
class GradientRule:
    """From loss terms to `.grad`; `sum`: the gradient of the total. Made anew per seed; its fields are its options.

    Attributes:
        needs: what the objective must have for the rule to make sense: a second kind of term in `Terms`
            (`"distillation"`), losses of all exits at every step (`"every exit"`), or nothing.
        angles: degrees between the two gradients, one per step, for rules that compare them; None where a gradient
            was zero.
    """

    needs: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        self.angles: list[float | None] = []

    def options(self) -> dict[str, Any]:
        """The settings, as JSON-ready values."""
        return option_values(self)

    def branch(self, states: list[Tensor]) -> list[Tensor]:
        """What the exits read, from the hidden states `[B, T, D]` of every layer; values unchanged."""
        return states

    def backward(self, terms: Terms, total: Tensor, parameters: list[nn.Parameter]) -> None:
        """Set `.grad` of `parameters`, which come without one; those that no term reaches keep none.

        Args:
            terms: weighted terms of the step.
            total: `terms.total()`.
        """
        total.backward()
