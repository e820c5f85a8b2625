"""From architecture parameters to a genotype, and how far the search decided."""

from math import log
from statistics import fmean
from typing import Any

from exitnas.exits.genotype import ExitGenotype, Genotype, Origin
from exitnas.exits.operations import EDGES
from exitnas.supernet.architecture import Architecture

#: A choice counts as decided when its probability exceeds this multiple of the uniform probability 1/n.
DECIDED = 1.6
ENCODER_EDGES = ("encoder_1", "encoder_2")
#: Encoder operations that mean nothing when both edges choose them.
ONCE = ("null", "skip")


def discretize(architecture: Architecture, backbone: str, hidden_size: int, origin: Origin) -> Genotype:
    """Arg-max per edge (LECO 3.2); equal probabilities are told apart by alpha, equal alphas by the order of the space.

    Every relaxation is monotone in alpha, but a low temperature drives several shares to the same number.

    If both encoder edges would be null, nothing would reach the pooling; if both would be skip, the cell would be one
    skip twice as large. In both cases the edge where that operation is weaker takes its best other one instead, and the
    genotype's `repaired` names the edge.
    """
    probabilities = architecture.probabilities()
    exits = []
    for layer, edges in enumerate(probabilities):
        ranked: dict[str, dict[str, tuple[float, float]]] = {}
        for edge, shares in edges.items():
            alphas = architecture.alphas[edge][layer].tolist()
            ranked[edge] = {name: (share, a) for (name, share), a in zip(shares.items(), alphas, strict=True)}
        exits.append(_choose(ranked))
    return Genotype(
        backbone=backbone,
        layers=architecture.layers,
        hidden_size=hidden_size,
        width=architecture.space.width,
        exits=tuple(exits),
        probabilities=probabilities,
        origin=origin,
    )


def _best(candidates: dict[str, Any]) -> str:
    return max(candidates, key=lambda name: candidates[name])


def _choose(edges: dict[str, dict[str, tuple[float, float]]]) -> ExitGenotype:
    """The exit of a layer, given probability and alpha of every candidate."""
    chosen = {edge: _best(edges[edge]) for edge in EDGES}
    repaired = None
    twice = chosen["encoder_1"]
    able = [edge for edge in ENCODER_EDGES if len(edges[edge]) > 1]
    if chosen["encoder_2"] == twice and twice in ONCE and able:
        repaired = min(able, key=lambda edge: edges[edge][twice])
        others = {name: value for name, value in edges[repaired].items() if name != twice}
        chosen[repaired] = _best(others)
    return ExitGenotype(
        activation_in=chosen["activation_in"],
        encoder=(chosen["encoder_1"], chosen["encoder_2"]),
        pooling=chosen["pooling"],
        activation_out=chosen["activation_out"],
        repaired=repaired,  # type: ignore[arg-type]
    )


def decisions(genotype: Genotype) -> list[dict[str, Any]]:
    """How decided every choice of a searched genotype is, one row per layer and edge with more than one candidate.

    Keys: `layer` (1-based), `edge`, `chosen`, `probability`, `uniform` (1/n), `margin` (over the runner-up, negative
    for a repaired edge), `entropy` (nats, over log n: 1 is undecided, 0 is certain), `decided`.
    """
    rows = []
    for layer, edges in enumerate(genotype.probabilities or (), start=1):
        for edge, candidates in edges.items():
            count = len(candidates)
            if count < 2:
                continue
            chosen = genotype.exits[layer - 1].operation(edge)
            runner_up = max(value for name, value in candidates.items() if name != chosen)
            rows.append(
                {
                    "layer": layer,
                    "edge": edge,
                    "chosen": chosen,
                    "probability": candidates[chosen],
                    "uniform": 1 / count,
                    "margin": candidates[chosen] - runner_up,
                    "entropy": _entropy(candidates),
                    "decided": candidates[chosen] >= DECIDED / count,
                }
            )
    return rows


def entropies(probabilities: tuple[dict[str, dict[str, float]], ...]) -> dict[str, float]:
    """Edge -> entropy of its probabilities (nats, over log n: 1 is undecided, 0 is certain), the mean over layers.

    `all` is the mean over every edge of every layer. Edges with a single candidate are left out.

    Args:
        probabilities: as `Architecture.probabilities` gives them.
    """
    found: dict[str, list[float]] = {}
    for edges in probabilities:
        for edge, candidates in edges.items():
            if len(candidates) > 1:
                found.setdefault(edge, []).append(_entropy(candidates))
    everything = [value for values in found.values() for value in values]
    return {edge: fmean(values) for edge, values in [*found.items(), ("all", everything)] if values}


def _entropy(candidates: dict[str, float]) -> float:
    """Entropy of the probabilities, made to sum to 1, over that of the uniform ones."""
    total = sum(candidates.values())
    shares = [value / total for value in candidates.values() if value > 0]
    return -sum(share * log(share) for share in shares) / log(len(candidates))


def undecided_warning(genotype: Genotype) -> str | None:
    """A sentence when most choices are barely more than the uniform start, None otherwise."""
    rows = decisions(genotype)
    weak = [row for row in rows if not row["decided"]]
    if not rows or 2 * len(weak) <= len(rows):
        return None
    return (
        f"{len(weak)} of {len(rows)} choices are below {DECIDED} times the uniform probability, close to noise: "
        "search longer or raise --arch-lr (with Adam a parameter moves at most about the learning rate per step)"
    )


def collapse_warning(genotype: Genotype) -> str | None:
    """A sentence when null won both encoder edges of half the layers or more, None otherwise.

    Null scales the whole encoder cell down, which lowers the loss on D2 when the weights are over-confident there. A
    search whose edges drift to null has overfitted its weights; what was chosen in null's place was hardly judged.
    """
    collapsed = [
        str(layer)
        for layer, edges in enumerate(genotype.probabilities or (), start=1)
        if all(_best(edges[edge]) == "null" for edge in ENCODER_EDGES)
    ]
    if 2 * len(collapsed) < genotype.layers:
        return None
    return (
        f"null won both encoder edges of layer {', '.join(collapsed)}: the weights overfitted and null only made them "
        "less sure; search fewer epochs, draw D1 and D2 anew every epoch (--split epoch), or use more data"
    )
