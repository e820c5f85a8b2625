"""Geometry of the report's line charts: axes, ticks and paths; the templates only write them down."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor, isfinite, log10

WIDTH, HEIGHT = 440.0, 290.0
LEFT, RIGHT, TOP, BOTTOM = 54.0, 12.0, 10.0, 40.0
STYLES = 9
"""How many pairs of colour and dash the style sheet has."""


@dataclass(frozen=True)
class Line:
    """One series of a chart.

    Attributes:
        label: in the legend.
        points: `(x, y)` in data units, in drawing order.
        style: number of its colour and dash, below `STYLES`.
        marks: `line` (with dots), `squares` or `diamonds`.
        run, policy: where the page's script finds the values behind the points.
        hidden: not drawn until the reader asks for it.
        hints: text for every point, shown when the mouse rests on it; none for series the script knows.
    """

    label: str
    points: Sequence[tuple[float, float]]
    style: int = 0
    marks: str = "line"
    run: str = ""
    policy: str = ""
    hidden: bool = False
    hints: Sequence[str] = ()


@dataclass(frozen=True)
class Drawn:
    """A line in picture units: `path` through its points and `spots`, the points themselves."""

    line: Line
    path: str
    spots: list[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A chart ready to be written; ticks are `(position, label)` in picture units."""

    title: str
    x_label: str
    y_label: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[Drawn]
    x_key: str = ""
    width: float = WIDTH
    height: float = HEIGHT
    frame: tuple[float, float, float, float] = field(default=(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM))


def chart(
    lines: Sequence[Line], title: str, x_label: str, y_label: str, *, x_key: str = "", whole_x: bool = False
) -> Chart:
    """Lay out a chart.

    Args:
        x_key: `layers` or `macs`: which value of a setting the script finds on this axis.
        whole_x: ticks at whole numbers only.
    """
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_range, y_range = padded(xs, 0.03), padded(ys, 0.06)
    drawn = []
    for line in lines:
        spots = [
            (scale(x, x_range, LEFT, WIDTH - RIGHT), scale(y, y_range, HEIGHT - BOTTOM, TOP)) for x, y in line.points
        ]
        drawn.append(Drawn(line, path(spots), spots))
    return Chart(
        title,
        x_label,
        y_label,
        x_range,
        y_range,
        [(scale(x, x_range, LEFT, WIDTH - RIGHT), text) for x, text in ticks(*x_range, 6, whole_x)],
        [(scale(y, y_range, HEIGHT - BOTTOM, TOP), text) for y, text in ticks(*y_range, 5)],
        drawn,
        x_key,
    )


def scale(value: float, data: tuple[float, float], start: float, stop: float) -> float:
    """Where `value` of a data range stands between `start` and `stop`; rounded to a tenth."""
    return round(start + (value - data[0]) / (data[1] - data[0]) * (stop - start), 1)


def padded(values: Sequence[float], share: float) -> tuple[float, float]:
    """The range of `values` with some air on both sides; never empty."""
    fine = [value for value in values if isfinite(value)]
    low, high = (min(fine), max(fine)) if fine else (0.0, 1.0)
    spread = high - low
    # Values that differ by rounding alone are as good as one.
    air = share * spread if spread > 1e-9 * max(abs(low), abs(high), 1.0) else max(abs(high) * 0.05, 1e-3)
    return low - air, high + air


def ticks(low: float, high: float, count: int, whole: bool = False) -> list[tuple[float, str]]:
    """About `count` round numbers within a range, with their labels."""
    raw = (high - low) / max(count, 1)
    power = 10.0 ** floor(log10(raw))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    if whole:
        step = max(1.0, float(ceil(step)))
    digits = max(0, -floor(log10(step) + 1e-9))
    if abs(step - round(step, digits)) > 1e-9 * step:  # a step of 2.5, 0.25, ...
        digits += 1
    first = ceil(low / step - 1e-9)
    found = []
    while first * step <= high + 1e-9 * step:
        value = first * step
        found.append((value, f"{value + 0.0:.{digits}f}"))
        first += 1
    return found


def path(spots: Sequence[tuple[float, float]]) -> str:
    """SVG path data through points."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in spots) if spots else ""


def mini(values: Sequence[float], width: float, height: float) -> str:
    """Path of a line over equally spaced steps, values 0..1, in a box of `width` by `height`."""
    steps = max(len(values) - 1, 1)
    return path(
        [
            (round(i / steps * width, 1), round((1 - min(max(value, 0.0), 1.0)) * height, 1))
            for i, value in enumerate(values)
        ]
    )
