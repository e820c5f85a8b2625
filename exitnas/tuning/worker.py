"""A worker: runs trials one at a time, in this process or as a process of its own that is told when to go on.

As a process (`python -m exitnas.tuning.worker`) it reads lines of JSON from stdin: first the job, then `{"go": true}`
for every trial; it answers each on stdout with `started` and `finished`. When stdin ends, so does it.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from exitnas.errors import ExitnasError
from exitnas.tuning.record import StudyRecord, read_record
from exitnas.tuning.storage import Address, opened, understood


@dataclass(frozen=True)
class Job:
    """What a worker must know.

    Attributes:
        storage: address of the storage, password included: it travels by pipe, never by command line.
        name: of the study.
        folder: of the study, for the trials' runs.
        heartbeat: seconds, see `exitnas.tuning.storage.opened`.
        place: per phase, where data and device are on this machine, in place of what the study's record has.
    """

    storage: str
    name: str
    folder: str
    heartbeat: int
    place: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        state: `complete`, `pruned` or `failed`.
        values: one per goal, of a complete trial.
        killed: its worker was stopped from outside, so the settings are not to blame.
    """

    number: int
    state: str
    values: list[float] | None
    parameters: dict[str, Any]
    reason: str | None
    seconds: float
    killed: bool


@contextmanager
def joined(job: Job) -> Iterator[tuple[Any, Any, StudyRecord]]:
    """The study as a worker has it, the storage, and the study's record for this machine.

    Raises:
        ExitnasError: the storage failed, here or inside the `with`; one line without the password.
    """
    import optuna

    from exitnas.tuning.sampling import NumberedTPE, make_pruner

    address = Address(job.storage)
    with opened(address, job.heartbeat) as storage, understood(address):
        study = optuna.load_study(study_name=job.name, storage=storage)
        record = read_record(study).at(job.place)
        study.sampler, study.pruner = NumberedTPE(record.seed), make_pruner(record.pruner)
        yield study, storage, record


def one_trial(study: Any, record: StudyRecord, job: Job, on_start: Any = None) -> Outcome:
    """Run a trial: a queued one if there is any, else a new one.

    Raises:
        KeyboardInterrupt: after the trial was queued again.
    """
    from exitnas.tuning.liveness import retry
    from exitnas.tuning.trial import run_trial

    started: list[int] = []

    def objective(trial: Any) -> tuple[float, ...]:
        started.append(trial.number)
        if on_start is not None:
            on_start(trial.number)
        return run_trial(trial, record, Path(job.folder))

    try:
        study.optimize(objective, n_trials=1, catch=(Exception,))
    except KeyboardInterrupt:
        if started:
            retry(study, study.get_trials()[started[0]], limit=None)
        raise
    return outcome(study.get_trials(deepcopy=False)[started[0]])


def outcome(trial: Any) -> Outcome:
    """How an Optuna trial ended."""
    state = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}.get(
        trial.state.name, trial.state.name.lower()
    )
    reason, killed = trial.user_attrs.get("reason"), bool(trial.user_attrs.get("killed"))
    if state == "failed" and reason is None:
        reason, killed = "killed: its worker gave no sign of life", True
    values = list(trial.values) if state == "complete" else None
    return Outcome(trial.number, state, values, trial.params, reason, trial.user_attrs.get("seconds", 0.0), killed)


def main() -> None:
    """The life of a worker process."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever prints must not mix with the answers

    def say(**message: Any) -> None:
        pipe.write(json.dumps(message) + "\n")
        pipe.flush()

    job = Job(**json.loads(sys.stdin.readline()))
    address = Address(job.storage)
    try:
        with joined(job) as (study, _, record):
            for _ in sys.stdin:
                done = one_trial(study, record, job, partial(_started, say))
                say(event="finished", outcome=asdict(done))
    except KeyboardInterrupt:
        sys.exit(130)
    except ExitnasError as error:
        say(event="error", reason=address.hide(str(error)))
        sys.exit(1)


def _started(say: Any, number: int) -> None:
    say(event="started", number=number)


if __name__ == "__main__":
    main()
