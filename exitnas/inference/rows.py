"""Rows to answer, from a file: JSONL, or CSV, TSV and Parquet like the rows a model was trained on."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from exitnas.errors import ExitnasError, UsageError
from exitnas.files import json_kind, parse_json
from exitnas.tasks.encode import text_cell
from exitnas.tasks.spec import TaskSpec
from exitnas.tasks.tables import SUFFIXES, Table, read_lines, read_table

Row = tuple[str, str | None]
"""A text, and the second one of a pair or None."""

TABLES = tuple(suffix for suffix in SUFFIXES if suffix != ".jsonl")
"""Endings of files that are read as tables; all others are read as JSONL, whose columns may have two names here."""


def read_rows(path: str, spec: TaskSpec, skipped: Callable[[str], None] | None = None) -> list[tuple[int, Row]]:
    """Line numbers (Parquet: row numbers) and rows of a file.

    Args:
        path: a table with the task's text columns (`exitnas.tasks.tables`), or JSONL: lines that are objects with these
            columns, or with `text` and `text_pair`.
        skipped: told what is wrong with a row that is left out; None: the first such row is an error. A table that
            cannot be read as one is an error always.

    Raises:
        UsageError: no such file.
        ExitnasError: the file holds no rows, or one without text in these columns; names the line.
    """
    if not Path(path).is_file():
        what = "is a folder, a file of rows was expected" if Path(path).is_dir() else "no such file"
        raise UsageError(f"--input {path}: {what}")
    found: list[tuple[int, Callable[[], Row]]]
    if Path(path).suffix.lower() in TABLES:
        table = read_table(path, spec.text_columns)
        found = [(number, partial(_table_row, table, index, spec)) for index, number in enumerate(table.numbers)]
    else:
        lines = enumerate(read_lines(Path(path), lenient=skipped is not None), start=1)
        found = [(number, partial(_json_row, line, path, number, spec)) for number, line in lines if line.strip()]
    rows: list[tuple[int, Row]] = []
    for number, read in found:
        try:
            rows.append((number, read()))
        except ExitnasError as error:
            if skipped is None:
                raise
            skipped(str(error))
    if not rows:
        raise ExitnasError(f"{path}: holds no rows" + (" that can be answered" if skipped else ""))
    return rows


def text_fault(spec: TaskSpec, texts: tuple[str, str | None]) -> str | None:
    """What is wrong with the texts of a row, None when nothing is."""
    for column, text in zip(spec.text_columns, texts, strict=False):
        if text is None or not text.strip():
            return f"expected text in {column}, got none"
        if _lone_surrogate(text):
            return f"expected Unicode text in {column}, got half a surrogate pair"
    return None


def _lone_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")  # in C, unlike a look at every character
    except UnicodeEncodeError:
        return True
    return False


def _table_row(table: Table, index: int, spec: TaskSpec) -> Row:
    texts = [text_cell(table, index, column) for column in spec.text_columns]
    row = texts[0], texts[1] if len(texts) == 2 else None
    if fault := text_fault(spec, row):
        raise ExitnasError(f"{table.place(index)}: {fault}")
    return row


def _json_row(line: str, path: str, number: int, spec: TaskSpec) -> Row:
    if _lone_surrogate(line):
        raise ExitnasError(f"{path}: line {number}: expected UTF-8 text, got bytes that are not")
    value = parse_json(line, path, number)
    plain = ("text", "text_pair")[: len(spec.text_columns)]
    columns = next(
        (c for c in (spec.text_columns, plain) if isinstance(value, dict) and all(k in value for k in c)), None
    )
    if columns is None or not all(isinstance(value[c], str) for c in columns):
        wanted = " and ".join(spec.text_columns)
        came = _came(value, columns)
        raise ExitnasError(f"{path}: line {number}: expected an object with text in {wanted}, got {came}")
    row = value[columns[0]], value[columns[1]] if len(columns) == 2 else None
    if fault := text_fault(spec, row):
        raise ExitnasError(f"{path}: line {number}: {fault}")
    return row


def _came(value: Any, columns: tuple[str, ...] | None) -> str:
    """What a line held instead: no object, an object without the columns, or one whose columns are no text."""
    if not isinstance(value, dict):
        return json_kind(value)
    if columns is None:
        return ", ".join(value)[:200] or "an empty object"
    return " and ".join(f"{json_kind(value[c])} in {c}" for c in columns if not isinstance(value[c], str))
