"""What is learned: task specs, loading, splits and metrics.

Importing this package is cheap; the catalog, the readers and the metrics are imported when first used.
"""

from typing import TYPE_CHECKING

from exitnas.registry import Registry

if TYPE_CHECKING:
    from exitnas.tasks.spec import TaskSpec

METRICS = Registry(
    "metric",
    {
        "accuracy": "exitnas.tasks.metrics:accuracy",
        "f1": "exitnas.tasks.metrics:f1",
        "macro_f1": "exitnas.tasks.metrics:macro_f1",
        "acc_f1": "exitnas.tasks.metrics:acc_f1",
        "matthews": "exitnas.tasks.metrics:matthews",
        "pearson_spearman": "exitnas.tasks.metrics:pearson_spearman",
    },
)
"""A metric is `(predictions [N], labels [N]) -> float`; larger is better."""

REGRESSION_METRICS = frozenset({"pearson_spearman"})
"""Metrics that score values; all others score class indices."""

BINARY_METRICS = frozenset({"f1", "acc_f1"})
"""Metrics that need exactly two classes; class 1 is the positive one."""


def task_names() -> list[str]:
    """Names of the tasks of the catalog, in its order."""
    from exitnas.tasks.catalog import TASKS

    return list(TASKS)


def get_task(name_or_yaml: str) -> "TaskSpec":
    """The spec of a catalog task, or of a user's own data when given a path to its YAML file.

    Raises:
        UsageError: no such task (the nearest names are listed), or no such file.
        ExitnasError: a YAML file that does not describe a task.
    """
    if name_or_yaml.endswith((".yaml", ".yml")):
        from exitnas.tasks.user import read_task_yaml

        return read_task_yaml(name_or_yaml)

    from exitnas.errors import UsageError
    from exitnas.registry import nearest
    from exitnas.tasks.catalog import TASKS

    if name_or_yaml not in TASKS:
        raise UsageError(
            f"unknown task {name_or_yaml!r}: {nearest(name_or_yaml, list(TASKS))}; "
            "for your own data give the path of a task YAML file"
        )
    return TASKS[name_or_yaml]
