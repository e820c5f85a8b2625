"""A sheet drawn by matplotlib, for machines without Graphviz."""

from pathlib import Path
from typing import Any

from exitnas.drawing.sheet import DETAIL_SIZE, PAPER, Box, Sheet, ends


def draw_with_matplotlib(sheet: Sheet, path: Path, kind: str) -> None:
    """Draw `sheet` into the file `path`; `kind` is `"svg"` or `"png"`.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch, Rectangle

    left, right, low, high = sheet.frame()
    figure = Figure(figsize=((right - left) / 72, (high - low) / 72), facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(left, right), ylim=(low, high))
    axes.set_axis_off()

    by_name = {box.name: box for box in sheet.boxes}
    for box in sheet.boxes:
        corner, style = (box.x - box.width / 2, box.y - box.height / 2), box.style
        look: dict[str, Any] = {
            "facecolor": style.fill,
            "edgecolor": style.line,
            "linestyle": "--" if box.dashed else "-",
            "zorder": 2,
        }
        if box.shape == "band":
            axes.add_patch(Rectangle(corner, box.width, box.height, color=style.fill, linewidth=0, zorder=1))
        elif box.shape == "circle":
            axes.add_patch(Ellipse((box.x, box.y), box.width, box.height, gid=box.name, **look))
        elif box.shape == "box":
            rounded = "round,pad=0,rounding_size=5"
            axes.add_patch(FancyBboxPatch(corner, box.width, box.height, boxstyle=rounded, gid=box.name, **look))
        _write(axes, box)
    for arrow in sheet.arrows:
        start, end = ends(arrow, by_name[arrow.tail], by_name[arrow.head])
        axes.add_patch(
            FancyArrowPatch(
                start,
                end,
                gid=f"{arrow.tail}->{arrow.head}",
                arrowstyle="-|>" if arrow.pointed else "-",
                mutation_scale=7,
                shrinkA=0,
                shrinkB=0,
                linewidth=arrow.width,
                linestyle="--" if arrow.dashed else "-",
                color=arrow.color,
                zorder=3,
            )
        )
    figure.savefig(path, format=kind, dpi=144, metadata={"Title": sheet.title})


def _write(axes: Any, box: Box) -> None:
    """The one or two lines of text of a box; `$` is a dollar sign, not mathematics."""
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": box.style.text, "zorder": 4, "parse_math": False}
    weight = "bold" if box.bold else "normal"
    lift = 0.0 if box.detail is None else 4.5
    axes.text(box.x, box.y + lift, box.label, fontsize=0.88 * box.size, weight=weight, **look)
    if box.detail is not None:
        axes.text(box.x, box.y - 6.5, box.detail, fontsize=0.85 * DETAIL_SIZE, **look)
