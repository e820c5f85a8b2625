"""Trade-off curves as a CSV file, one row per point."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exitnas.files import write_text

COLUMNS = ("policy", "parameters", "score", "mean_exit", "layer_speedup", "macs")


def write_curves(path: Path | str, curves: dict[str, list[dict[str, Any]]], columns: Sequence[str] = COLUMNS) -> None:
    """Write every point of every curve; parameters as JSON, the other columns as in `tradeoff.Point`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for points in curves.values():
        for point in points:
            writer.writerow({**point, "parameters": json.dumps(point["parameters"])})
    write_text(path, text.getvalue())
