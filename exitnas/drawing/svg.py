"""A sheet as SVG text, without any program: own background, no ids, no scripts, hover text in `<title>`."""

from html import escape
from math import atan2, cos, sin

from exitnas.drawing.sheet import BORDER, DETAIL_SIZE, INK, PAPER, Arrow, Box, Sheet, ends

FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
_TIP = 6.0
"""Length of an arrow's tip in points."""


def svg_of(sheet: Sheet) -> str:
    """The text of an SVG file, which can also stand inside an HTML page; a point becomes a unit of its coordinates.

    Every node is a `<g class="node" data-name="<name>">`, every edge a `<g class="edge" data-name="<tail>-><head>">`.
    """
    left, right, low, high = sheet.frame()
    width, height = right - left, high - low
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1f} {height:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" role="img" font-family="{FONT}" text-anchor="middle">',
        f"<title>{escape(sheet.title)}</title>",
        f'<rect width="{width:.1f}" height="{height:.1f}" fill="{PAPER}"/>',
    ]
    lines += [_node(box, box.x - left, high - box.y) for box in sheet.boxes if box.shape != "point"]
    by_name = {box.name: box for box in sheet.boxes}
    for arrow in sheet.arrows:
        start, end = ends(arrow, by_name[arrow.tail], by_name[arrow.head])
        lines.append(_edge(arrow, start[0] - left, high - start[1], end[0] - left, high - end[1]))
    return "\n".join([*lines, "</svg>", ""])


def _node(box: Box, x: float, y: float) -> str:
    """One box with its centre at `(x, y)`, y downwards."""
    parts = [f'<g class="node" data-name="{escape(box.name)}">']
    if box.hint:
        parts.append(f"<title>{escape(box.hint)}</title>")
    dash = ' stroke-dasharray="4 3"' if box.dashed else ""
    border = "" if box.shape == "band" else f' stroke="{box.style.line}" stroke-width="{BORDER}"{dash}'
    if box.shape == "circle":
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{box.width / 2:.1f}" fill="{box.style.fill}"{border}/>')
    elif box.shape in ("box", "band"):
        corner = f'x="{x - box.width / 2:.1f}" y="{y - box.height / 2:.1f}"'
        size = f'width="{box.width:.1f}" height="{box.height:.1f}"'
        parts.append(f'<rect {corner} {size} rx="{6 if box.shape == "box" else 3}" fill="{box.style.fill}"{border}/>')
    # A third of the font size brings the middle of small letters to the height asked for.
    baseline = y + 0.35 * box.size - (0 if box.detail is None else 5.0)
    if box.label:
        weight = ' font-weight="bold"' if box.bold else ""
        parts.append(_text(box.label, x, baseline, box.size, box.style.text or INK, weight))
    if box.detail is not None:
        parts.append(_text(box.detail, x, y + 9.5, DETAIL_SIZE, box.style.text or INK))
    return "".join([*parts, "</g>"])


def _text(text: str, x: float, y: float, size: float, color: str, weight: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{color}"{weight}>{escape(text)}</text>'


def _edge(arrow: Arrow, x1: float, y1: float, x2: float, y2: float) -> str:
    """One arrow between two points, y downwards; its line ends inside its tip."""
    angle = atan2(y2 - y1, x2 - x1)
    tip = _TIP + 0.8 * arrow.width
    parts = [f'<g class="edge" data-name="{escape(f"{arrow.tail}->{arrow.head}")}">']
    back = 0.8 * tip if arrow.pointed else 0.0
    dash = ' stroke-dasharray="4 3"' if arrow.dashed else ""
    cap = "" if arrow.pointed else ' stroke-linecap="square"'
    parts.append(
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2 - back * cos(angle):.1f}" y2="{y2 - back * sin(angle):.1f}" '
        f'stroke="{arrow.color}" stroke-width="{arrow.width:.2f}"{dash}{cap}/>'
    )
    if arrow.pointed:
        sides = [(x2 - tip * cos(angle + turn), y2 - tip * sin(angle + turn)) for turn in (-0.4, 0.4)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in [(x2, y2), *sides])
        parts.append(f'<polygon points="{points}" fill="{arrow.color}"/>')
    return "".join([*parts, "</g>"])
