"""What a report is asked for, checked before any model is run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exitnas.errors import UsageError, require
from exitnas.reporting.report.collect import KINDS, RunRecord


def check_request(points: int, opening: dict[str, Any]) -> None:
    """Refuse settings of the evaluation that suit no run, so that no report is written without its curves.

    Args:
        opening: arguments of `exitnas.inference.session.Session.open`.

    Raises:
        UsageError: a number out of range, no such folder, or a device that is not there.
    """
    require(points >= 2, f"--points: expected at least 2, got {points}")
    for option in ("batch_size", "limit_eval"):
        count = opening.get(option)
        require(count is None or count >= 1, f"--{option.replace('_', '-')}: expected at least 1, got {count}")
    folder = opening.get("data_dir")
    require(folder is None or Path(folder).expanduser().is_dir(), f"--data-dir {folder}: no such folder")
    if opening.get("device") == "cuda":
        from exitnas.training.device import choose_device

        choose_device("cuda")


def check_baselines(records: Sequence[RunRecord], beside: Sequence[RunRecord]) -> None:
    """Refuse a baseline that no run can be compared with.

    Raises:
        UsageError: it is not a truncated baseline, holds no model, or no run is of its task.
    """
    tasks = list(dict.fromkeys(record.task for record in records))
    for record in beside:
        wanted = "expected a run of `exitnas baseline truncated`"
        if record.kind != "baseline":
            raise UsageError(f"--baseline {record.path}: is a {KINDS[record.kind]}; {wanted}")
        if not record.has_model:
            raise UsageError(f"--baseline {record.path}: holds no model; {wanted}, finished")
        if record.task not in tasks:
            others = ", ".join(str(task) for task in tasks)
            raise UsageError(f"--baseline {record.path}: was trained for task {record.task}, the runs for {others}")
