"""Answering texts with a trained model under an exit policy."""

import math
from collections.abc import Iterator
from typing import Any

from exitnas.errors import ExitnasError, UsageError
from exitnas.inference.engine import run
from exitnas.inference.rows import Row, text_fault
from exitnas.inference.stream import run_stream
from exitnas.policies.base import Policy, no_early_exit
from exitnas.tasks.spec import TaskSpec
from exitnas.training.device import backbone_precision


def predict(
    model: Any,
    tokenizer: Any,
    rows: list[Row],
    policy: Policy,
    *,
    batch_size: int = 32,
    max_length: int = 128,
    precision: str = "fp32",
    stream: bool = False,
) -> list[dict[str, Any]]:
    """Answer `rows` of `(text, second text or None)` in their order.

    Args:
        stream: pool the rows that stay across batches (`exitnas.inference.stream`), so that deep layers run on full
            batches; the answers are the same.

    Returns:
        One dictionary per row: `label` (a name, or a number for regression), `exit` (layer it left at, from 1),
        `scores` (label name -> probability; voting: share of votes; regression: absent labels, `{}`).

    Raises:
        UsageError: the rows do not have the number of texts the task has, or a text is empty or no Unicode.
        ExitnasError: the model answers with numbers that are not finite.
    """
    spec: TaskSpec = model.config.read_task()
    pairs = len(spec.text_columns) == 2
    for number, (first, second) in enumerate(rows, start=1):
        if (second is not None) != pairs:
            wanted = f"two texts ({', '.join(spec.text_columns)})" if pairs else f"one text ({spec.text_columns[0]})"
            raise UsageError(f"row {number}: task {spec.name} takes {wanted}, got {1 + (second is not None)}")
        if fault := text_fault(spec, (first, second)):
            raise UsageError(f"row {number}: {fault}")
    device = next(model.parameters()).device

    def batches() -> Iterator[Any]:
        for start in range(0, len(rows), batch_size):
            chunk = rows[start : start + batch_size]
            seconds = [second for _, second in chunk] if pairs else None
            yield tokenizer(
                [first for first, _ in chunk],
                seconds,
                truncation=True,
                max_length=max_length,
                padding=True,
                return_tensors="pt",
            ).to(device)

    with backbone_precision(device, precision):
        pooled = run_stream(model, batches(), policy, batch_size) if stream else None
        outcomes = pooled or (run(model, batch, policy) for batch in batches())
        return [answer for outcome in outcomes for answer in _named(outcome, spec)]


def _named(outcome: Any, spec: TaskSpec) -> list[dict[str, Any]]:
    """Dictionaries from an outcome; one transfer from the device for all rows."""
    predictions, exits, scores = (t.cpu().tolist() for t in (outcome.predictions, outcome.exits, outcome.scores))
    if not all(math.isfinite(value) for row in scores for value in row):
        raise ExitnasError("the model answers with numbers that are not finite: its weights are damaged; retrain it")
    if spec.regression:
        return [{"label": value, "exit": exit_, "scores": {}} for value, exit_ in zip(predictions, exits, strict=True)]
    names = spec.labels or ()
    return [
        {"label": names[label], "exit": exit_, "scores": dict(zip(names, row, strict=True))}
        for label, exit_, row in zip(predictions, exits, scores, strict=True)
    ]


def default_policy(model: Any) -> Policy:
    """The policy stored with the model (`exitnas calibrate`); without one early exit is off, the last exit answers."""
    return model.policy or no_early_exit(len(model.exits))


def requested_policy(model: Any, name: str | None, parameters: dict[str, Any]) -> Policy:
    """The policy `name` with `parameters`; without parameters the stored setting of that policy, if there is one.

    Args:
        name: None: the default.

    Raises:
        UsageError: an unknown policy, or missing or impossible parameters.
    """
    from exitnas.policies.base import make_policy

    default = default_policy(model)
    if name is None or (not parameters and model.policy is not None and model.policy.name == name):
        return default
    return make_policy(name, parameters)
