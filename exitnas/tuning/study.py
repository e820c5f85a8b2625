"""A study from its request to its summary: created or gone on with, its trials run, its files written."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

from exitnas.errors import ExitnasError, UsageError, require
from exitnas.files import check_name, write_json
from exitnas.objectives.plan import TrainingPlan
from exitnas.reporting.progress import Reporter
from exitnas.tasks import get_task
from exitnas.tuning.budget import Budget
from exitnas.tuning.liveness import reclaim
from exitnas.tuning.parameters import Fixed, check_drawable, default_parameters, trial_settings
from exitnas.tuning.pool import run_pool
from exitnas.tuning.record import ATTRIBUTE, PLACE, StudyRecord, check_same, read_record
from exitnas.tuning.sampling import make_pruner
from exitnas.tuning.saved import FILE, VARIABLE, Saved, check_folder
from exitnas.tuning.space import TuningSpace, load_tuning_space, read_space
from exitnas.tuning.storage import Address, opened, understood
from exitnas.tuning.summary import describe, values_line
from exitnas.tuning.worker import Job, Outcome, joined, one_trial

#: This many trials that fail in the same way at the start of a command end it.
ALIKE = 3
JOURNAL = "journal.log"


@dataclass(frozen=True)
class Request:
    """What a study is asked to be; what is None is taken from the study where it exists, else the default.

    Attributes:
        folder: of the study; `runs/NAME` by default.
        storage: address of the storage; by default that of the study in the folder, for a new one what the environment
            variable `EXITNAS_STORAGE` holds, else a journal in the folder.
        fixed: per phase, the settings that all trials share.
    """

    task: str | None = None
    name: str | None = None
    folder: str | None = None
    storage: str | None = None
    goals: tuple[str, ...] | None = None
    search_only: bool | None = None
    space: TuningSpace | None = None
    fixed: Fixed | None = None
    seed: int | None = None
    pruner: str | None = None
    heartbeat: int = 30

    def study_name(self) -> str:
        """The name given, else that of the folder, else one made of task and space."""
        if self.name is not None:
            try:
                return check_name(self.name)
            except ValueError as error:
                raise UsageError(f"--name: {error}; choose the folder with --output") from None
        if self.folder:
            return Path(os.path.abspath(self.folder)).name
        require(self.task is not None, "--task is missing; see `exitnas list tasks`, or name a study with --name")
        space = self.space or load_tuning_space(None)
        return f"tune-{get_task(str(self.task)).name}-{space.name}"


def tune(
    request: Request,
    report: Reporter,
    *,
    trials: int | None = None,
    timeout: float | None = None,
    workers: int = 1,
    take_over: bool = False,
) -> dict[str, Any]:
    """Add trials to a study, which is created if there is none of its name.

    Args:
        trials: how many; None for as many as `timeout` allows.
        timeout: seconds after which no trial is started.
        workers: processes; with several, each has its share of the cores, with one, trials run in this process.
        take_over: queue again whatever is running, when its workers are known to be gone.

    Returns:
        The summary, see `exitnas.tuning.summary.describe`.

    Raises:
        UsageError: the study of that name is about something else, or the request cannot be meant.
        ExitnasError: the storage cannot be reached, or the first trials all failed alike.
    """
    if request.pruner is not None:
        make_pruner(request.pruner)
    name = request.study_name()
    folder = Path(request.folder or f"runs/{name}")
    require(not folder.is_file(), f"--output {folder}: is a file, expected a folder")
    address = _address(folder, request.storage)
    check_folder(folder, name, address)
    place = {p: {k: v for k, v in fixed.items() if k in PLACE} for p, fixed in (request.fixed or {}).items()}
    job = Job(address.text, name, str(folder), request.heartbeat, place)
    folder.mkdir(parents=True, exist_ok=True)
    with opened(address, request.heartbeat) as storage, understood(address):
        record = _create(storage, name, request, report)
        write_json(folder / FILE, {"name": name, "storage": address.shown, **record.model_dump(mode="json")})
    with joined(job) as (study, storage, record):
        for number, again in reclaim(study, storage, everyone=take_over):
            report.line(f"trial {number} was killed; {'queued again' if again else 'tried often enough'}")
        teller = _Teller(record, report, trials)
        budget = Budget(trials, timeout)
        try:
            if workers > 1:
                run_pool(study, storage, job, workers, budget, teller)
            while workers == 1 and budget.take():
                teller(one_trial(study, record, job))
        except BaseException:
            with suppress(Exception):  # what ended the study is told, not that its summary failed too
                write_json(folder / "summary.json", describe(study, record, address, folder))
            raise
        summary = describe(study, record, address, folder)
    write_json(folder / "summary.json", summary)
    return summary


def _address(folder: Path, given: str | None) -> Address:
    """Where the study is kept: what its folder says, else what was given, the environment, a journal in the folder."""
    if (folder / FILE).is_file():
        return Saved.read(folder).address(folder, given)
    return Address(given or os.environ.get(VARIABLE) or str(folder / JOURNAL))


def _create(storage: Any, name: str, request: Request, report: Reporter) -> StudyRecord:
    """The study in the storage, made and given its default trial if it is new; its record.

    A record is written once, by the command that makes the study, and last: a study that has one is complete.
    """
    import optuna

    known = name in optuna.get_all_study_names(storage)
    old = _read_record(storage, name) if known else None
    record = _record(request, old)
    if old is not None:
        check_same(name, old, record)
    space = record.tuning_space()
    check_drawable(space, record.fixed)
    values, outside = default_parameters(space, record.fixed, record.search_only)
    settings, retraining = trial_settings(space, record.fixed, values, record.search_only)
    if retraining is not None:
        TrainingPlan.from_settings(retraining)
    _check_data(settings)
    if old is None:
        try:
            study = optuna.create_study(study_name=name, storage=storage, directions=record.directions)
        except optuna.exceptions.DuplicatedStudyError:  # another command made it a moment ago
            old = _read_record(storage, name)
            check_same(name, old, _record(request, old))
    if old is not None:
        count = len(optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False))
        report.line(f"going on with study {name}: {count} trials so far")
        return old
    study.enqueue_trial(values)
    study.set_user_attr(ATTRIBUTE, record.model_dump(mode="json"))
    dropped = read_space(record.space, "tuning space").without(record.fixed, record.search_only)[1]
    if dropped:
        report.line(f"fixed, so not tuned: {', '.join(dropped)}")
    if outside:
        report.line(f"defaults outside the tuning space, so trial 0 takes the nearest inside: {', '.join(outside)}")
    return record


def _read_record(storage: Any, name: str) -> StudyRecord:
    """The record of a study; waits a moment for a command that is just making it."""
    import optuna

    study = optuna.load_study(study_name=name, storage=storage)
    for _ in range(50):
        if ATTRIBUTE in study.user_attrs or study.get_trials(deepcopy=False)[1:]:
            break
        sleep(0.1)
    return read_record(study)


def _record(request: Request, old: StudyRecord | None) -> StudyRecord:
    """The record of the study asked for; what is not given comes from the one there is."""
    fixed = request.fixed or {"search": {}, "retrain": {}}
    if old is not None:
        fixed = {phase: {**old.fixed[phase], **fixed[phase]} for phase in old.fixed}
    task = get_task(request.task).name if request.task else old.task if old else None
    if task is None:
        raise UsageError("--task is missing, and there is no study of that name yet; see `exitnas list tasks`")
    space = request.space.content if request.space else old.space if old else load_tuning_space(None).content
    only = old.search_only if old and request.search_only is None else bool(request.search_only)
    goals = request.goals or (old.goals if old else ("avg",))
    require(len(set(goals)) == len(goals), f"--goal {' --goal '.join(goals)}: the same goal twice")
    seed = request.seed if request.seed is not None else old.seed if old else 42
    pruner = request.pruner or (old.pruner if old else "median")
    return StudyRecord(task=task, goals=goals, search_only=only, space=space, fixed=fixed, seed=seed, pruner=pruner)


def _check_data(settings: Any) -> None:
    """Find out before the first trial that data or backbone are missing."""
    from exitnas.backbones.sources import resolve
    from exitnas.tasks.loading import load_task

    resolve(settings.backbone)
    load_task(
        get_task(settings.task),
        data_dir=settings.data_dir,
        offline=settings.offline,
        split_seed=settings.split_seed,
        limit_train=settings.limit_train,
        limit_eval=settings.limit_eval,
    )


class _Teller:
    """Tells how trials end, and stops when the first ones all fail alike."""

    def __init__(self, record: StudyRecord, report: Reporter, trials: int | None):
        self._record, self._report, self._trials = record, report, trials
        self._ended: list[Outcome] = []

    def __call__(self, outcome: Outcome) -> None:
        if not outcome.killed:
            self._ended.append(outcome)
        of = f" ({len(self._ended)}/{self._trials})" if self._trials else ""
        told = values_line(self._record, outcome.values) if outcome.values else outcome.reason
        self._report.line(f"trial {outcome.number}{of} {outcome.state} in {outcome.seconds:.0f} s: {told}")
        first = self._ended[:ALIKE]
        if len(self._ended) == ALIKE and all(o.state == "failed" for o in first):
            kinds = {"".join("#" if c.isdigit() else c for c in o.reason or "") for o in first}
            if len(kinds) == 1:
                raise ExitnasError(f"the first {ALIKE} trials failed alike: {first[0].reason}")
