"""Results on stdout: tables for people, one JSON document for machines."""

import sys
from collections.abc import Sequence
from typing import Any

import click

from exitnas.files import json_text


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json_text(value), nl=False)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str = "") -> None:
    """A table on stdout; numbers to the right, nothing cut when stdout is not a terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", caption=note or None, caption_justify="left")
    for index, column in enumerate(columns):
        numeric = all(not isinstance(row[index], str) or _numeric(row[index]) for row in rows)
        table.add_column(column, justify="right" if numeric and rows else "left")
    for row in rows:
        table.add_row(*(str(value) for value in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False, markup=False)
    console.print(table)


def _numeric(text: str) -> bool:
    return text.strip("-+x%~ ") == "" or text.strip("x%~ ").replace(".", "", 1).replace("-", "", 1).isdigit()


def percent(value: float | None) -> str:
    """A fraction as percent with one decimal; `-` when there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def parameters(values: dict[str, Any]) -> str:
    """Policy parameters in a table cell."""
    shown = (f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items() if v is not None)
    return " ".join(shown) or "-"


def exits_table(title: str, genotype: Any, costs: Sequence[dict[str, int]], scores: Sequence[float] | None) -> None:
    """One row per exit: its operations, parameters, MACs and score."""
    rows = []
    for index, (exit_, cost) in enumerate(zip(genotype.exits, costs, strict=True)):
        operations = [exit_.activation_in, " + ".join(exit_.encoder), exit_.pooling, exit_.activation_out]
        score = percent(scores[index]) if scores else "-"
        rows.append([index + 1, *operations, f"{cost['parameters']}", f"{cost['macs'] / 1e6:.2f}", score])
    columns = ["exit", "activation", "encoder", "pooling", "activation", "parameters", "MMACs", "score"]
    print_table(title, columns, rows)
