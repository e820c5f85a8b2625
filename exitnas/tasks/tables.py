"""Reading rows from CSV, TSV, JSONL and Parquet files, with the place of every row kept for error messages.

CSV and TSV follow the usual quoting rules and need a header line. GLUE's own TSV files do not; `exitnas.tasks.glue`
reads those.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exitnas.errors import ExitnasError
from exitnas.files import json_kind, parse_json
from exitnas.registry import nearest

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""File types understood, told apart by their ending."""


@dataclass(frozen=True)
class Table:
    """Chosen columns of one file.

    Attributes:
        where: the file, or the name of another source, for error messages.
        columns: column name -> one value per row.
        unit: what `numbers` count: `line` or `row`.
        numbers: 1-based place of each row in the file; a header line counts.
        skipped: rows left out because they were broken.
    """

    where: str
    columns: dict[str, list[Any]]
    unit: str
    numbers: list[int]
    skipped: int = field(default=0)

    def __len__(self) -> int:
        return len(self.numbers)

    def place(self, index: int) -> str:
        """`file: line 7`, the start of a message about row `index` (0-based)."""
        return f"{self.where}: {self.unit} {self.numbers[index]}"


def read_table(path: Path | str, columns: tuple[str, ...]) -> Table:
    """Read `columns` of a file.

    Raises:
        ExitnasError: no such file, another file type, a missing column, or a malformed row.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path, tuple[str, ...]], Table]] = {
        ".csv": _read_delimited,
        ".tsv": _read_delimited,
        ".jsonl": _read_jsonl,
        ".parquet": _read_parquet,
    }
    if not path.is_file():
        what = "is a folder, a file was expected" if path.is_dir() else "no such file"
        raise ExitnasError(f"{path}: {what}")
    if path.suffix.lower() not in readers:
        raise ExitnasError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}, got {path.suffix or 'no ending'}")
    return readers[path.suffix.lower()](path, columns)


def check_columns(where: str, wanted: tuple[str, ...], found: list[str]) -> None:
    """Refuse a table without one of the `wanted` columns, naming those it has."""
    for name in wanted:
        if name not in found:
            raise ExitnasError(f"{where}: expected a column {name!r}; {nearest(name, found)}")
        if found.count(name) > 1:
            raise ExitnasError(f"{where}: column {name!r} occurs {found.count(name)} times; keep one")


def read_lines(path: Path, *, lenient: bool = False) -> list[str]:
    """Lines of a UTF-8 text file, byte-order mark dropped; only LF and CRLF end a line.

    Args:
        lenient: let bytes that are not UTF-8 become lone surrogates, which no UTF-8 text has (PEP 383).

    Raises:
        ExitnasError: bytes that are not UTF-8, with the line they stand in.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig", errors="surrogateescape" if lenient else "strict")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ExitnasError(
            f"{path}: line {line}: expected UTF-8 text, got byte 0x{data[error.start]:02x}; convert the file to UTF-8"
        ) from None
    return [line.removesuffix("\r") for line in text.split("\n")]


def _read_delimited(path: Path, columns: tuple[str, ...]) -> Table:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = _delimited_rows(path, delimiter)
    _, header = next(rows, (0, []))
    if not header:
        raise ExitnasError(f"{path}: expected a header line with {', '.join(columns)}, got an empty file")
    check_columns(f"{path}: line 1", columns, header)
    wanted = [header.index(name) for name in columns]
    values: list[list[str]] = [[] for _ in columns]
    numbers = []
    for number, row in rows:
        if len(row) != len(header):
            raise ExitnasError(
                f"{path}: line {number}: expected {len(header)} fields ({', '.join(header)}), got {len(row)}; "
                "quote fields that hold the separator"
            )
        for column, index in zip(values, wanted, strict=True):
            column.append(row[index])
        numbers.append(number)
    return Table(str(path), dict(zip(columns, values, strict=True)), "line", numbers)


def _delimited_rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, each with the line it starts in."""
    lines = [f"{line}\n" for line in read_lines(path)]
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    start = 1
    try:
        for row in reader:
            if row:
                yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        raise ExitnasError(
            f"{path}: line {start}: not valid {path.suffix[1:].upper()} ({error}); "
            "write a quote inside a quoted field twice, or use JSONL"
        ) from None


def _read_jsonl(path: Path, columns: tuple[str, ...]) -> Table:
    values: dict[str, list[Any]] = {name: [] for name in columns}
    numbers = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        row = parse_json(line, str(path), number)
        if not isinstance(row, dict):
            raise ExitnasError(f"{path}: line {number}: expected one JSON object, got {json_kind(row)}")
        check_columns(f"{path}: line {number}", columns, list(row))
        for name in columns:
            values[name].append(row[name])
        numbers.append(number)
    return Table(str(path), values, "line", numbers)


def _read_parquet(path: Path, columns: tuple[str, ...]) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            check_columns(str(path), columns, file.schema_arrow.names)
            table = file.read(columns=list(columns))
            values = {name: table.column(name).to_pylist() for name in columns}
    except (pyarrow.ArrowException, OSError) as error:
        raise ExitnasError(f"{path}: not a readable Parquet file ({_one_line(error)})") from None
    return Table(str(path), values, "row", list(range(1, table.num_rows + 1)))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
