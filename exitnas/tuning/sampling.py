"""What draws the parameters of a trial and what stops a trial early."""

from collections.abc import Callable
from typing import Any

from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, TPESampler

from exitnas.errors import UsageError
from exitnas.registry import nearest

#: Trials drawn at random before TPE has something to learn from.
STARTUP = 6
#: Trials that must be complete before others are held against them.
PRUNER_STARTUP = 4

#: `median` holds the best value a trial has reported so far against the median of the complete trials at that step, so
#: a trial that was good once is kept while it gets worse. A trial's first report is never judged, see `WatchedRun`.
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "median": lambda: MedianPruner(n_startup_trials=PRUNER_STARTUP),
    "none": NopPruner,
}


def make_pruner(name: str) -> BasePruner:
    """A pruner by name."""
    if name not in PRUNERS:
        raise UsageError(f"unknown pruner {name!r}: {nearest(name, list(PRUNERS))}")
    return PRUNERS[name]()


class NumberedTPE(BaseSampler):
    """Optuna's TPE, seeded anew for every trial from the study's seed and the trial's number.

    So a study that is interrupted and continued draws what an uninterrupted one draws, and workers on any number of
    machines, who share the seed, never draw the same random numbers.

    Args:
        seed: of the study.
    """

    def __init__(self, seed: int):
        self._seed = seed
        self._tpe = self._fresh(0)

    def _fresh(self, number: int) -> TPESampler:
        return TPESampler(n_startup_trials=STARTUP, seed=(self._seed * 1_000_003 + number) % 2**32)

    def before_trial(self, study: Any, trial: Any) -> None:
        self._tpe = self._fresh(trial.number)
        self._tpe.before_trial(study, trial)

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        self._tpe.after_trial(study, trial, state, values)
