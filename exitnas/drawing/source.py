"""A sheet as Graphviz source, every position pinned."""

from html import escape

import graphviz

from exitnas.drawing.sheet import BORDER, DETAIL_SIZE, PAPER, Arrow, Box, Sheet

FONT = "Helvetica"
_SHAPES = {"box": "box", "circle": "circle", "band": "box", "text": "plaintext", "point": "point"}


def dot_source(sheet: Sheet) -> str:
    """Text of a `.dot` file.

    It names its own layout, `neato`, which keeps pinned positions; so plain `dot` draws it.
    """
    graph = graphviz.Digraph(
        "exits",
        graph_attr={
            "layout": "neato",
            "splines": "line",
            "outputorder": "nodesfirst",
            "bgcolor": PAPER,
            "pad": "0.15",
            "fontname": FONT,
            "tooltip": graphviz.escape(sheet.title),
        },
        node_attr={"fontname": FONT, "fixedsize": "true", "margin": "0"},
        edge_attr={"fontname": FONT, "arrowsize": "0.6"},
    )
    for box in sheet.boxes:
        graph.node(box.name, label=_label(box), **_attributes(box))
    for arrow in sheet.arrows:
        graph.edge(arrow.tail, arrow.head, **_look(arrow))
    return graph.source


def _label(box: Box) -> str:
    """An HTML-like label: the first line, and the second one smaller below it."""
    if not box.label:
        return ""
    first = escape(box.label)
    if box.bold:
        first = f"<B>{first}</B>"
    if box.detail is None:
        return f"<{first}>"
    second = f'<FONT POINT-SIZE="{DETAIL_SIZE}">{escape(box.detail)}</FONT>'
    table = '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0">'
    return f"<{table}<TR><TD>{first}</TD></TR><TR><TD>{second}</TD></TR></TABLE>>"


def _look(arrow: Arrow) -> dict[str, str]:
    look = {
        "color": arrow.color,
        "style": "dashed" if arrow.dashed else "solid",
        "penwidth": f"{arrow.width:.3g}",
        "tooltip": " ",
    }
    if arrow.level:
        look |= {"tailport": "e", "headport": "w"}
    if not arrow.pointed:
        look["arrowhead"] = "none"
    return look


def _attributes(box: Box) -> dict[str, str]:
    styles = ["rounded", "filled"] if box.shape == "box" else ["filled"] if box.shape != "text" else []
    if box.dashed:
        styles.append("dashed")
    return {
        "pos": f"{box.x / 72:.4f},{box.y / 72:.4f}!",
        "width": f"{box.width / 72:.4f}",
        "height": f"{box.height / 72:.4f}",
        "shape": _SHAPES[box.shape],
        "style": ",".join(styles),
        "fillcolor": box.style.fill,
        "color": box.style.line,
        "fontcolor": box.style.text,
        "fontsize": f"{box.size:g}",
        "penwidth": f"{BORDER:g}" if box.shape in ("box", "circle") else "0",
        "tooltip": graphviz.escape(box.hint) or " ",
    }
