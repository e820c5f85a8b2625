"""Choosing a policy's setting from the outputs of all exits on calibration rows; `exitnas.inference.calibrate` has
the models, data and files around it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from exitnas.errors import ExitnasError
from exitnas.inference.risk import accuracy_losses, error_losses, fixed_sequence, p_value, passed, rows_needed
from exitnas.inference.simulate import simulate
from exitnas.inference.tradeoff import Point, measure
from exitnas.policies import POLICIES
from exitnas.policies.base import Policy, no_early_exit
from exitnas.training.temperature import tempered


@dataclass(frozen=True)
class Outputs:
    """All exits on N rows.

    Attributes:
        logits: [N, E, C].
        labels: [N] int64 class indices, or float64 values for regression.
        certainty: [N, E] with a certainty head, else None.
        parts: [N] names of the evaluation sets (MNLI), else None.
    """

    logits: Tensor
    labels: np.ndarray
    certainty: Tensor | None = None
    parts: list[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> "Outputs":
        """The rows at `rows` [K] int64."""
        sure = None if self.certainty is None else self.certainty[rows]
        parts = None if self.parts is None else [self.parts[row] for row in rows.tolist()]
        return Outputs(self.logits[rows], self.labels[rows.numpy()], sure, parts)

    def tempered(self, temperatures: list[float]) -> "Outputs":
        """The same with every exit's logits divided by its temperature."""
        return replace(self, logits=tempered(self.logits, temperatures))

    def point(self, setting: Policy, metric: str) -> Point:
        """`setting` measured on these rows."""
        return measure(setting, self.logits, self.labels, metric, self.parts, certainty=self.certainty)

    def off(self) -> Policy:
        """The policy of early exit off."""
        return no_early_exit(self.logits.shape[1])


def slow_to_fast(policy: str, grid: Outputs, points: int = 50, **fixed: Any) -> list[Policy]:
    """The policy's settings, slowest first as executed on `grid`; those that let nobody leave early there left out.

    Args:
        grid: rows other than those the settings are tested on; labels play no part.
        points: how many settings, where the policy has as many.
        fixed: arguments of the policy's `sweep`.
    """
    settings = POLICIES.get(policy).sweep(grid.logits, points, certainty=grid.certainty, **fixed)
    layers = [simulate(one, grid.logits, certainty=grid.certainty).exits.double().mean() for one in settings]
    pairs = sorted(zip(layers, settings, strict=True), key=lambda pair: -float(pair[0]))
    return [setting for mean, setting in pairs if float(mean) < grid.logits.shape[1]]


def row_losses(settings: Sequence[Policy], rows: Outputs, span: float | None = None) -> list[np.ndarray]:
    """What every setting costs on every row against the last exit: per setting [N] in [-1, 1].

    Args:
        span: range of the label for regression; None for classification.
    """
    full = simulate(rows.off(), rows.logits).predictions.numpy()
    found = []
    for setting in settings:
        early = simulate(setting, rows.logits, certainty=rows.certainty).predictions.numpy()
        if span is None:
            found.append(accuracy_losses(early, full, rows.labels))
        else:
            found.append(error_losses(early, full, rows.labels, span))
    return found


def within_drop(
    settings: Sequence[Policy],
    rows: Outputs,
    metric: str,
    max_drop: float,
    confidence: float,
    span: float | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The fastest setting on `rows` of those that pass `fixed_sequence`.

    Args:
        settings: slowest first, not chosen by looking at `rows`.
        metric: name in `METRICS`, for the scores reported beside the cost.

    Returns:
        What was chosen and what was tested, as `parameters, score, mean_exit, layer_speedup, drop` (mean loss on
        `rows`) and `p_value`.

    Raises:
        ExitnasError: none passes and is faster than the full model; names the nearest, the one of smallest p-value.
    """
    losses = row_losses(settings, rows, span)
    p_values = fixed_sequence(losses, max_drop, confidence)
    tested = [_entry(rows.point(s, metric), loss, p) for s, loss, p in zip(settings, losses, p_values, strict=False)]
    good = [entry for entry in tested[: passed(p_values, confidence)] if entry["layer_speedup"] > 1]
    if good:
        return min(good, key=lambda entry: (entry["mean_exit"], -entry["score"])), tested
    start = f"no setting is shown to cost at most {max_drop:g} ({loss_name(span)}) with confidence {confidence:g}"
    start += f" on {len(rows)} rows"
    if not settings:
        raise ExitnasError(f"{start}: none of them lets a training row leave early")
    p_values = [p_value(loss, max_drop) for loss in losses]
    index = min(range(len(settings)), key=lambda i: (p_values[i], -i))
    near = _entry(rows.point(settings[index], metric), losses[index], p_values[index])
    needed = rows_needed(max_drop, confidence) if span is None else None
    more = f"at least {needed} rows" if needed is not None and needed > len(rows) else "more rows"
    raise ExitnasError(
        f"{start}; nearest: {_words(near['parameters'])}, cost {near['drop']:.4f}, mean layers "
        f"{near['mean_exit']:.2f}, p-value {near['p_value']:.3g} where {1 - confidence:.3g} is needed; "
        f"take {more}, a larger --max-drop or a lower --confidence"
    )


def best_at(
    settings: Sequence[Policy], rows: Outputs, metric: str, target_speedup: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The setting of best score on `rows` that reaches the speed-up in layers; of equal ones the fastest.

    Returns:
        What was chosen and what was looked at, like `within_drop`, `drop` and `p_value` None.

    Raises:
        ExitnasError: none reaches it; names the nearest, the fastest.
    """
    seen = sorted((_entry(rows.point(s, metric)) for s in settings), key=lambda entry: -entry["mean_exit"])
    fast = [entry for entry in seen if entry["layer_speedup"] >= target_speedup]
    if fast:
        return max(fast, key=lambda entry: (entry["score"], entry["layer_speedup"])), seen
    near = max(seen, key=lambda entry: (entry["layer_speedup"], entry["score"]))
    raise ExitnasError(
        f"no setting reaches a speed-up of {target_speedup:g} in layers on {len(rows)} rows; nearest: "
        f"{_words(near['parameters'])}, speed-up {near['layer_speedup']:.2f}, {metric} {near['score']:.4f}"
    )


def loss_name(span: float | None) -> str:
    """What is kept within the drop, in words."""
    return "accuracy lost" if span is None else f"absolute error gained, as a share of the label's range of {span:g}"


def _entry(point: Point, losses: np.ndarray | None = None, p: float | None = None) -> dict[str, Any]:
    wanted = ("parameters", "score", "mean_exit", "layer_speedup")
    drop = None if losses is None else float(losses.mean())
    return {**{name: getattr(point, name) for name in wanted}, "drop": drop, "p_value": p}


def _words(parameters: dict[str, Any]) -> str:
    shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in parameters.items() if v is not None)
    return " ".join(shown)
