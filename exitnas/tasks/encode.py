"""From table cells to texts and labels: class names or numbers to indices, values checked against their range."""

import math
from typing import Any

from exitnas.errors import ExitnasError
from exitnas.tasks.data import Split
from exitnas.tasks.spec import TaskSpec
from exitnas.tasks.tables import Table


def to_split(tables: list[tuple[Table, str | None]], spec: TaskSpec) -> Split:
    """Join tables (each with the name of its evaluation set, or None) into one split; `spec.labels` must be known.

    Raises:
        ExitnasError: no rows, a missing text (an empty one is none such), or a label that is not one of the task's.
    """
    texts: list[list[str]] = [[] for _ in spec.text_columns]
    labels: list[Any] = []
    parts: list[str] = []
    for table, part in tables:
        for column, name in zip(texts, spec.text_columns, strict=True):
            column.extend(text_cell(table, i, name) for i in range(len(table)))
        encode = _value if spec.regression else _class_index
        labels.extend(encode(table, i, spec) for i in range(len(table)))
        parts.extend([part or ""] * len(table))
    if not labels:
        raise ExitnasError(f"{', '.join(table.where for table, _ in tables)}: expected at least one row, got none")
    return Split(
        texts=texts[0],
        pairs=texts[1] if len(texts) == 2 else None,
        labels=labels,
        parts=parts if any(part for _, part in tables) else None,
    )


def read_labels(tables: list[Table], label_column: str) -> tuple[str, ...]:
    """The class names that occur in the training tables, sorted (numerically when all are whole numbers).

    Raises:
        ExitnasError: fewer than two classes, or an empty label.
    """
    names = {_name(table, i, label_column) for table in tables for i in range(len(table))}
    if len(names) < 2:
        raise ExitnasError(
            f"{', '.join(table.where for table in tables)}: expected at least two classes in column "
            f"{label_column!r}, got {', '.join(sorted(names)) or 'none'}"
        )
    if all(name.removeprefix("-").isdecimal() and len(name) < 1000 for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def text_cell(table: Table, index: int, column: str) -> str:
    """The text of row `index` (from 0) in `column`; a number as it is written, an empty text as it is.

    Raises:
        ExitnasError: nothing there, or no text; names the line.
    """
    value = table.columns[column][index]
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ExitnasError(f"{table.place(index)}: column {column!r}: expected a text, got {_kind(value)}")


def _name(table: Table, index: int, column: str) -> str:
    """A label cell as text: whole numbers without a decimal point, surrounding blanks dropped."""
    value = table.columns[column][index]
    if isinstance(value, float) and not math.isfinite(value):
        raise ExitnasError(f"{table.place(index)}: column {column!r}: expected a label, got the number {value}")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float) or (isinstance(value, str) and not value.strip()):
        raise ExitnasError(f"{table.place(index)}: column {column!r}: expected a label, got {_kind(value)}")
    return str(value).strip()


def _class_index(table: Table, index: int, spec: TaskSpec) -> int:
    """Index of a label given by name (upper and lower case alike when that is unambiguous) or by number.

    Numbers count as indices only when no class is itself named by a number.
    """
    labels = spec.labels
    assert labels is not None
    name = _name(table, index, spec.label_column)
    if name in labels:
        return labels.index(name)
    folded = [label.casefold() for label in labels]
    if folded.count(name.casefold()) == 1:
        return folded.index(name.casefold())
    number = _whole_number(name)
    if str(number) in labels:
        return labels.index(str(number))
    numeric_names = any(_whole_number(label) is not None for label in labels)
    if number is not None and not numeric_names and 0 <= number < len(labels):
        return number
    numbers = "" if numeric_names else f", or 0 to {len(labels) - 1}"
    raise ExitnasError(
        f"{table.place(index)}: column {spec.label_column!r}: expected one of {', '.join(labels)}{numbers}, "
        f"got {name[:60]!r}"
    )


def _value(table: Table, index: int, spec: TaskSpec) -> float:
    cell = table.columns[spec.label_column][index]
    try:
        value = math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    low, high = spec.value_range or (-math.inf, math.inf)
    if not math.isfinite(value) or not low <= value <= high:
        expected = f"a number from {low:g} to {high:g}" if spec.value_range else "a number"
        got = repr(cell)[:60]
        raise ExitnasError(f"{table.place(index)}: column {spec.label_column!r}: expected {expected}, got {got}")
    return value


def _whole_number(text: str) -> int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def _kind(value: Any) -> str:
    return "nothing" if value is None or value == "" else f"{type(value).__name__} {repr(value)[:40]}"
