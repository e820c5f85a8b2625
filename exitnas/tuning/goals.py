"""What a study can strive for. To add a goal: a `Goal` here and its row in `exitnas.tuning.GOALS`."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

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


@dataclass(frozen=True)
class Goal:
    """One objective of a study.

    Attributes:
        direction: `"maximize"` or `"minimize"`.
        description: one line for people.
        unit: what the number counts; `""` for shares, shown as percent.
        measure: the value of a finished trial.
        intermediate: key of the lines of `history.jsonl` that hold the same value during training, for pruning.
    """

    direction: str
    description: str
    unit: str
    measure: Callable[[Result], float]
    intermediate: str | None = None


def _dev(name: str) -> Callable[[Result], float]:
    def measure(result: Result) -> float:
        if result.retrain is not None:
            return fmean(seed["dev"][name] for seed in result.retrain["seeds"])
        if result.search[name] is None:
            raise ExitnasError("a space with a single point trains nothing in its search: leave out --search-only")
        return float(result.search[name])

    return measure


def _cost(name: str) -> Callable[[Result], float]:
    return lambda result: float(sum(exit_[name] for exit_ in (result.retrain or result.search)["costs"]))


def _latency(result: Result) -> float:
    from exitnas.tuning.latency import mean_exit_milliseconds

    return mean_exit_milliseconds(result.genotype, result.num_labels, result.tokens)


AVG = Goal(
    "maximize",
    "score on dev, mean over exits (and seeds); of the supernet with --search-only",
    "",
    _dev("avg"),
    intermediate="avg",
)
BEST = Goal("maximize", "score of the best exit on dev", "", _dev("best"), intermediate="best")
MACS = Goal("minimize", "multiply-accumulates of all exits on a row of mean length", "MACs", _cost("macs"))
PARAMETERS = Goal("minimize", "parameters of all exits", "parameters", _cost("parameters"))
LATENCY = Goal("minimize", "CPU milliseconds of an exit on one row of mean length, mean over exits", "ms", _latency)
