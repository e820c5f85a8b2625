"""Which process runs a trial, whether it is still alive, and trying again what was killed."""

import os
import socket
import warnings
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

from exitnas.tuning.storage import RETRIES

#: Seconds after which a running trial that names no worker is taken for dead. A worker writes its name before anything
#: else, milliseconds after the trial began; the rest is room for slow storages.
NAMELESS = 600


def machine() -> str:
    """This host as processes on it see it: name, boot, and namespace of process ids."""
    parts = [socket.gethostname()]
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.is_file():
        parts.append(boot.read_text().strip())
    namespace = Path("/proc/self/ns/pid")
    if namespace.is_symlink():
        parts.append(os.readlink(namespace))
    return "/".join(parts)


def worker_id() -> dict[str, Any]:
    """This process: `machine`, `pid`, and when it was `born`, so that a reused pid is not taken for it."""
    return {"machine": machine(), "pid": os.getpid(), "born": born(os.getpid())}


def born(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None where the system does not tell or it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def is_gone(worker: dict[str, Any] | None) -> bool:
    """True when the process is known to be dead: it ran on this machine and is no more."""
    if not worker or worker["machine"] != machine():
        return False
    if worker["born"] is not None:
        return born(worker["pid"]) != worker["born"]
    try:
        os.kill(worker["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def is_nameless(trial: Any) -> bool:
    """True when a running trial's worker died between drawing the trial and writing its name into it."""
    if trial.user_attrs.get("worker") or trial.datetime_start is None:
        return False
    return bool((datetime.now() - trial.datetime_start).total_seconds() > NAMELESS)


def reclaim(
    study: Any, storage: Any, *, everyone: bool = False, dead: Collection[int | None] = ()
) -> list[tuple[int, bool]]:
    """Fail the running trials whose worker is dead and queue them again.

    Works on every storage, for workers of this machine; those of other machines are told dead by a database's
    heartbeat alone.

    Args:
        everyone: all running trials, for a journal whose other workers are known to be gone.
        dead: numbers of trials whose worker is known to be gone.

    Returns:
        Number of each such trial and whether it was queued again (False after `RETRIES`).
    """
    from optuna.trial import TrialState

    found = []
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get("worker")
        if everyone or trial.number in dead or is_gone(worker) or is_nameless(trial):
            pid = worker["pid"] if worker else "unknown"
            if fail(study, storage, trial.number, f"killed: its worker (process {pid}) is gone"):
                found.append((trial.number, retry(study, trial)))
    return found


def fail(study: Any, storage: Any, number: int, reason: str) -> bool:
    """Set a running trial to failed with a reason; False when somebody else has finished it."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    study_id = storage.get_study_id_from_name(study.study_name)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    try:
        storage.set_trial_user_attr(trial_id, "reason", reason)
        storage.set_trial_user_attr(trial_id, "killed", True)
        study.tell(number, state=TrialState.FAIL)
    except (UpdateFinishedTrialError, ValueError):
        return False
    return True


def retry(study: Any, trial: Any, limit: int | None = RETRIES) -> bool:
    """Queue the same parameters again, `limit` times at most over all tries; whether it was done."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    history = trial.system_attrs.get("retry_history", [])
    if limit is not None and len(history) >= limit:
        return False
    trial.user_attrs = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the callback is "experimental" since Optuna 2.8
        RetryHeartbeatStaleTrialCallback(max_retry=limit)(study, trial)
    return True
