"""Trade-off curves: score against executed layers (and MACs) for every setting of a policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from exitnas.errors import require
from exitnas.inference.simulate import simulate
from exitnas.policies import POLICIES
from exitnas.policies.base import Policy


@dataclass(frozen=True)
class Point:
    """One setting of one policy, measured on N samples.

    Attributes:
        policy: name in `POLICIES`; with `parameters` it makes the policy again.
        score: the task's metric as a fraction.
        mean_exit: mean executed layers, 1..E.
        layer_speedup: E / mean_exit.
        macs: mean multiply-accumulates per sample, None when no costs were given.
        exit_histogram: how many samples left at each layer, E counts.
    """

    policy: str
    parameters: dict[str, Any]
    score: float
    mean_exit: float
    layer_speedup: float
    macs: float | None
    exit_histogram: list[int]


def measure(
    policy: Policy,
    logits: Tensor,
    labels: Any,
    metric: str,
    parts: list[str] | None = None,
    *,
    layer_macs: Sequence[float] | None = None,
    exit_macs: Sequence[float] | None = None,
    certainty: Tensor | None = None,
) -> Point:
    """One policy on precomputed logits; the arguments are those of `trade_off`."""
    from exitnas.tasks.metrics import score

    num_exits = logits.shape[1]
    labels = torch.as_tensor(labels)
    outcome = simulate(policy, logits, certainty=certainty, labels=labels.to(logits.device))
    exits = outcome.exits.cpu()
    mean_exit = float(exits.double().mean())
    macs = None
    if layer_macs is not None:
        macs = float(leaving_macs(policy, layer_macs, exit_macs)[exits - 1].mean())
    return Point(
        policy=policy.name,
        parameters=policy.parameters(),
        score=score(metric, outcome.predictions.cpu().numpy(), labels.cpu().numpy(), parts),
        mean_exit=mean_exit,
        layer_speedup=num_exits / mean_exit,
        macs=macs,
        exit_histogram=torch.bincount(exits - 1, minlength=num_exits).tolist(),
    )


def trade_off(
    policy_name: str,
    logits: Tensor,
    labels: Any,
    metric: str,
    parts: list[str] | None = None,
    *,
    layer_macs: Sequence[float] | None = None,
    exit_macs: Sequence[float] | None = None,
    certainty: Tensor | None = None,
    points: int = 25,
    fixed: dict[str, Any] | None = None,
) -> list[Point]:
    """The curve of one policy, by ascending mean_exit (fastest first).

    Args:
        policy_name: a name in `POLICIES`.
        logits: [N, E, C] of every exit.
        labels: [N] tensor or array; class indices, or values for regression.
        metric: a name in `exitnas.tasks.metrics.METRICS`.
        parts: [N] names of test parts whose scores are averaged (MNLI), or None.
        layer_macs: E numbers, MACs per sample of each backbone layer; put the embedding's into the first.
        exit_macs: E numbers, MACs per sample of each exit; only exits the policy runs are counted. Given alone it
            would say little, so without `layer_macs` it is refused; without it exits count as free.
        certainty: [N, E], for policies that need it.
        points: how many settings to try where the policy has that many.
        fixed: arguments for the policy's `sweep`, e.g. `{"patience": 2}` for COBEE.

    Raises:
        UsageError: unknown policy, or one that does not fit the task.
    """
    require(layer_macs is not None or exit_macs is None, "exit_macs came without layer_macs: give both or none")
    settings = POLICIES.get(policy_name).sweep(logits, points, certainty=certainty, **(fixed or {}))
    costs: dict[str, Any] = {"layer_macs": layer_macs, "exit_macs": exit_macs}
    curve = [measure(policy, logits, labels, metric, parts, certainty=certainty, **costs) for policy in settings]
    return sorted(curve, key=lambda point: point.mean_exit)


def leaving_macs(policy: Policy, layer_macs: Sequence[float], exit_macs: Sequence[float] | None = None) -> Tensor:
    """MACs of a sample that leaves at layer 1..E: the layers up to there and the exits the policy runs; [E] float64."""
    layers = torch.tensor(list(layer_macs), dtype=torch.float64)
    heads = torch.zeros_like(layers) if exit_macs is None else torch.tensor(list(exit_macs), dtype=torch.float64)
    require(len(layers) == len(heads), f"layer_macs and exit_macs differ in length: {len(layers)} and {len(heads)}")
    run = torch.tensor([policy.needs_exit(index, len(heads)) for index in range(len(heads))], dtype=torch.float64)
    return (layers + heads * run).cumsum(0)


def choose(points: Sequence[Point], baseline: float, max_drop: float) -> Point | None:
    """The fastest point whose score is at least `baseline - max_drop`; None when there is none.

    Equally fast points are told apart by score. `baseline` and `max_drop` are fractions like `Point.score`.
    """
    require(max_drop >= 0, f"max_drop must be at least 0 (0.01 is one point of score), got {max_drop}")
    good = [point for point in points if point.score >= baseline - max_drop - 1e-9]
    return min(good, key=lambda point: (point.mean_exit, -point.score), default=None)
