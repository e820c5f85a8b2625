"""Small tables in the section of one run: probabilities of every cell, scores over epochs, loss weights."""

from typing import Any

from exitnas.exits.operations import EDGES
from exitnas.reporting.report.charts import STYLES, mini
from exitnas.reporting.report.collect import RunRecord
from exitnas.reporting.report.panels import STEPS, by_seed, percent
from exitnas.reporting.report.values import as_dict, numbers, thinned

EDGE_NAMES = {
    "activation_in": "activation",
    "encoder_1": "encoder 1",
    "encoder_2": "encoder 2",
    "pooling": "pooling",
    "activation_out": "activation",
}
CELL = (96.0, 44.0)
"""Width and height of one small picture of probabilities."""


def probability_grid(record: RunRecord) -> dict[str, Any] | None:
    """Probabilities of every layer's candidates over epochs as small pictures; None when nothing was searched.

    With no record over epochs, those when the search ended.

    Returns:
        `epochs` (how many), `edges` (headings), `legend` (per kind of cell its candidates with their style) and `rows`:
        per layer one cell per edge, of `lines` (path, style, label), the `leader` and its `share`.
    """
    found = [line["probabilities"] for line in record.history if _fits(line.get("probabilities"))]
    epochs = len(found)
    if not found and record.genotype and record.genotype.probabilities:
        found = [list(record.genotype.probabilities)]
    found = [one for one in found if len(one) == len(found[-1])]
    if not found:
        return None
    edges = [edge for edge in EDGES if edge in found[-1][0]]
    legend: dict[str, list[tuple[str, int]]] = {}
    rows = []
    for layer, cells in enumerate(found[-1]):
        row = []
        for edge in edges:
            candidates = sorted(cells.get(edge, {}).items(), key=lambda pair: -pair[1])
            lines = []
            for name, share in candidates:
                values = [one[layer].get(edge, {}).get(name, 0.0) for one in found]
                kind, style = edge.partition("_")[0], _style(edge, name)
                if (name, style) not in legend.setdefault(kind, []):
                    legend[kind].append((name, style))
                path = mini(thinned(values, STEPS), *CELL)
                lines.append({"path": path, "style": style, "label": f"{name} {share:.2f}", "share": share})
            leader, share = candidates[0] if candidates else ("–", 0.0)
            row.append({"lines": lines, "leader": leader, "share": share, "edge": EDGE_NAMES.get(edge, edge)})
        rows.append({"layer": layer + 1, "cells": row})
    for entries in legend.values():
        entries.sort(key=lambda pair: pair[1])
    return {"epochs": epochs, "edges": [EDGE_NAMES.get(edge, edge) for edge in edges], "legend": legend, "rows": rows}


def _fits(value: Any) -> bool:
    """Whether a history line's probabilities are a list of {edge: {candidate: number}}."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(layer, dict) for layer in value)
        and all(isinstance(edge, dict) and numbers(list(edge.values())) for layer in value for edge in layer.values())
    )


def _style(edge: str, candidate: str) -> int:
    names = EDGES[edge].names()
    return (names.index(candidate) if candidate in names else len(names)) % STYLES


def epochs_table(record: RunRecord) -> list[dict[str, Any]]:
    """Dev scores of every exit after every epoch, per seed: `seed`, `columns` (epochs) and `rows` of a heat map."""
    tables = []
    for seed, history in by_seed(record).items():
        history = thinned(history, STEPS)
        scores = [numbers(line["exits"]) for line in history]
        if len({len(one) for one in scores}) > 1:
            continue
        every = [value for one in scores for value in one]
        rows = [
            [{"text": percent(one[exit_]), "share": share_of(one[exit_], every)} for one in scores]
            for exit_ in range(len(scores[0]))
        ]
        tables.append({"seed": seed, "columns": [line["epoch"] for line in history], "rows": rows})
    return tables


def loss_weights(record: RunRecord) -> list[dict[str, Any]]:
    """Learned loss weights as heat maps, one per seed: `title`, `columns` (terms) and `rows` (one per exit)."""
    recorded = as_dict(record.loss_weights.get("seeds"))
    if not recorded:  # a run without that file: what its last line tells
        recorded = {seed: lines[-1].get("loss_weights") for seed, lines in by_seed(record).items()}
    terms = record.loss_weights.get("terms")
    tables = []
    for seed, matrix in recorded.items():
        rows = [numbers(row) for row in matrix] if isinstance(matrix, list) else []
        if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
            continue
        names = terms if isinstance(terms, list) and len(terms) == len(rows[0]) else None
        every = [value for row in rows for value in row if value > 0]
        tables.append(
            {
                "title": f"seed {seed}",
                "columns": [str(term) for term in names or (f"term {n + 1}" for n in range(len(rows[0])))],
                "rows": [
                    [{"text": f"{v:.3f}" if v > 0 else "", "share": share_of(v, every) if v > 0 else 0} for v in row]
                    for row in rows
                ],
            }
        )
    return tables


def share_of(value: float, among: list[float]) -> int:
    """Where `value` stands between the smallest and the largest, in percent, for the colour of a cell."""
    low, high = min(among, default=0.0), max(among, default=1.0)
    return round(100 * (value - low) / (high - low)) if high > low else 50
