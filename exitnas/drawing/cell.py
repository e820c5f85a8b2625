"""The search cell of a space: every candidate of every edge as a parallel path (LECO figure 1)."""

from itertools import pairwise

from exitnas.drawing.graph import operation_kind
from exitnas.drawing.legend import swatches
from exitnas.drawing.sheet import (
    BAND,
    FAINT,
    INK,
    QUIET,
    STYLES,
    Arrow,
    Box,
    Sheet,
    Style,
    shorten,
    text_box,
    text_width,
)
from exitnas.supernet.space import SearchSpace

LAYERS = 12
"""Encoder layers of the models counted below the title, those of BERT-base, as LECO counts."""
HEIGHT, PITCH, FAN, STEP, STATE = 24.0, 30.0, 46.0, 22.0, 7.0
_CELLS = (
    ("activation cell", ("activation_in",)),
    ("encoder cell", ("encoder_1", "encoder_2")),
    ("pooling cell", ("pooling",)),
    ("activation cell", ("activation_out",)),
)


def arrange_cell(space: SearchSpace, title: str | None = None) -> Sheet:
    """The picture of what one exit may become.

    Linear, activation cell, encoder cell with two edges that read the same input and are summed, pooling cell,
    activation cell, classifier. Nodes are `layer`, `down` (only with a down-projection), `state_0` to `state_3` where
    paths meet, `sum`, `<edge>.<operation>` and `classifier`; a null encoder operation has faint arrows.

    Args:
        title: first line; by default it names the space.
    """
    boxes: list[Box] = [_fixed("layer", "backbone", "layer m", "hidden size D", 20.0, bold=True)]
    x = 20.0 + boxes[0].width
    width = "D" if space.width is None else str(space.width)
    if space.width is not None:
        boxes.append(_fixed("down", "linear", "Linear", f"D → {width}", x + STEP))
        x += STEP + boxes[-1].width
    arrows: list[Arrow] = []
    states = ["state_0", "state_1", "sum", "state_2", "state_3"]
    x = _state(boxes, states[0], x + STEP)
    for (cell, edges), (source, state) in zip(_CELLS, pairwise(states), strict=True):
        fan = max(FAN, 5.0 * sum(_size(space, edge) for edge in edges))
        x, names = _cell(boxes, cell, edges, space, x + fan)
        x = _state(boxes, state, x + fan)
        for name, faint in names:
            color = FAINT if faint else QUIET
            arrows += [Arrow(source, name, color, faint), Arrow(name, state, color, faint)]
    boxes.append(_fixed("classifier", "linear", "exit m", f"{width} → classes", x + STEP))
    chain = ["layer", *(["down"] if space.width is not None else []), "state_0"]
    arrows += [Arrow(a, b) for a, b in pairwise(chain)]
    arrows.append(Arrow("state_3", "classifier"))

    title = shorten(title, 120) if title else f"Search cell of space {space.name}"
    lines = [(title, 16.0, INK, True), (shorten(space.description, 120), 11.0, QUIET, False)]
    lines += [(count_line(space), 11.0, QUIET, False)]
    right = x + STEP + boxes[-1].width + 20.0
    middle, high = right / 2, max(box.y + box.height / 2 for box in boxes)
    low = min(box.y - box.height / 2 for box in boxes)
    for n, (text, size, color, bold) in enumerate(lines):
        boxes.append(text_box(f"title.{n}", middle, high + 22.0 * (len(lines) - n) + 6, text, size, color, bold))
    kinds = {operation_kind(e, o) for _, edges in _CELLS for e in edges for o in space.candidates(e)}
    boxes += swatches(kinds | {"backbone", "linear"}, right, low - 28)
    note = "small circles and +: the paths are summed, weighted by probability; a search keeps one path of every edge"
    boxes.append(text_box("note.0", middle, min(box.y for box in boxes) - 24, note, 9.0))
    boxes.sort(key=lambda box: box.shape in ("box", "circle"))
    return Sheet(boxes, arrows, title)


def count_line(space: SearchSpace) -> str:
    """How many exits a layer chooses from and how many models that makes, in words."""
    factors = [_size(space, edge) for _, edges in _CELLS for edge in edges]
    return (
        f"{' × '.join(map(str, factors))} = {_plural(space.exits(), 'exit')} per layer  ·  "
        f"{space.exits():,}^{LAYERS} = {_plural(space.architectures(LAYERS), 'model')} of {LAYERS} layers"
    )


def _fixed(name: str, kind: str, label: str, detail: str, left: float, bold: bool = False) -> Box:
    """A box at the middle height that every exit has, its left side at `left`."""
    width = max(66.0, text_width(detail, 8.5) + 12)
    return Box(name, left + width / 2, 0.0, width, 28.0, label, detail, style=STYLES[kind], bold=bold)


def _state(boxes: list[Box], name: str, left: float) -> float:
    """Add the point where paths meet; returns its right border."""
    kind, size = ("sum", 20.0) if name == "sum" else ("state", STATE)
    label = "+" if name == "sum" else ""
    boxes.append(Box(name, left + size / 2, 0.0, size, size, label, shape="circle", style=STYLES[kind]))
    return left + size


def _cell(
    boxes: list[Box], title: str, edges: tuple[str, ...], space: SearchSpace, left: float
) -> tuple[float, list[tuple[str, bool]]]:
    """Add a cell's candidates below each other, around the middle height.

    Returns:
        The cell's right border, and per candidate its box's name and whether its arrows are faint.
    """
    candidates = [(edge, operation) for edge in edges for operation in space.candidates(edge)]
    gaps = 24.0 * (len(edges) - 1)
    height = PITCH * len(candidates) + gaps
    width = max(70.0, *(text_width(operation, 11) + 16 for _, operation in candidates))
    middle, y = left + width / 2, height / 2
    band = Style(BAND, BAND, QUIET)
    boxes.append(Box(f"band.{edges[0]}", middle, 0.0, width + 16, height + 10, shape="band", style=band))
    count = _plural(len(candidates), "candidate") if len(edges) == 1 else f"edge 1  ·  {_size(space, edges[0])}"
    boxes.append(text_box(f"heading.{edges[0]}", middle, y + 30, title, 10.0, INK))
    boxes.append(text_box(f"count.{edges[0]}", middle, y + 14, count, 9.0))
    found = []
    for edge in edges:
        if edge != edges[0]:
            y -= 24.0
            boxes.append(text_box(f"count.{edge}", middle, y + 11, f"edge 2  ·  {_size(space, edge)}", 9.0))
        for operation in space.candidates(edge):
            kind = operation_kind(edge, operation)
            name = f"{edge}.{operation}"
            y -= PITCH / 2
            boxes.append(
                Box(name, middle, y, width, HEIGHT, operation, style=STYLES[kind], dashed=kind == "null",
                    hint=f"{edge}: {operation}, one of {_size(space, edge)}")
            )  # fmt: skip
            y -= PITCH / 2
            found.append((name, kind == "null" and edge.startswith("encoder")))
    return left + width, found


def _size(space: SearchSpace, edge: str) -> int:
    """How many candidates an edge has."""
    return len(space.candidates(edge))


def _plural(count: int, noun: str) -> str:
    """`6,400 exits`; from a billion on in powers of ten."""
    return f"{f'{count:,}' if count < 10**9 else f'{count:.3g}'} {noun}{'s' * (count != 1)}"
