"""What a study can strive for. To add a goal: subclass `Goal` here and add its row to `exitnas.tuning.GOALS`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

from exitnas.errors import ExitnasError
from exitnas.exits.genotype import Genotype


@dataclass(frozen=True)
class Result:
    """What a finished trial has to show.

    Attributes:
        search: the summary of its search.
        retrain: the summary of its retraining; None when only searching.
        genotype: the exits found.
        num_labels: C.
        tokens: mean length of a training row.
    """

    search: dict[str, Any]
    retrain: dict[str, Any] | None
    genotype: Genotype
    num_labels: int
    tokens: int


class Goal(ABC):
    """One objective of a study; its docstring's first line describes it to people.

    Attributes:
        direction: `"maximize"` or `"minimize"`.
        unit: what the number counts; `""` for shares, shown as percent.
        intermediate: key of the lines of `history.jsonl` that hold the same value during training, for pruning.
    """

    direction: ClassVar[str]
    unit: ClassVar[str]
    intermediate: ClassVar[str | None] = None

    @abstractmethod
    def measure(self, result: Result) -> float:
        """The value of a finished trial."""


class _Score(Goal):
    direction = "maximize"
    unit = ""

    def measure(self, result: Result) -> float:
        name = str(self.intermediate)
        if result.retrain is not None:
            return fmean(seed["dev"][name] for seed in result.retrain["seeds"])
        if result.search[name] is None:
            raise ExitnasError("a space with a single point trains nothing in its search: leave out --search-only")
        return float(result.search[name])


class Avg(_Score):
    """Score on dev, mean over exits (and seeds); of the supernet with --search-only."""

    intermediate = "avg"


class Best(_Score):
    """Score of the best exit on dev."""

    intermediate = "best"


class Macs(Goal):
    """Multiply-accumulates of all exits on a row of mean length."""

    direction = "minimize"
    unit = "MACs"

    def measure(self, result: Result) -> float:
        return _sum(result, "macs")


class Parameters(Goal):
    """Parameters of all exits."""

    direction = "minimize"
    unit = "parameters"

    def measure(self, result: Result) -> float:
        return _sum(result, "parameters")


class Latency(Goal):
    """CPU milliseconds of an exit on one row of mean length, mean over exits."""

    direction = "minimize"
    unit = "ms"

    def measure(self, result: Result) -> float:
        from exitnas.tuning.latency import mean_exit_milliseconds

        return mean_exit_milliseconds(result.genotype, result.num_labels, result.tokens)


def _sum(result: Result, cost: str) -> float:
    return float(sum(exit_[cost] for exit_ in (result.retrain or result.search)["costs"]))
