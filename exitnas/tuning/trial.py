"""One trial: a search and, unless only searching, the retraining of what it found, in run directories of their own."""

import traceback
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

from optuna import TrialPruned

from exitnas.errors import ExitnasError
from exitnas.exits.genotype import Genotype
from exitnas.files import write_json, write_text
from exitnas.objectives.plan import TrainingPlan
from exitnas.reporting.progress import Reporter
from exitnas.search.bilevel import search
from exitnas.settings import RetrainSettings, TrainingSettings
from exitnas.training.retrain import retrain
from exitnas.training.runs import Run
from exitnas.training.setup import prepare
from exitnas.tuning import GOALS
from exitnas.tuning.goals import Result
from exitnas.tuning.liveness import worker_id
from exitnas.tuning.parameters import suggest, trial_settings
from exitnas.tuning.record import StudyRecord

#: Reports per phase: after each quarter of the epochs, so that trials of different length are compared at equal shares.
QUARTERS = 4


class WatchedRun(Run):
    """A run that reports its scores on dev to an Optuna trial and stops when the pruner says so.

    Steps 1 to 4 are the quarters of the search, 5 to 8 those of retraining. The first report of a trial is not judged:
    rates are still rising, and with them the scores.
    """

    def watch(self, trial: Any, key: str, epochs: int, before: int, last_stage: str | None = None) -> "WatchedRun":
        """Report `key` of every evaluation.

        Args:
            epochs: of the phase.
            before: steps reported by earlier phases.
            last_stage: name of the only stage whose scores count; earlier ones leave exits untrained.
        """
        self._trial, self._key, self._epochs, self._before, self._last = trial, key, epochs, before, last_stage
        self._told = 0
        self._seed: int | None = None
        return self

    def log(self, **values: Any) -> None:
        """As any run does, then report and perhaps prune.

        Raises:
            TrialPruned: the trial does worse than others did at this step.
        """
        super().log(**values)
        seed = values.get("seed")
        self._seed = seed if self._seed is None else self._seed
        if seed != self._seed or (self._last is not None and values.get("stage") != self._last):
            return
        quarter = min(QUARTERS, QUARTERS * int(values["epoch"]) // self._epochs)
        if quarter <= self._told:
            return
        first = self._told == self._before == 0
        self._told = quarter
        self._trial.report(values[self._key], self._before + quarter)
        if not first and self._trial.should_prune():
            raise TrialPruned(f"{self._key} {values[self._key]:.4f} at step {self._before + quarter}")

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        """Nothing: a trial that is stopped is not gone on with, but run again."""


class TrialLog(Reporter):
    """Progress of a trial, in its `log.txt` instead of on stderr."""

    def __init__(self, path: Path):
        super().__init__(quiet=True)
        self.path = path

    def line(self, text: str) -> None:
        """Add a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    def warn(self, text: str) -> None:
        """Add a line that should be read."""
        self.line(f"warning: {text}")


def run_trial(trial: Any, record: StudyRecord, folder: Path) -> tuple[float, ...]:
    """The values of a trial, one per goal of the study; its directory is `trials/NUMBER` under the study's folder.

    Raises:
        TrialPruned: it was stopped early.
        ExitnasError: its directory is there already: another study's, whose files stay as they are.
        Exception: whatever stopped it; the reason stays with the trial and in `failure.txt`.
    """
    began = perf_counter()
    path = folder / "trials" / f"{trial.number:04d}"
    trial.set_user_attr("worker", worker_id())
    try:
        path.mkdir(parents=True)
    except OSError as error:
        taken = isinstance(error, FileExistsError)
        reason = f"{path}: {'is there already; give the study a folder of its own' if taken else error.strerror}"
        trial.set_user_attr("reason", reason)
        raise ExitnasError(reason) from None
    trial.set_user_attr("run", str(path))
    report: dict[str, Any] = {"trial": trial.number}
    try:
        values = suggest(trial, record.tuning_space(), record.fixed)
        report |= {"parameters": values}
        results = _run(trial, record, path, values)
        report |= {"state": "complete", "values": dict(zip(record.goals, results, strict=True))}
        return results
    except TrialPruned as pruned:
        report |= {"state": "pruned", "reason": str(pruned)}
        trial.set_user_attr("reason", str(pruned))
        raise
    except KeyboardInterrupt:
        report |= {"state": "failed", "reason": "interrupted"}
        trial.set_user_attr("reason", "interrupted")
        trial.set_user_attr("killed", True)
        raise
    except Exception as error:
        report |= {"state": "failed", "reason": reason_of(error)}
        trial.set_user_attr("reason", report["reason"])
        known = isinstance(error, ExitnasError)
        write_text(path / "failure.txt", report["reason"] + "\n" + ("" if known else "\n" + traceback.format_exc()))
        raise
    finally:
        report |= {"seconds": round(perf_counter() - began, 2)}
        trial.set_user_attr("seconds", report["seconds"])
        write_json(path / "trial.json", report)


def _run(trial: Any, record: StudyRecord, path: Path, values: dict[str, Any]) -> tuple[float, ...]:
    found, retraining = trial_settings(record.tuning_space(), record.fixed, values, record.search_only)
    run = _watched(path / "search", trial, record, found, 0)
    log = TrialLog(path / "log.txt")
    searched = search(found, run, log)
    genotype = Genotype.load(searched["genotype"])
    retrained = None
    if retraining is not None:
        run = _watched(path / "retrain", trial, record, retraining, QUARTERS)
        retrained = retrain(retraining, genotype, run, log)
    labels, tokens = _shape(found) if "latency" in record.goals else (2, 1)
    result = Result(searched, retrained, genotype, labels, tokens)
    found_values = {goal: GOALS.create(goal).measure(result) for goal in record.goals}
    for goal, value in found_values.items():
        if not isfinite(value):
            raise ExitnasError(f"goal {goal} is {value}: training diverged; such settings are none to choose")
    return tuple(found_values.values())


def _watched(path: Path, trial: Any, record: StudyRecord, settings: TrainingSettings, before: int) -> WatchedRun:
    """A run directory that reports to the trial if the study prunes."""
    run = WatchedRun.create(path)
    assert isinstance(run, WatchedRun)
    if record.prunes is None:
        return run.watch(_Silent(), "avg", settings.epochs, before)
    stage = None
    if isinstance(settings, RetrainSettings):
        stage = TrainingPlan.from_settings(settings).objective.stages()[-1].name
    return run.watch(trial, record.prunes, settings.epochs, before, stage)


class _Silent:
    """Stands for a trial that nobody prunes."""

    def report(self, value: float, step: int) -> None:
        """Nothing."""

    def should_prune(self) -> bool:
        """Never."""
        return False


def _shape(settings: TrainingSettings) -> tuple[int, int]:
    """C and the mean length of a training row in tokens."""
    setup = prepare(settings)
    return setup.spec.num_labels, max(1, round(setup.train.mean_length()))


def reason_of(error: BaseException) -> str:
    """Why a trial failed, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, ExitnasError):
        return text
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text.lower():
        return f"out of memory: {text[:200]}".rstrip(": ")
    return f"{type(error).__name__}: {text[:200]}".rstrip(": ")
