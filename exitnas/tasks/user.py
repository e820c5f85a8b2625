"""A user's own data: a small YAML file that names files, text columns, label column and metric.

    name: tickets
    files: {train: train.csv, validation: dev.csv, test: test.csv}
    text: body                  # or [question, answer]
    label: queue
    metric: accuracy

Only `files.train` is required of the files, which are relative to the YAML file. `labels` lists the class names in
order; without it they are read from the training data, sorted. `type: regression` predicts a number.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from exitnas.errors import ExitnasError, UsageError
from exitnas.registry import nearest
from exitnas.schema import Frozen, parse
from exitnas.tasks import METRICS
from exitnas.tasks.spec import TaskSpec, UserFiles

Column = Annotated[str, Field(min_length=1)]


class UserTask(Frozen):
    """What a task YAML file may say."""

    name: str | None = Field(default=None, min_length=1)
    """Name of the task; the file's name when absent."""
    files: UserFiles
    """Paths relative to the YAML file's folder."""
    text: tuple[Column, ...] = Field(min_length=1, max_length=2)
    """The text column, or a list of one or two."""
    label: Column
    """The label column."""
    labels: tuple[str | int, ...] | None = None
    """Class names in the order of their indices."""
    type: Literal["classification", "regression"] = "classification"
    """What is predicted."""
    metric: str | None = None
    """One of `exitnas.tasks.METRICS`; accuracy, or pearson_spearman for regression, when absent."""

    @field_validator("text", mode="before")
    @classmethod
    def _single_column(cls, text: Any) -> Any:
        return [text] if isinstance(text, str) else text

    @field_validator("labels", mode="before")
    @classmethod
    def _no_truth_values(cls, labels: Any) -> Any:
        if isinstance(labels, list) and any(isinstance(label, bool) for label in labels):
            raise ValueError("YAML reads yes, no, on, off, true and false as truth values; put quotes around labels")
        return labels


def read_task_yaml(path: Path | str) -> TaskSpec:
    """The task described by a YAML file.

    Raises:
        UsageError: no such file.
        ExitnasError: not YAML, or not a task: the path of the wrong value and what was expected.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UsageError(f"--task {path}: no such file; give a task's name or the path of its YAML file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ExitnasError(f"{path}: expected UTF-8 text ({error.reason} at byte {error.start})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise ExitnasError(f"{path}: {line}not valid YAML ({problem})") from None
    if not isinstance(content, dict):
        raise ExitnasError(f"{path}: expected keys name, files, text, label, got {type(content).__name__}")
    for key in content:
        if key not in UserTask.model_fields:
            raise ExitnasError(f"{path}: {key}: unknown key; {nearest(str(key), list(UserTask.model_fields))}")
    task = parse(UserTask, content, str(path))
    regression = task.type == "regression"
    metric = task.metric or ("pearson_spearman" if regression else "accuracy")
    if metric not in METRICS:
        raise ExitnasError(f"{path}: metric: unknown metric {metric!r}; {nearest(metric, METRICS.names())}")
    try:
        return TaskSpec(
            name=task.name or path.stem,
            description=f"own data described by {path}",
            text_columns=task.text,
            label_column=task.label,
            labels=None if task.labels is None else tuple(str(label) for label in task.labels),
            regression=regression,
            metric=metric,
            public_test=True,
            files=task.files,
            base_dir=str(path.parent),
        )
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ExitnasError(f"{path}: {reason}") from None
