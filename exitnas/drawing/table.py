"""Genotypes as rows of text, as LECO's table 6 shows them, with what each exit costs and how sure the search was."""

from collections.abc import Sequence
from typing import Any

from exitnas.drawing.rows import check_layers
from exitnas.exits.genotype import ExitGenotype, Genotype
from exitnas.exits.operations import EDGES

COLUMNS = ("layer", "activation", "encoder", "pooling", "activation", "parameters", "MMACs", "least sure")


def exit_records(
    genotype: Genotype,
    *,
    layers: Sequence[int] | None = None,
    tokens: int,
    classes: int,
    reference: Genotype | None = None,
) -> list[dict[str, Any]]:
    """One record per layer, for JSON.

    Args:
        layers: the layers wanted, from 1; None for all.
        tokens: length of the sample whose multiply-accumulates are counted.
        classes: C of the task.
        reference: the genotype that `differs` compares with, layer by layer.

    Returns:
        `layer, activation_in, encoder, pooling, activation_out, repaired, refined, parameters, macs`; `least_sure`: the
        edge whose choice had the lowest probability, with `operation, probability` and the best other candidate
        (`runner_up`, `runner_up_probability`), None when nothing was searched; `differs`: the edges that differ from
        the reference's, all when it lacks the layer. The order of the two encoder operations makes no difference.

    Raises:
        UsageError: the genotype has no such layer.
    """
    from exitnas.exits.exit import exit_costs

    costs = exit_costs(genotype, classes, tokens)
    records = []
    for layer in check_layers(layers, genotype):
        exit_ = genotype.exits[layer - 1]
        searched = genotype.probabilities[layer - 1] if genotype.probabilities else None
        record = {"layer": layer, **exit_.model_dump(mode="json"), **costs[layer - 1]}
        record["least_sure"] = _least_sure(exit_, searched) if searched else None
        if reference is not None:
            other = reference.exits[layer - 1] if layer <= reference.layers else None
            record["differs"] = _differing(exit_, other)
        records.append(record)
    return records


def table_rows(records: Sequence[dict[str, Any]]) -> list[list[str]]:
    """`COLUMNS` of every record; `≠` before what differs from the reference, `*` after a repaired encoder operation."""
    rows = []
    for record in records:
        differs = record.get("differs", [])
        encoders = zip(("encoder_1", "encoder_2"), record["encoder"], strict=True)
        encoder = " + ".join(name + " *" * (record["repaired"] == edge) for edge, name in encoders)
        sure = record["least_sure"]
        rows.append(
            [
                str(record["layer"]) + " refined" * record["refined"],
                _marked(record["activation_in"], "activation_in" in differs),
                _marked(encoder, "encoder_1" in differs),
                _marked(record["pooling"], "pooling" in differs),
                _marked(record["activation_out"], "activation_out" in differs),
                f"{record['parameters']}",
                f"{record['macs'] / 1e6:.2f}",
                f"{sure['probability']:.2f} {sure['operation']} ({sure['edge']})" if sure else "-",
            ]
        )
    return rows


def notes(records: Sequence[dict[str, Any]]) -> list[str]:
    """What the marks in `table_rows` mean, those that occur."""
    found = []
    if any(record.get("differs") for record in records):
        found.append("≠: differs from the first genotype")
    if any(record["repaired"] for record in records):
        found.append("*: best other operation, since null or skip won on both encoder edges")
    if any(record["refined"] for record in records):
        found.append("refined: trained alone, this exit did better than that of the most probable operations")
    if any(record["least_sure"] for record in records):
        found.append("least sure: the lowest probability among the chosen operations")
    return found


def _marked(text: str, differs: bool) -> str:
    return f"≠ {text}" if differs else text


def _least_sure(exit_: ExitGenotype, searched: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The choice with the lowest probability; the first of equals, in the order data flows."""
    edge = min(EDGES, key=lambda e: searched[e][exit_.operation(e)])
    chosen = exit_.operation(edge)
    others = {name: value for name, value in searched[edge].items() if name != chosen}
    runner_up = max(others, key=lambda name: others[name]) if others else None
    return {
        "edge": edge,
        "operation": chosen,
        "probability": searched[edge][chosen],
        "runner_up": runner_up,
        "runner_up_probability": others[runner_up] if runner_up else None,
    }


def _differing(exit_: ExitGenotype, other: ExitGenotype | None) -> list[str]:
    if other is None:
        return list(EDGES)
    same_pair = sorted(exit_.encoder) == sorted(other.encoder)
    return [
        edge
        for edge in EDGES
        if (not same_pair if edge.startswith("encoder") else exit_.operation(edge) != other.operation(edge))
    ]
