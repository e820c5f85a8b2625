"""The exits of one genotype as rows: what stands in them, how wide their columns are, and their boxes and arrows."""

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx

from exitnas.drawing.graph import genotype_graph
from exitnas.drawing.sheet import (
    BAND,
    DETAIL_SIZE,
    FAINT,
    PAPER,
    QUIET,
    STYLES,
    Arrow,
    Box,
    Style,
    printable,
    text_width,
)
from exitnas.errors import UsageError
from exitnas.exits.genotype import Genotype

COLUMNS = ("layer", "down", "activation_in", "encoder", "sum", "pooling", "activation_out", "classifier", "cost")
HEADINGS = dict(
    zip(COLUMNS, ("", "project", "activation", "encode", "", "pool", "activation", "classify", "cost"), strict=True)
)
HEIGHT, GAP, MARGIN = 28.0, 26.0, 16.0
COST_SIZE = 9.0
THINNEST, THICKEST = 0.7, 3.2
"""Widths in points of the arrow to an operation of probability 0 and 1."""


@dataclass(frozen=True)
class Rows:
    """The rows of one genotype before they are placed.

    Attributes:
        layers: the layers shown, from 1, ascending.
        columns: column -> (centre measured from the rows' left end, width), those that occur.
        width: of a row, margins included.
        pitch: height of a row.
        costs: layer -> its exit's `parameters` and `macs`.
    """

    graph: nx.DiGraph
    layers: list[int]
    columns: dict[str, tuple[float, float]]
    width: float
    pitch: float
    costs: dict[int, dict[str, int]]


def check_layers(layers: Sequence[int] | None, genotype: Genotype, name: str = "") -> list[int]:
    """The layers to show, from 1, ascending and each once; None for all.

    Raises:
        UsageError: the genotype has no such layer.
    """
    if layers is None:
        return list(range(1, genotype.layers + 1))
    wrong = [layer for layer in layers if not 1 <= layer <= genotype.layers]
    if wrong:
        whose = f"{name} has" if name else "the genotype has"
        raise UsageError(f"layer {wrong[0]}: expected 1 to {genotype.layers}, all that {whose}")
    return sorted(set(layers))


def measure(
    genotype: Genotype, layers: list[int], tokens: int, classes: int, known: Sequence[dict[str, int]] | None = None
) -> Rows:
    """The rows of `layers`, with the `known` costs of all exits.

    Where they are not known: for one sample of `tokens` tokens and a task of `classes` classes.
    """
    from exitnas.exits.exit import exit_costs

    whole = genotype_graph(genotype)
    graph = whole.subgraph([name for name, data in whole.nodes(data=True) if data["layer"] in layers])
    costs = dict(enumerate(known or exit_costs(genotype, classes, tokens), start=1))
    found: dict[str, tuple[float, float]] = {}
    edge = MARGIN
    for column in COLUMNS:
        if column == "cost":
            lines = [cost_lines(costs[layer]) for layer in layers]
            width = max(max(text_width(first, COST_SIZE), text_width(second, DETAIL_SIZE)) for first, second in lines)
            edge -= GAP - 10
        else:
            labels = [data for name, data in graph.nodes(data=True) if _column(name) == column]
            if not labels:
                continue
            wish = max(max(text_width(d["label"], 11), text_width(d["detail"] or "", DETAIL_SIZE)) for d in labels)
            width = 20.0 if column == "sum" else max(66.0, wish + 16)
        found[column] = (edge + width / 2, width)
        edge += width + GAP
    pitch = 2 * HEIGHT + 14 if "sum" in found else HEIGHT + 14
    return Rows(graph, layers, found, edge - GAP + MARGIN, pitch, costs)


def cost_lines(cost: dict[str, int]) -> tuple[str, str]:
    """What is printed beside an exit: parameters and multiply-accumulates."""
    return f"{_short(cost['parameters'])} parameters", f"{_short(cost['macs'])} MACs"


def row_boxes(rows: Rows, prefix: str, layer: int, left: float, y: float, band: bool) -> list[Box]:
    """The boxes of one layer's row, its middle at height `y`, its left end at `left`."""
    boxes = []
    if band:
        style = Style(BAND, BAND, QUIET)
        middle = left + rows.width / 2
        boxes.append(Box(f"{prefix}band.{layer}", middle, y, rows.width, rows.pitch, shape="band", style=style))
    for name, data in rows.graph.nodes(data=True):
        if data["layer"] == layer:
            boxes.append(_node(rows, name, data, prefix, left, y))
    x, width = rows.columns["cost"]
    cost = rows.costs[layer]
    first, second = cost_lines(cost)
    hint = f"exit {layer}: {cost['parameters']:,} parameters, {cost['macs']:,} MACs"
    style = Style(PAPER, PAPER, QUIET)
    boxes.append(
        Box(
            f"{prefix}{layer}.cost", left + x, y, width, HEIGHT, first, second, "text", style, size=COST_SIZE, hint=hint
        )
    )
    return boxes


def row_arrows(rows: Rows, prefix: str) -> list[Arrow]:
    """The arrows inside the rows; those between encoder layers are not among them."""
    nodes = rows.graph.nodes
    arrows = []
    for tail, head, data in rows.graph.edges(data=True):
        if nodes[head]["kind"] == "backbone":
            continue
        operation = tail if nodes[head]["kind"] == "sum" else head
        arrows.append(
            Arrow(
                prefix + tail,
                prefix + head,
                FAINT if data["faint"] else QUIET,
                dashed=data["faint"],
                width=thickness(nodes[operation]["probability"]),
            )
        )
    return arrows


def thickness(probability: float | None) -> float:
    """Width of the arrow to an operation; of an ordinary arrow when the probability is unknown."""
    return Arrow("", "").width if probability is None else THINNEST + (THICKEST - THINNEST) * probability


def node_hint(name: str, data: dict) -> str:
    """What an operation is, how sure the search was, what came next, and all the rest."""
    start = f"layer {data['layer']}, {name.partition('.')[2]}: {data['label']}"
    if not data["candidates"]:
        return start
    parts = [f"{start}, probability {data['probability']:.3f}"]
    if data["runner_up"]:
        parts.append("runner-up {} {:.3f}".format(*data["runner_up"]))
    shown = {data["operation"], *(data["runner_up"] or ())[:1]}
    others = sorted(data["candidates"].items(), key=lambda pair: -pair[1])
    rest = ", ".join(f"{candidate} {value:.3f}" for candidate, value in others if candidate not in shown)
    return printable("; ".join(parts + ([f"then {rest}"] if rest else [])))


def _short(number: int) -> str:
    """A count with three significant digits: `412`, `26.5k`, `1.30M`."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            value = number / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}{letter}"
    return str(number)


def _column(name: str) -> str:
    part = name.partition(".")[2]
    return "encoder" if part.startswith("encoder_") else part


def _node(rows: Rows, name: str, data: dict, prefix: str, left: float, y: float) -> Box:
    x, width = rows.columns[_column(name)]
    if _column(name) == "encoder" and f"{data['layer']}.sum" in rows.graph:
        offset = (HEIGHT + 4) / 2
        y += offset if name.endswith("1") else -offset
    circle = data["kind"] == "sum"
    return Box(
        prefix + name,
        left + x,
        y,
        width,
        20.0 if circle else HEIGHT,
        data["label"],
        data["detail"],
        shape="circle" if circle else "box",
        style=STYLES[data["kind"]],
        dashed=data["kind"] == "null" or data["repaired"],
        bold=data["kind"] == "backbone",
        hint=node_hint(name, data),
    )
