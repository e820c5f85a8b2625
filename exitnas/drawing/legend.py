"""What stands below a picture: a swatch of every kind of node that occurs, then notes."""

from collections.abc import Sequence

import networkx as nx

from exitnas.drawing.sheet import STYLES, Box, text_box, text_width


def legend(graphs: Sequence[nx.DiGraph], sheet_width: float, y: float, cost_note: str) -> list[Box]:
    """Swatches and notes of the graphs' nodes, centred on a sheet that begins at x = 0, the first line at `y`."""
    nodes = [data for graph in graphs for _, data in graph.nodes(data=True)]
    present = {data["kind"] for data in nodes}
    boxes = swatches(present, sheet_width, y)
    y = min(box.y for box in boxes) - 24
    notes = []
    if "null" in present:
        notes.append("null: an activation passes its input on, an encoder operation adds nothing")
    if any(data["probability"] is not None for data in nodes):
        notes.append("small numbers and width of the arrows: probability of the operation when the search ended")
    if any(data["repaired"] for data in nodes):
        notes.append("* best other operation, since null or skip won on both encoder edges")
    if any(data["kind"] == "backbone" and data["detail"] for data in nodes):
        notes.append("refined: trained alone, this exit did better than that of the most probable operations")
    notes.append(cost_note)
    return boxes + [text_box(f"note.{n}", sheet_width / 2, y - 15 * n, note, 9.0) for n, note in enumerate(notes)]


def swatches(present: set[str], sheet_width: float, y: float) -> list[Box]:
    """A box for every kind in `present` that has a meaning, in as many centred lines as they need."""
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
    return boxes
