"""Where everything stands on the sheet: one row per encoder layer, one column per step, title above, legend below.

Positions are computed here and pinned, so that every renderer draws the same picture.
"""

from dataclasses import dataclass, field

import networkx as nx

from exitnas.drawing.graph import genotype_graph
from exitnas.exits.genotype import Genotype


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
}
INK, QUIET, FAINT, BAND, PAPER = "#1f2733", "#6b7685", "#c3cad3", "#f4f6f9", "#ffffff"

COLUMNS = ("layer", "down", "activation_in", "encoder", "sum", "pooling", "activation_out", "classifier")
_HEADINGS = dict(
    zip(COLUMNS, ("", "project", "activation", "encode", "", "pool", "activation", "classify"), strict=True)
)
HEIGHT, GAP, MARGIN = 28.0, 26.0, 16.0


@dataclass(frozen=True)
class Box:
    """A node on the sheet; lengths in points, x to the right, y upwards, measured at the centre.

    Attributes:
        label: first line; `detail`: smaller second line.
        shape: box, circle, band (a background without a border) or text (no border, no background).
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
    """An edge on the sheet between two boxes."""

    tail: str
    head: str
    color: str
    dashed: bool = False
    width: float = 1.1


@dataclass(frozen=True)
class Sheet:
    """A whole picture: boxes in the order they are painted, then arrows."""

    boxes: list[Box]
    arrows: list[Arrow]
    title: str


def text_width(text: str, size: float) -> float:
    """A generous estimate of the width of `text` in points at font size `size`."""
    return 0.56 * size * len(text)


def shorten(text: str, length: int = 60) -> str:
    """`text`, its beginning replaced by an ellipsis when it is longer than `length`."""
    return text if len(text) <= length else "…" + text[1 - length :]


def arrange(genotype: Genotype, title: str | None = None) -> Sheet:
    """The picture of a genotype.

    Args:
        title: first line of the title; by default it names the backbone.
    """
    graph = genotype_graph(genotype)
    title = title or f"Exits of {shorten(genotype.backbone)}"
    columns, right = _columns(graph)
    two = any(f"{layer}.sum" in graph for layer in range(1, genotype.layers + 1))
    pitch = 2 * HEIGHT + 14 if two else HEIGHT + 14
    titles = [
        (title, 16.0, INK, True),
        (_subtitle(genotype), 11.0, QUIET, False),
    ]
    needed = max(text_width(text, size) for text, size, _, _ in titles)
    shift = max(0.0, (needed - right) / 2)
    columns = {name: (x + shift, width) for name, (x, width) in columns.items()}
    sheet_width = max(right, needed)

    boxes = [
        Box(f"title.{line}", sheet_width / 2, 66.0 - 24 * line, sheet_width, 24.0, text, shape="text", size=size,
            style=Style(PAPER, PAPER, color), bold=bold)
        for line, (text, size, color, bold) in enumerate(titles)
    ]  # fmt: skip
    for column, (x, width) in columns.items():
        if _HEADINGS[column]:
            heading = _HEADINGS[column]
            boxes.append(Box(f"heading.{column}", x, 16.0, width, 16.0, heading, shape="text", size=9.0))
    rows = {layer: -pitch * (layer - 0.5) for layer in range(1, genotype.layers + 1)}
    for layer, y in rows.items():
        if layer % 2:
            style = Style(BAND, BAND, QUIET)
            boxes.append(Box(f"band.{layer}", sheet_width / 2, y, sheet_width, pitch, shape="band", style=style))
    boxes += [_box(graph, name, columns, rows) for name in graph]
    boxes += _legend(graph, sheet_width, -pitch * genotype.layers - 28, genotype.probabilities is not None)
    return Sheet(boxes, [_arrow(graph, tail, head) for tail, head in graph.edges], title)


def _subtitle(genotype: Genotype) -> str:
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


def _column(name: str) -> str:
    part = name.partition(".")[2]
    return "encoder" if part.startswith("encoder_") else part


def _columns(graph: nx.DiGraph) -> tuple[dict[str, tuple[float, float]], float]:
    """Column -> (centre, width) of the columns that are used, wide enough for their labels; and the right border."""
    found: dict[str, tuple[float, float]] = {}
    edge = MARGIN
    for column in COLUMNS:
        labels = [data for name, data in graph.nodes(data=True) if _column(name) == column]
        if not labels:
            continue
        wish = max(max(text_width(d["label"], 11), text_width(d["detail"] or "", 8.5)) for d in labels) + 16
        width = 20.0 if column == "sum" else max(66.0, wish)
        found[column] = (edge + width / 2, width)
        edge += width + GAP
    return found, edge - GAP + MARGIN


def _box(graph: nx.DiGraph, name: str, columns: dict[str, tuple[float, float]], rows: dict[int, float]) -> Box:
    data = graph.nodes[name]
    x, width = columns[_column(name)]
    y = rows[data["layer"]]
    if _column(name) == "encoder" and f"{data['layer']}.sum" in graph:
        offset = (HEIGHT + 4) / 2
        y += offset if name.endswith("1") else -offset
    height = 20.0 if data["kind"] == "sum" else HEIGHT
    return Box(
        name,
        x,
        y,
        width,
        height,
        data["label"],
        data["detail"],
        shape="circle" if data["kind"] == "sum" else "box",
        style=STYLES[data["kind"]],
        dashed=data["kind"] == "null" or data["repaired"],
        bold=data["kind"] == "backbone",
        hint=_hint(name, data),
    )


def _hint(name: str, data: dict) -> str:
    ranked = sorted(data["candidates"].items(), key=lambda pair: -pair[1])
    candidates = ", ".join(f"{candidate} {value:.3f}" for candidate, value in ranked)
    return f"layer {data['layer']}, {name.partition('.')[2]}: {data['label']}" + (f" ({candidates})" * bool(candidates))


def _arrow(graph: nx.DiGraph, tail: str, head: str) -> Arrow:
    if graph.nodes[head]["kind"] == "backbone":
        return Arrow(tail, head, STYLES["backbone"].line, width=2.2)
    faint = graph.edges[tail, head]["faint"]
    return Arrow(tail, head, FAINT if faint else QUIET, dashed=faint)


def _legend(graph: nx.DiGraph, sheet_width: float, y: float, searched: bool) -> list[Box]:
    """Swatches of the kinds that occur, centred, in as many lines as they need; then notes."""
    present = {data["kind"] for _, data in graph.nodes(data=True)}
    kinds = [kind for kind, style in STYLES.items() if kind in present and style.meaning]
    widths = {kind: text_width(STYLES[kind].meaning, 9) + 16 for kind in kinds}
    lines: list[list[str]] = [[]]
    for kind in kinds:
        if lines[-1] and sum(widths[k] + 8 for k in [*lines[-1], kind]) > sheet_width:
            lines.append([])
        lines[-1].append(kind)
    boxes = []
    for line in lines:
        x = (sheet_width - sum(widths[kind] + 8 for kind in line) + 8) / 2
        for kind in line:
            style = STYLES[kind]
            boxes.append(
                Box(f"legend.{kind}", x + widths[kind] / 2, y, widths[kind], 18.0, style.meaning, size=9.0, style=style,
                    dashed=kind == "null")
            )  # fmt: skip
            x += widths[kind] + 8
        y -= 24
    notes = []
    if "null" in present:
        notes.append("null: an activation passes its input on, an encoder operation adds nothing")
    if searched:
        notes.append("small numbers: probability of the operation when the search ended")
    if any(data["repaired"] for _, data in graph.nodes(data=True)):
        notes.append("* best other operation, since null or skip won on both encoder edges")
    for index, note in enumerate(notes):
        boxes.append(
            Box(f"note.{index}", sheet_width / 2, y - 14 * index, sheet_width, 14.0, note, shape="text", size=9.0)
        )
    return boxes
