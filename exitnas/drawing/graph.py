"""A genotype as a graph: what every exit computes, node by node."""

from typing import Any

import networkx as nx

from exitnas.exits.genotype import Genotype

_FAMILIES = {"conv": "convolution", "mha": "attention", "skip": "skip"}


def genotype_graph(genotype: Genotype) -> nx.DiGraph:
    """The exits of a genotype as a directed graph in the order data flows (LECO figure 2).

    Nodes are named `"<layer>.<part>"`, layers from 1. Parts: `layer` (the encoder layer), `down` (only when the
    genotype has a down-projection), `activation_in`, `encoder_1`, `encoder_2`, `sum`, `pooling`, `activation_out`,
    `classifier`. Encoder layers are chained. A null encoder operation that a search chose is a node whose edges are
    `faint`; one that nobody searched for is left out, and the sum with it.

    Node attributes:
        layer: 1-based number of the encoder layer.
        kind: backbone, linear, activation, convolution, attention, skip, other (encoder operations), sum, pooling
            or null.
        label: what to print.
        detail: a second, smaller line, or None; at an encoder layer it says whether the exit was refined.
        operation: name in the registry, None where nothing is chosen.
        probability: of the chosen operation when the search ended, None when unknown.
        candidates: probability of every candidate, empty when unknown.
        runner_up: the best other candidate and its probability, None when unknown or when there was no other. It can
            be more probable than the chosen operation, when refining went against the arg-max.
        repaired: True when the operation took the place of a null or a skip that had won on both encoder edges.
    """
    graph: nx.DiGraph = nx.DiGraph()
    for index, exit_ in enumerate(genotype.exits):
        layer = index + 1
        searched = {} if genotype.probabilities is None else genotype.probabilities[index]

        def add(part: str, kind: str, label: str, detail: str | None = None, *, layer: int = layer, **more: Any) -> str:
            nothing: dict[str, Any] = {
                "operation": None,
                "probability": None,
                "candidates": {},
                "runner_up": None,
                "repaired": False,
            }
            graph.add_node(f"{layer}.{part}", layer=layer, kind=kind, label=label, detail=detail, **(nothing | more))
            return f"{layer}.{part}"

        parts = {
            edge: _chosen(exit_.operation(edge), edge, searched.get(edge, {}), exit_.repaired == edge)
            for edge in ("activation_in", "encoder_1", "encoder_2", "pooling", "activation_out")
        }
        encoders = [edge for edge in ("encoder_1", "encoder_2") if parts[edge]["kind"] != "null" or searched.get(edge)]

        trunk = add("layer", "backbone", f"layer {layer}", "refined" if exit_.refined else None)
        if layer > 1:
            graph.add_edge(f"{layer - 1}.layer", trunk, faint=False)
        chain = [trunk]
        if genotype.width is not None:
            chain.append(add("down", "linear", "Linear", f"{genotype.hidden_size} → {genotype.width}"))
        chain.append(add("activation_in", **parts["activation_in"]))
        nx.add_path(graph, chain, faint=False)

        middle = [add(edge, **parts[edge]) for edge in encoders]
        joined = add("sum", "sum", "+") if len(middle) > 1 else middle[0]
        for edge, node in zip(encoders, middle, strict=True):
            faint = parts[edge]["kind"] == "null"
            graph.add_edge(chain[-1], node, faint=faint)
            if node != joined:
                graph.add_edge(node, joined, faint=faint)

        pooling = add("pooling", **parts["pooling"])
        out = add("activation_out", **parts["activation_out"])
        classifier = add("classifier", "linear", f"exit {layer}", f"{genotype.exit_width} → classes")
        nx.add_path(graph, [joined, pooling, out, classifier], faint=False)
    return graph


def operation_kind(edge: str, operation: str) -> str:
    """The kind of node, as in `genotype_graph`, that `operation` is on `edge`."""
    if operation == "null":
        return "null"
    if edge.startswith("encoder"):
        return _FAMILIES.get(operation.partition("_")[0], "other")
    return edge.partition("_")[0]


def _chosen(operation: str, edge: str, candidates: dict[str, float], repaired: bool) -> dict[str, Any]:
    """Node attributes of the operation on `edge`."""
    probability = candidates.get(operation)
    others = [(name, value) for name, value in candidates.items() if name != operation]
    return {
        "kind": operation_kind(edge, operation),
        "label": f"{operation} *" if repaired else operation,
        "detail": None if probability is None else f"{probability:.2f}",
        "operation": operation,
        "probability": probability,
        "candidates": dict(candidates),
        "runner_up": max(others, key=lambda pair: pair[1], default=None),
        "repaired": repaired,
    }
