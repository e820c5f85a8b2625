"""A user's own data: a small YAML file that names files, text columns, label column and metric.

    name: tickets
    files: {train: train.csv, validation: dev.csv, test: test.csv}
    text: body                  # or [question, answer]
    label: queue
    metric: accuracy

Only `files.train` is required of the files, which are relative to the YAML file. `labels` lists the class names in
order; without it they are read from the training data, sorted. `type: regression` predicts a number, and
`value_range: [0, 5]` says between which limits.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator

from exitnas.errors import ExitnasError, UsageError
from exitnas.files import check_name, read_yaml
from exitnas.registry import nearest
from exitnas.schema import Frozen, parse
from exitnas.tasks import METRICS
from exitnas.tasks.spec import TaskSpec, UserFiles

Column = Annotated[str, Field(min_length=1)]


class UserTask(Frozen):
    """What a task YAML file may say."""

    name: Annotated[str, AfterValidator(check_name)] | None = None
    """Name of the task, part of the names of run directories; the file's name when absent."""
    files: UserFiles
    """Paths relative to the YAML file's folder."""
    text: tuple[Column, ...] = Field(min_length=1, max_length=2)
    """The text column, or a list of one or two."""
    label: Column
    """The label column."""
    labels: tuple[str, ...] | None = None
    """Class names in the order of their indices."""
    type: Literal["classification", "regression"] = "classification"
    """What is predicted."""
    value_range: tuple[float, float] | None = None
    """Smallest and largest valid label of a regression; a label outside is refused, any is taken when absent."""
    metric: str | None = None
    """One of `exitnas.tasks.METRICS`; accuracy, or pearson_spearman for regression, when absent."""

    @field_validator("text", mode="before")
    @classmethod
    def _single_column(cls, text: Any) -> Any:
        return [text] if isinstance(text, str) else text

    @field_validator("labels", mode="before")
    @classmethod
    def _names(cls, labels: Any) -> Any:
        if not isinstance(labels, list):
            return labels
        for label in labels:
            if isinstance(label, bool):
                raise ValueError(
                    "YAML reads yes, no, on, off, true and false as truth values; put quotes around labels"
                )
            if not isinstance(label, str | int):
                raise ValueError(f"expected names or whole numbers, got {repr(label)[:60]}; put quotes around a name")
        return [str(label) for label in labels]


def read_task_yaml(path: Path | str) -> TaskSpec:
    """The task described by a YAML file.

    Raises:
        UsageError: no such file.
        ExitnasError: not YAML, or not a task: the path of the wrong value and what was expected.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UsageError(f"--task {path}: no such file; give a task's name or the path of its YAML file")
    content = read_yaml(path)
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
            labels=task.labels,
            regression=regression,
            value_range=task.value_range,
            metric=metric,
            public_test=True,
            files=task.files,
            base_dir=str(path.parent),
        )
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ExitnasError(f"{path}: {reason}") from None
