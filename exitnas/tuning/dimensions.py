"""One dimension of a study: a setting and where it varies."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from exitnas.schema import Frozen


class Range(Frozen):
    """Numbers from `low` to `high`, both included."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Drawn evenly on a logarithmic scale."""
    step: float | None = Field(default=None, gt=0)
    """Distance between values; by default 1 for whole numbers, none for others."""

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"expected low below high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range starts above 0, got low {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        if self.step is not None and self.step > self.high - self.low:
            raise ValueError(f"step {self.step:g} leads out of the range from {self.low:g} to {self.high:g}")
        return self


class Choices(Frozen):
    """One of a list."""

    choices: tuple[Any, ...] = Field(min_length=1)
    """The values."""


@dataclass(frozen=True)
class Parameter:
    """One dimension of a study.

    Attributes:
        name: as in the file with its section in front: `lr`, `search.arch_lr`, `retrain.objective_options.temperature`.
        phases: `"search"`, `"retrain"` or both.
        key: the setting, `objective_options.temperature` for an option of one.
        values: where it varies.
        whole: a range of whole numbers.
    """

    name: str
    phases: tuple[str, ...]
    key: str
    values: Range | Choices
    whole: bool = False

    @property
    def rule(self) -> str | None:
        """The setting whose choice has this option (`objective`, `weighting`, `gradient`); None for plain settings."""
        return self.key.split("_options.")[0] if "_options." in self.key else None

    @property
    def option(self) -> str:
        """The option's name."""
        return self.key.split(".", 1)[-1]

    def given_in(self, fixed: dict[str, Any]) -> bool:
        """Whether the fixed settings of a phase hold it."""
        if self.rule is None:
            return self.key in fixed
        return self.option in (fixed.get(f"{self.rule}_options") or {})
