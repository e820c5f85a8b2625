"""Loaded data: rows of texts with labels, in three splits."""

from collections.abc import Iterable
from dataclasses import dataclass

from exitnas.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Split:
    """Rows in their original order.

    Attributes:
        texts: first (or only) text of each row.
        pairs: second text of each row; None for single-text tasks.
        labels: class index (int) or value (float) of each row.
        parts: name of the evaluation set each row belongs to (MNLI: matched, mismatched); None elsewhere.
    """

    texts: list[str]
    pairs: list[str] | None
    labels: list[int] | list[float]
    parts: list[str] | None = None

    def __post_init__(self) -> None:
        for name, column in (("pairs", self.pairs), ("labels", self.labels), ("parts", self.parts)):
            if column is not None and len(column) != len(self.texts):
                raise ValueError(f"Split: {len(self.texts)} texts but {len(column)} {name}")

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Iterable[int]) -> "Split":
        """The rows at `indices`, in that order."""
        chosen = [int(i) for i in indices]
        return Split(
            texts=[self.texts[i] for i in chosen],
            pairs=None if self.pairs is None else [self.pairs[i] for i in chosen],
            labels=[self.labels[i] for i in chosen],
            parts=None if self.parts is None else [self.parts[i] for i in chosen],
        )


@dataclass(frozen=True)
class TaskData:
    """A task with its rows.

    Attributes:
        spec: the task, `labels` filled in when they were read from the data.
        train: rows to learn from.
        dev: rows to choose checkpoints, thresholds and settings with.
        test: rows to report scores on.
        source: one line that says where the rows came from.
        notes: what is worth recording beside the scores: how the splits were made, rows skipped, limits.
    """

    spec: TaskSpec
    train: Split
    dev: Split
    test: Split
    source: str
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Rows per split."""
        return {"train": len(self.train), "dev": len(self.dev), "test": len(self.test)}
