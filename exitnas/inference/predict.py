"""Answering texts with a trained model under an exit policy."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from exitnas.errors import ExitnasError, UsageError
from exitnas.files import json_kind, parse_json
from exitnas.inference.engine import run
from exitnas.inference.stream import run_stream
from exitnas.policies.base import Policy, no_early_exit
from exitnas.tasks.spec import TaskSpec
from exitnas.tasks.tables import read_lines
from exitnas.training.device import backbone_precision


def predict(
    model: Any,
    tokenizer: Any,
    rows: list[tuple[str, str | None]],
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
        if fault := _fault(spec, (first, second)):
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


def _fault(spec: TaskSpec, texts: tuple[str, str | None]) -> str | None:
    """What is wrong with the texts of a row, None when nothing is."""
    for column, text in zip(spec.text_columns, texts, strict=False):
        if text is None or not text.strip():
            return f"expected text in {column}, got none"
        if _lone_surrogate(text):
            return f"expected Unicode text in {column}, got half a surrogate pair"
    return None


def _lone_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")  # in C, unlike a look at every character
    except UnicodeEncodeError:
        return True
    return False


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


Row = tuple[str, str | None]


def read_rows(path: str, spec: TaskSpec, skipped: Callable[[str], None] | None = None) -> list[tuple[int, Row]]:
    """Line numbers and rows of a JSONL file whose lines hold the task's text columns, or `text` and `text_pair`.

    Args:
        skipped: told what is wrong with a line that is left out; None: the first such line is an error.

    Raises:
        ExitnasError: the file is missing or holds no rows, or a line is not a JSON object with text in these columns;
            names the line.
    """
    if not Path(path).is_file():
        what = "is a folder, a JSONL file was expected" if Path(path).is_dir() else "no such file"
        raise UsageError(f"--input {path}: {what}")
    rows: list[tuple[int, Row]] = []
    for number, line in enumerate(read_lines(Path(path), lenient=skipped is not None), start=1):
        if not line.strip():
            continue
        try:
            rows.append((number, _read_row(line, path, number, spec)))
        except ExitnasError as error:
            if skipped is None:
                raise
            skipped(str(error))
    if not rows:
        raise ExitnasError(f"{path}: holds no rows" + (" that can be answered" if skipped else ""))
    return rows


def _read_row(line: str, path: str, number: int, spec: TaskSpec) -> Row:
    if _lone_surrogate(line):
        raise ExitnasError(f"{path}: line {number}: expected UTF-8 text, got bytes that are not")
    value = parse_json(line, path, number)
    plain = ("text", "text_pair")[: len(spec.text_columns)]
    columns = next(
        (c for c in (spec.text_columns, plain) if isinstance(value, dict) and all(k in value for k in c)), None
    )
    if columns is None or not all(isinstance(value[c], str) for c in columns):
        wanted = " and ".join(spec.text_columns)
        came = _came(value, columns)
        raise ExitnasError(f"{path}: line {number}: expected an object with text in {wanted}, got {came}")
    row = value[columns[0]], value[columns[1]] if len(columns) == 2 else None
    if fault := _fault(spec, row):
        raise ExitnasError(f"{path}: line {number}: {fault}")
    return row


def _came(value: Any, columns: tuple[str, ...] | None) -> str:
    """What a line held instead: no object, an object without the columns, or one whose columns are no text."""
    if not isinstance(value, dict):
        return json_kind(value)
    if columns is None:
        return ", ".join(value)[:200] or "an empty object"
    return " and ".join(f"{json_kind(value[c])} in {c}" for c in columns if not isinstance(value[c], str))


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
