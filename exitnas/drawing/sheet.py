"""What a picture is made of: boxes and arrows on a sheet, and the look of every kind of node.

Lengths are points; x runs to the right, y upwards.
"""

from dataclasses import dataclass, field
from math import hypot


@dataclass(frozen=True)
class Style:
    """Colours of a kind of node, each six hexadecimal digits."""

    fill: str
    line: str
    text: str
    meaning: str = ""


STYLES = {
    "backbone": Style("#2f3b52", "#2f3b52", "#ffffff", "encoder layer"),
    "linear": Style("#e7ebf0", "#8793a3", "#2b3442", "linear"),
    "activation": Style("#fff0c7", "#d9a11e", "#5c4200", "activation"),
    "convolution": Style("#d6e8fc", "#4a8ad4", "#123f73", "convolution"),
    "attention": Style("#e9dcf9", "#8d5ccc", "#43207a", "attention"),
    "skip": Style("#d9f1dc", "#4aa45b", "#17532a", "skip"),
    "other": Style("#d3f1f0", "#2f9c98", "#0d4a48", "other operation"),
    "pooling": Style("#fddfd8", "#db6c52", "#7a2412", "pooling"),
    "null": Style("#ffffff", "#b7bfca", "#8b95a3", "null"),
    "sum": Style("#ffffff", "#5d6979", "#2b3442"),
    "state": Style("#5d6979", "#5d6979", "#2b3442"),
}
INK, QUIET, FAINT, BAND, PAPER = "#1f2733", "#6b7685", "#c3cad3", "#f4f6f9", "#ffffff"
DETAIL_SIZE = 8.5
BORDER = 1.1
"""Width of the line around a box."""


@dataclass(frozen=True)
class Box:
    """A node on the sheet, measured at its centre.

    Attributes:
        label: first line; `detail`: smaller second line.
        shape: box, circle, band (a background without a border), text (no border, no background) or point (nothing to
            see, where a line turns).
        size: font size of the label in points.
        hint: text shown when the mouse rests on the node.
    """

    name: str
    x: float
    y: float
    width: float
    height: float
    label: str = ""
    detail: str | None = None
    shape: str = "box"
    style: Style = field(default_factory=lambda: Style(PAPER, PAPER, QUIET))
    dashed: bool = False
    bold: bool = False
    size: float = 11.0
    hint: str = ""


@dataclass(frozen=True)
class Arrow:
    """An edge on the sheet between two boxes.

    Attributes:
        width: of the line in points.
        pointed: False for a plain line, as between the turns of a longer way.
        level: True when it leaves in the middle of the right side and arrives in the middle of the left side.
    """

    tail: str
    head: str
    color: str = QUIET
    dashed: bool = False
    width: float = BORDER
    pointed: bool = True
    level: bool = True


@dataclass(frozen=True)
class Sheet:
    """A whole picture: boxes in the order they are painted, then arrows."""

    boxes: list[Box]
    arrows: list[Arrow]
    title: str

    def frame(self, padding: float = 10.0) -> tuple[float, float, float, float]:
        """Left, right, low and high border of everything on the sheet, `padding` further out."""
        return (
            min(box.x - box.width / 2 for box in self.boxes) - padding,
            max(box.x + box.width / 2 for box in self.boxes) + padding,
            min(box.y - box.height / 2 for box in self.boxes) - padding,
            max(box.y + box.height / 2 for box in self.boxes) + padding,
        )


def ends(arrow: Arrow, tail: Box, head: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where `arrow` leaves the border of `tail` and meets the border of `head`."""
    if arrow.level:
        return (tail.x + tail.width / 2, tail.y), (head.x - head.width / 2, head.y)
    return _border(tail, head), _border(head, tail)


def _border(box: Box, other: Box) -> tuple[float, float]:
    """The point where the line between the centres of two boxes leaves the first."""
    x, y = other.x - box.x, other.y - box.y
    if box.shape == "circle":
        reach = box.width / 2 / hypot(x, y)
    else:
        reach = min(box.width / 2 / abs(x) if x else float("inf"), box.height / 2 / abs(y) if y else float("inf"))
    return box.x + reach * x, box.y + reach * y


def text_width(text: str, size: float) -> float:
    """A generous estimate of the width of `text` in points at font size `size`."""
    return 0.56 * size * len(text)


def text_box(name: str, x: float, y: float, text: str, size: float, color: str = QUIET, bold: bool = False) -> Box:
    """A line of text, centred."""
    style = Style(PAPER, PAPER, color)
    width = text_width(text, size)
    return Box(name, x, y, width, 1.5 * size, text, shape="text", style=style, size=size, bold=bold)


def printable(text: str) -> str:
    """`text` on one line, what cannot be printed (nor stand in an SVG file) replaced."""
    return "".join(" " if c.isspace() else c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shorten(text: str, length: int = 60) -> str:
    """`text` made printable, its beginning replaced by an ellipsis when it is longer than `length`."""
    text = printable(text)
    return text if len(text) <= length else "…" + text[1 - length :]
