"""What a run's model does on its data: every policy's curve from one pass, baselines on the same rows, the inputs
that left first and last."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from exitnas.errors import ExitnasError
from exitnas.inference.contestants import Baseline, open_baseline
from exitnas.inference.costs import model_macs
from exitnas.inference.evaluate import Evaluation
from exitnas.inference.session import Session
from exitnas.inference.simulate import simulate
from exitnas.inference.tradeoff import Point, measure
from exitnas.policies import POLICIES
from exitnas.policies.base import Policy, make_policy, no_early_exit, probabilities
from exitnas.reporting.report.collect import RunRecord
from exitnas.tasks.data import Split
from exitnas.training.evaluation import all_outputs

MAX_DROP = 0.01
"""Dev score that the setting shown first may lose against the last exit."""
SHOWN_INPUTS, SHOWN_CHARACTERS = 8, 300
#: Which policy is shown first, of those a model can run.
PREFERRED = ("entropy", "patience")


@dataclass(frozen=True)
class Input:
    """A row of the data with what became of it.

    Attributes:
        texts: one text or two, shortened.
        right: None for regression.
        layer: where it left, from 1.
    """

    row: int
    texts: tuple[str, ...]
    label: str
    prediction: str
    right: bool | None
    layer: int


@dataclass(frozen=True)
class Truncated:
    """A truncated encoder on the same rows: its last exit after all its layers."""

    name: str
    layers: int
    score: float
    macs: float


@dataclass(frozen=True)
class Evaluated:
    """A run's model on one split.

    Attributes:
        exits: the score of every exit.
        curves: policy -> points, fastest first.
        shown: the policy, and the index of its point, that the report shows first.
        why: how that setting was chosen, a sentence.
        first, last: inputs that left earliest and latest under it.
        tokens: mean length of a row, which MACs are counted for.
        classes: C, numbers per exit.
        precision: of the backbone in this pass.
    """

    task: str
    metric: str
    split: str
    source: str
    rows: int
    tokens: int
    classes: int
    precision: str
    exits: list[float]
    full_macs: float
    curves: dict[str, list[Point]]
    shown: tuple[str, int]
    why: str
    first: list[Input]
    last: list[Input]
    baselines: list[Truncated]
    notes: list[str]


def evaluate(
    record: RunRecord, baselines: Sequence[RunRecord], *, split: str = "test", points: int = 25, **opening: Any
) -> Evaluated:
    """Run the model of `record` over dev and test once, and read everything off its outputs.

    Args:
        baselines: truncated baselines of the same task.
        points: settings per policy.
        opening: arguments of `Session.open`.

    Raises:
        ExitnasError: the model or its data cannot be had.
    """
    session = Session.open(str(record.path), **opening)
    evaluation = session.evaluation()
    names = session.policies()
    curves = {name: evaluation.curve(name, split, points=points) for name in names}
    if not session.data.spec.regression:
        names.append("oracle")
        curves["oracle"] = evaluation.curve("oracle", split)
    policy, why = _first_shown(evaluation, curves, split)
    curves[policy.name], index = _with(curves[policy.name], evaluation.point(policy, split))
    first, last = _inputs(evaluation, policy, split)
    found, notes = _truncated(session, baselines, split)
    return Evaluated(
        task=session.data.spec.name,
        metric=session.data.spec.metric,
        split=split,
        source=session.data.source,
        rows=len(evaluation.splits[split][1]),
        tokens=evaluation.tokens,
        classes=evaluation.logits[split].shape[-1],
        precision=evaluation.precision,
        exits=evaluation.exits(split)["exits"],
        full_macs=evaluation.full_macs(),
        curves=curves,
        shown=(policy.name, index),
        why=why,
        first=first,
        last=last,
        baselines=found,
        notes=notes,
    )


def _first_shown(evaluation: Evaluation, curves: dict[str, list[Point]], split: str) -> tuple[Policy, str]:
    """The stored policy, or one chosen on dev; one in the middle of its curve where all rows leave at one layer."""
    stored = getattr(evaluation.model, "policy", None)
    if stored is not None and stored.name in curves:
        return stored, "It is the setting stored with the model."
    able = [name for name in (*PREFERRED, *curves) if name in curves]
    chosen = evaluation.chosen(able[0], MAX_DROP)
    if sum(count > 0 for count in evaluation.point(chosen, split).exit_histogram) > 1:
        drop = f"{100 * MAX_DROP:g} point"
        return chosen, f"It is the fastest setting of {chosen.name} within {drop} of the last exit on dev."
    curve = curves[able[0]]
    middle = min(curve, key=lambda point: abs(point.mean_exit - (curve[0].mean_exit + curve[-1].mean_exit) / 2))
    why = f"It is in the middle of the curve of {able[0]}: the one chosen on dev lets all rows leave at one layer."
    return make_policy(able[0], middle.parameters), why


def _with(curve: list[Point], point: Point) -> tuple[list[Point], int]:
    """The curve with `point` in its place, and which place that is."""
    if point not in curve:
        curve = sorted([*curve, point], key=lambda one: one.mean_exit)
    return curve, curve.index(point)


def _inputs(evaluation: Evaluation, policy: Policy, split: str) -> tuple[list[Input], list[Input]]:
    """Inputs that left first, the surest of equals first, and last, the least sure of equals first."""
    rows, logits = evaluation.splits[split][1], evaluation.logits[split]
    outcome = simulate(
        policy, logits, certainty=evaluation.certainty(split, policy.name), labels=torch.as_tensor(rows.labels)
    )
    exits = outcome.exits.numpy()
    if evaluation.spec.regression:
        sure = np.zeros(len(exits))
    else:
        here = logits[torch.arange(len(exits)), outcome.exits - 1]
        sure = probabilities(here).amax(dim=-1).numpy()
    order = np.lexsort((-sure, exits)).tolist()

    def told(row: int) -> Input:
        return _input(evaluation, rows, row, outcome.predictions[row].item(), int(exits[row]))

    count = min(SHOWN_INPUTS, len(order) // 2)
    return [told(row) for row in order[:count]], [told(row) for row in order[::-1][:count]]


def _input(evaluation: Evaluation, rows: Split, row: int, prediction: float, layer: int) -> Input:
    labels, label = evaluation.spec.labels, rows.labels[row]
    texts = (rows.texts[row],) if rows.pairs is None else (rows.texts[row], rows.pairs[row])
    known = labels is not None and not evaluation.spec.regression
    return Input(
        row=row,
        texts=tuple(shortened(text) for text in texts),
        label=str(labels[int(label)]) if known and labels else f"{label:.2f}",
        prediction=str(labels[int(prediction)]) if known and labels else f"{prediction:.2f}",
        right=int(prediction) == int(label) if known else None,
        layer=layer,
    )


def shortened(text: str) -> str:
    """`text` on one line, cut after `SHOWN_CHARACTERS` characters."""
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1].rstrip() + "…"


def _truncated(session: Session, records: Sequence[RunRecord], split: str) -> tuple[list[Truncated], list[str]]:
    found, notes = [], []
    for record in records:
        try:
            baseline = open_baseline(str(record.path), session, split)
        except ExitnasError as error:
            notes.append(f"baseline {record.name} left out: {error}")
            continue
        layers, exits = model_macs(baseline.model, max(1, round(baseline.data.mean_length())))
        score = _last_exit_score(baseline, session, split)
        found.append(Truncated(record.name, len(layers), score, sum(layers) + exits[-1]))
    return sorted(found, key=lambda one: one.layers), notes


def _last_exit_score(baseline: Baseline, session: Session, split: str) -> float:
    """The score of a truncated encoder's last exit, whatever policy is stored with it."""
    last = no_early_exit(baseline.model.backbone.num_layers)
    if baseline.policy == last:
        return baseline.score
    rows, spec, settings = getattr(session.data, split), session.data.spec, session.settings
    device = next(baseline.model.parameters()).device
    logits, _ = all_outputs(baseline.model, baseline.data, settings["batch_size"], device, settings["precision"])
    return measure(last, logits, rows.labels, spec.metric, rows.parts).score


def setting(point: Point) -> str:
    """The parameters of a point in a few words, with as many digits as it takes to get its numbers again."""
    parameters = make_policy(point.policy, point.parameters).parameters()
    given = {name: value for name, value in parameters.items() if value is not None and value is not False}
    shown = (f"{name}={value:.9g}" if isinstance(value, float) else f"{name}={value}" for name, value in given.items())
    words = " ".join(shown)
    return words or ("looks at the labels" if "labels" in POLICIES.get(point.policy).needs else "no parameters")
