"""The trade-off picture: score against measured time, one line per policy, the models to beat as points."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exitnas.errors import ExitnasError
from exitnas.files import replacing

#: Okabe and Ito's colours, told apart by readers who see fewer; each has a marker and a dash of its own besides.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
MARKERS = "os^DvPX"
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))


def tradeoff(
    curves: dict[str, Sequence[tuple[float, float]]],
    points: dict[str, Sequence[tuple[float, float, str]]],
    *,
    title: str = "",
    x_label: str = "milliseconds per row, measured at batch 1",
    y_label: str = "score",
) -> Any:
    """A matplotlib `Figure` (Agg, no global state).

    Args:
        curves: policy -> (milliseconds per row, score as a fraction) of its settings; drawn in order of time.
        points: kind (`"truncated"`, `"stock"`) -> (milliseconds, score, label beside the point); drawn in black.

    Raises:
        ExitnasError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ExitnasError('a trade-off picture needs matplotlib: pip install "exitnas[viz]"') from None

    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    for index, (name, settings) in enumerate(curves.items()):
        style: Any = DASHES[index % len(DASHES)]
        times, scores = _columns(sorted(settings))
        axes.plot(
            times,
            [100 * score for score in scores],
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            linestyle=style,
            markersize=3.5,
            linewidth=1.3,
            label=name,
        )
    for index, (name, marks) in enumerate(points.items()):
        times, scores = _columns(marks)
        marker = "*" if index == 0 else "h"
        heights = [100 * score for score in scores]
        axes.scatter(times, heights, color="#000000", marker=marker, s=70, zorder=3, label=name)
        for time, height, mark in zip(times, heights, marks, strict=True):
            axes.annotate(mark[2], (time, height), xytext=(5, -10), textcoords="offset points", fontsize=8)
    axes.set_xlabel(x_label)
    axes.set_ylabel(f"{y_label}, %")
    axes.set_xlim(left=0)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, loc="lower right", framealpha=0.9)
    if title:
        axes.set_title(title, fontsize=10)
    return figure


def draw_tradeoff(output: Path | str, *arguments: Any, **options: Any) -> None:
    """Write `tradeoff(...)` as PNG, SVG or PDF, by the suffix of `output`."""
    output = Path(output)
    figure = tradeoff(*arguments, **options)
    with replacing(output) as temporary:
        figure.savefig(temporary, format=output.suffix.removeprefix(".") or "png", dpi=150)


def _columns(rows: Sequence[Sequence[Any]]) -> tuple[list[float], list[float]]:
    return [row[0] for row in rows], [row[1] for row in rows]
