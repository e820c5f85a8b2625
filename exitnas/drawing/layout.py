"""Where everything stands on the sheet: genotypes side by side, in each one row per encoder layer, one column per step.

Rows wrap into columns so that the sheet keeps the shape of a page. Positions are computed here and pinned, so that
every renderer draws the same picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log, sqrt

from exitnas.drawing.legend import legend
from exitnas.drawing.rows import HEADINGS, Rows, check_layers, measure, row_arrows, row_boxes
from exitnas.drawing.sheet import INK, QUIET, STYLES, Arrow, Box, Sheet, shorten, text_box, text_width
from exitnas.exits.genotype import Genotype

TOKENS = 128
"""Length of the sample whose multiply-accumulates are printed, unless another is asked for."""
CLASSES = 2
SHAPE = 1.35
"""Width over height a sheet comes close to."""
GUTTER, PANEL_GAP, HEADING, TURN = 36.0, 44.0, 26.0, 14.0


@dataclass(frozen=True)
class Panel:
    """One genotype among others.

    Attributes:
        name: printed above it when it is not alone.
        classes: C of its task, for the parameters of the classifiers.
        costs: `parameters` and `macs` of every exit where they are known; else they are counted.
        counted: what known costs were counted for, in words that follow "of an exit".
    """

    genotype: Genotype
    name: str = ""
    classes: int = CLASSES
    costs: Sequence[dict[str, int]] | None = None
    counted: str = ""


def arrange(
    genotype: Genotype,
    title: str | None = None,
    *,
    layers: Sequence[int] | None = None,
    columns: int | None = None,
    tokens: int = TOKENS,
    classes: int = CLASSES,
) -> Sheet:
    """The picture of a genotype; arguments and errors as of `arrange_panels`."""
    return arrange_panels([Panel(genotype, "", classes)], title, layers=layers, columns=columns, tokens=tokens)


def arrange_panels(
    panels: Sequence[Panel],
    title: str | None = None,
    *,
    layers: Sequence[int] | None = None,
    columns: int | None = None,
    tokens: int = TOKENS,
) -> Sheet:
    """The picture of several genotypes: up to three side by side, more in rows of about as many as there are rows.

    Args:
        title: first line; by default it names the backbone.
        layers: the layers to show, from 1; None for all.
        columns: how many columns the layers of each genotype are wrapped into; None for what suits the sheet.
        tokens: length of the sample whose multiply-accumulates are printed.

    Raises:
        UsageError: a genotype has no such layer.
    """
    shown = [check_layers(layers, panel.genotype, panel.name) for panel in panels]
    parts = [measure(p.genotype, chosen, tokens, p.classes, p.costs) for p, chosen in zip(panels, shown, strict=True)]
    pitch = max(rows.pitch for rows in parts)
    parts = [Rows(r.graph, r.layers, r.columns, r.width, pitch, r.costs) for r in parts]
    heads = [[] if len(panels) == 1 else [shorten(p.name) or "genotype", subtitle(p.genotype)] for p in panels]
    beside = len(panels) if len(panels) <= 3 else ceil(sqrt(len(panels)))
    most = max(len(rows.layers) for rows in parts)
    if columns is None:
        columns = min(range(1, min(most, 12) + 1), key=lambda n: abs(log(_size(parts, heads, n, beside) / SHAPE)))

    titles = [(shorten(title, 120) if title else _title(panels), 16.0, INK, True)]
    if len(panels) == 1:
        titles.append((subtitle(panels[0].genotype), 11.0, QUIET, False))
    lines = [list(range(start, min(start + beside, len(panels)))) for start in range(0, len(panels), beside)]
    sizes = [_panel_size(rows, head, columns) for rows, head in zip(parts, heads, strict=True)]
    widths = [sum(sizes[i][0] for i in line) + PANEL_GAP * (len(line) - 1) for line in lines]
    sheet_width = max(*widths, *(text_width(text, size) for text, size, _, _ in titles))

    boxes = [
        text_box(f"title.{n}", sheet_width / 2, 24.0 * (len(titles) - n) - 8, text, size, color, bold)
        for n, (text, size, color, bold) in enumerate(titles)
    ]
    arrows: list[Arrow] = []
    top = 0.0
    for line, width in zip(lines, widths, strict=True):
        left = (sheet_width - width) / 2
        for i in line:
            prefix = "" if len(panels) == 1 else f"{i + 1}/"
            more, lead = _place(parts[i], heads[i], columns, prefix, left, top, sizes[i][0])
            boxes += more
            arrows += row_arrows(parts[i], prefix) + lead
            left += sizes[i][0] + PANEL_GAP
        top -= max(sizes[i][1] for i in line) + (PANEL_GAP if line is not lines[-1] else 0.0)
    boxes += legend([rows.graph for rows in parts], sheet_width, top - 24, _cost_note(panels, tokens))
    boxes.sort(key=lambda box: box.shape in ("box", "circle"))
    return Sheet(boxes, arrows, titles[0][0])


def subtitle(genotype: Genotype) -> str:
    """Where a genotype came from and how large it is, on one line."""
    origin = genotype.origin
    width = "no down-projection" if genotype.width is None else f"exit width {genotype.width}"
    parts = [
        f"task {shorten(origin.task, 40)}" if origin.task else "",
        f"space {shorten(origin.space, 40)}" if origin.space else "",
        f"{genotype.layers} layer{'s' * (genotype.layers > 1)}",
        f"hidden size {genotype.hidden_size}",
        width,
        f"seed {origin.seed}" if origin.seed is not None else "",
    ]
    return "  ·  ".join(part for part in parts if part)


def _title(panels: Sequence[Panel]) -> str:
    backbones = list(dict.fromkeys(panel.genotype.backbone for panel in panels))
    return f"Exits of {' and '.join(map(shorten, backbones))}" if len(backbones) <= 2 else "Exits side by side"


def _cost_note(panels: Sequence[Panel], tokens: int) -> str:
    counts = sorted({panel.classes for panel in panels})
    classes = f"{' or '.join(map(str, counts))} class{'es' * (counts != [1])}"
    counted = panels[0].counted or f"at {tokens} token{'s' * (tokens != 1)}, for {classes}"
    return f"cost: parameters and multiply-accumulates (MACs) of an exit {counted}"


def _per_column(rows: Rows, columns: int) -> int:
    """How many layers stand below each other."""
    return ceil(len(rows.layers) / columns)


def _panel_size(rows: Rows, head: list[str], columns: int) -> tuple[float, float]:
    """Width and height of a panel in at most `columns` columns."""
    high = _per_column(rows, columns)
    used = ceil(len(rows.layers) / high)
    text = max((text_width(line, 12.0 - 2 * n) for n, line in enumerate(head)), default=0.0)
    width = max(text, used * rows.width + (used - 1) * GUTTER)
    return width, 20.0 * len(head) + HEADING + high * rows.pitch + (TURN if used > 1 else 0.0)


def _size(parts: list[Rows], heads: list[list[str]], columns: int, beside: int) -> float:
    """Width over height of the sheet."""
    sizes = [_panel_size(rows, head, columns) for rows, head in zip(parts, heads, strict=True)]
    width = max(width for width, _ in sizes) * beside
    return width / (max(height for _, height in sizes) * ceil(len(sizes) / beside) + 150)


def _place(
    rows: Rows, head: list[str], columns: int, prefix: str, left: float, top: float, width: float
) -> tuple[list[Box], list[Arrow]]:
    """Boxes of one panel with its upper left corner at `(left, top)`, and the arrows from layer to layer."""
    middle = left + width / 2
    boxes = []
    for n, text in enumerate(head):
        boxes.append(
            text_box(f"{prefix}title.{n}", middle, top - 10, text, 12.0 - 2 * n, INK if n == 0 else QUIET, n == 0)
        )
        top -= 20.0
    high = _per_column(rows, columns)
    used = ceil(len(rows.layers) / high)
    left = middle - (used * rows.width + (used - 1) * GUTTER) / 2
    first_row = top - HEADING
    trunk: dict[int, Box] = {}
    for column in range(used):
        here = left + column * (rows.width + GUTTER)
        for name, (x, _) in rows.columns.items():
            if HEADINGS[name]:
                boxes.append(text_box(f"{prefix}heading.{column + 1}.{name}", here + x, top - 12, HEADINGS[name], 9.0))
        for position, layer in enumerate(rows.layers[column * high : (column + 1) * high]):
            y = first_row - rows.pitch * (position + 0.5)
            boxes += row_boxes(rows, prefix, layer, here, y, band=position % 2 == 0)
    trunk = {layer: box for layer in rows.layers for box in boxes if box.name == f"{prefix}{layer}.layer"}
    arrows = []
    for number, (upper, lower) in enumerate(pairwise(rows.layers), start=1):
        skipped, color = lower != upper + 1, STYLES["backbone"].line
        tail, end = trunk[upper], trunk[lower]
        way = [tail.name, end.name]
        if number % high == 0:
            gutter = end.x - rows.columns["layer"][0] - GUTTER / 2
            low, up = first_row - rows.pitch * high - TURN / 2, top - 12
            turns = [(tail.x, low), (gutter, low), (gutter, up), (end.x, up)]
            points = [Box(f"{prefix}{upper}.turn.{n}", x, y, 0, 0, shape="point") for n, (x, y) in enumerate(turns, 1)]
            boxes += points
            way[1:1] = [point.name for point in points]
        for a, b in pairwise(way):
            arrows.append(Arrow(a, b, color, skipped, width=2.2, pointed=b == end.name, level=False))
    return boxes, arrows
