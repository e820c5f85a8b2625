"""The contract of a gradient rule; by itself the plain sum."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from exitnas.objectives.base import Terms
from exitnas.objectives.options import option_values

AddUp = Callable[[list[Tensor]], None]


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

    def state_dict(self) -> dict[str, Any]:
        """What lasts from one step to the next, as tensors and plain values; a subclass with more adds it."""
        return {"angles": self.angles}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
        self.angles = list(saved["angles"])

    def branch(self, states: list[Tensor]) -> list[Tensor]:
        """What the exits read, from the hidden states `[B, T, D]` of every layer; values unchanged."""
        return states

    def accumulate(self, terms: Terms, total: Tensor, parameters: list[nn.Parameter]) -> None:
        """Take in the gradients of a micro-batch; what is linear in them can go to `.grad` at once.

        Args:
            terms: weighted terms of a micro-batch, times its share of the rows of the step.
            total: `terms.total()`.
            parameters: without `.grad` when a step begins; those that no term reaches keep none.
        """
        total.backward()

    def finish(self, parameters: list[nn.Parameter], add_up: AddUp) -> None:
        """Set `.grad` of `parameters` from what was taken in, after the last micro-batch of a step.

        Args:
            add_up: replaces each of a list of tensors by its sum over all processes; called once, by all of them.
        """
        add_up([p.grad for p in parameters if p.grad is not None])
