"""Calibrating a model's exit policy on held-out rows: the fastest setting that provably costs little, or the best of
a given speed.

**Within a drop** is Learn then Test (Angelopoulos et al. 2021; for early exit CALM, Schuster et al. 2022): settings
are tested from slow to fast, each with a p-value for "its risk is above max_drop" (`exitnas.inference.risk`), until
the first fails. A risk is a mean over rows, which F1 and correlations are not: for classification it is the
*accuracy* lost against the last exit, whatever the task's metric; for regression the absolute error gained, as a share
of the label's range.

The promise: with probability `confidence` over the draw of the calibration rows, the chosen setting's risk on rows
like them is at most `max_drop`. For it to hold, the settings tested and their order come from the policy's `sweep` on
*training* rows, without labels; and temperatures are fitted on one half of the rows while settings are tested on the
other. It also takes rows that the model was not made from. Dev rows had a say in one thing, which checkpoint was kept;
test rows (`split` "test") in nothing.

**At a speed-up** takes the setting of best score on the rows, and promises nothing about others.
"""

import inspect
from typing import Any

import numpy as np
import torch

from exitnas import __version__
from exitnas.errors import ExitnasError, require
from exitnas.inference.choice import Outputs, best_at, loss_name, slow_to_fast, within_drop
from exitnas.inference.evaluate import check_policies
from exitnas.inference.session import Session
from exitnas.policies import POLICIES
from exitnas.tasks.data import Split
from exitnas.training.batches import encode
from exitnas.training.evaluation import all_outputs
from exitnas.training.temperature import exit_temperatures

#: Training rows that settings are spread over.
GRID_ROWS = 1000
#: Seed of the halves for temperatures and for testing.
HALVES_SEED = 0


def check_request(
    policy: str | None,
    fixed: dict[str, Any],
    *,
    max_drop: float | None = None,
    target_speedup: float | None = None,
    confidence: float | None = None,
) -> None:
    """Refuse what cannot be meant whatever the model, before anything is loaded.

    Raises:
        UsageError: an unknown policy or one without settings to choose from, numbers out of range, two goals.
    """
    both = max_drop is not None and target_speedup is not None
    require(not both, "--max-drop and --target-speedup are two goals: give one of them")
    drop, speedup = max_drop or 0.0, target_speedup or 1.0
    require(0 <= drop < 1, f"--max-drop must be at least 0 and below 1 (0.01 is one point), got {max_drop}")
    require(1 <= speedup < float("inf"), f"--target-speedup must be a number of at least 1, got {target_speedup}")
    sure = 0.5 if confidence is None else confidence
    require(0 < sure < 1, f"--confidence must be above 0 and below 1, got {confidence}")
    pointless = confidence is not None and target_speedup is not None
    require(not pointless, "--confidence belongs to --max-drop; --target-speedup promises nothing: leave it out")
    if policy is None:
        require(not fixed, f"--{next(iter(fixed), '')} needs --policy")
        return
    entry = POLICIES.get(policy)
    others = ", ".join(name for name in POLICIES if name not in ("static", "oracle"))
    require("labels" not in entry.needs, f"policy {policy!r} looks at the labels of the answers: use one of {others}")
    require(policy != "static", f"policy 'static' has no threshold to calibrate: use one of {others}")
    free = [name for name in inspect.signature(entry.sweep).parameters if name not in ("logits", "points", "certainty")]
    for name in fixed:
        able = f"it takes {', '.join(free)}" if free else "it takes none of the policy's parameters"
        require(name in free, f"calibrate chooses the setting of policy {policy!r}, so {name} cannot be given; {able}")


def calibrate(
    session: Session,
    policy: str | None = None,
    *,
    split: str = "dev",
    max_drop: float | None = None,
    confidence: float | None = None,
    target_speedup: float | None = None,
    temperature: bool = False,
    fixed: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Choose a setting of `policy` on the rows of `split`; temperatures stored in the model play no part.

    Args:
        policy: name in `POLICIES`; None: cobee, patience for regression.
        max_drop: largest risk allowed; 0.01 when `target_speedup` is not given either.
        confidence: of the promise; None: 0.95.
        target_speedup: E / mean executed layers to reach.
        temperature: fit one temperature per exit first.
        fixed: arguments of the policy's `sweep`, e.g. `{"patience": 2}` for COBEE.

    Returns:
        What `exitnas calibrate --json` prints: `policy` (`name, parameters, calibration`) and `temperatures` as they
        go into the model's config, and the settings `tested`, slowest first (see `within_drop`).

    Raises:
        UsageError: a bad request.
        ExitnasError: no setting qualifies; names the nearest.
    """
    fixed = fixed or {}
    check_request(policy, fixed, max_drop=max_drop, target_speedup=target_speedup, confidence=confidence)
    spec, model = session.data.spec, session.model
    policy = policy or ("patience" if spec.regression else "cobee")
    check_policies(model, spec, [policy])
    require(not (temperature and spec.regression), "--temperature is for classes, this model is a regression: leave it")
    model.config.temperatures = None
    rows = outputs(session, session.data.dev if split == "dev" else session.data.test)
    temperatures, fitted = None, 0
    if temperature:
        fit, rows = halves(rows) if target_speedup is None else (rows, rows)
        temperatures, fitted = exit_temperatures(fit.logits, torch.from_numpy(fit.labels)), len(fit)
        rows = rows.tempered(temperatures)
    record: dict[str, Any]
    if target_speedup is not None:
        settings = POLICIES.get(policy).sweep(rows.logits, 100, certainty=rows.certainty, **fixed)
        chosen, tested = best_at(settings, rows, spec.metric, target_speedup)
        record = {"goal": "target_speedup", "target_speedup": target_speedup}
    else:
        drop, sure = 0.01 if max_drop is None else max_drop, confidence or 0.95
        grid = grid_outputs(session)
        settings = slow_to_fast(policy, grid.tempered(temperatures) if temperatures else grid, **fixed)
        span = _span(session) if spec.regression else None
        chosen, tested = within_drop(settings, rows, spec.metric, drop, sure, span)
        record = {"goal": "max_drop", "max_drop": drop, "confidence": sure, "loss": loss_name(span)}
        record |= {name: chosen[name] for name in ("drop", "p_value")}
    record |= {"task": spec.name, "metric": spec.metric, "split": split, "rows": len(rows)}
    record |= {"temperature_rows": fitted or None}
    record |= {name: chosen[name] for name in ("score", "mean_exit", "layer_speedup")}
    record |= {"full_score": rows.point(rows.off(), spec.metric).score, "version": __version__}
    stored = {"name": policy, "parameters": chosen["parameters"], "calibration": record}
    return {"policy": stored, "temperatures": temperatures, "tested": tested}


def outputs(session: Session, rows: Split) -> Outputs:
    """All exits of the session's model on `rows`."""
    settings, model = session.settings, session.model
    regression = session.data.spec.regression
    encoded = encode(rows, session.tokenizer, settings["max_length"], regression)
    device = next(model.parameters()).device
    logits, certainty = all_outputs(model, encoded, settings["batch_size"], device, settings["precision"])
    if not bool(logits.isfinite().all()):
        raise ExitnasError("the model's exits answer with numbers that are not finite: retrain it, then calibrate")
    kind = np.float64 if regression else np.int64
    return Outputs(logits, np.asarray(rows.labels, dtype=kind), certainty, rows.parts)


def grid_outputs(session: Session) -> Outputs:
    """All exits on at most `GRID_ROWS` training rows, evenly spaced: what settings are spread over."""
    train = session.data.train
    return outputs(session, train.take(np.linspace(0, len(train) - 1, min(GRID_ROWS, len(train))).round()))


def halves(rows: Outputs) -> tuple[Outputs, Outputs]:
    """Two random halves, the same every time."""
    require(len(rows) >= 2, f"--temperature splits the rows in two halves: expected at least 2 rows, got {len(rows)}")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(HALVES_SEED))
    return rows.take(order[: len(order) // 2]), rows.take(order[len(order) // 2 :])


def _span(session: Session) -> float:
    """Largest minus smallest valid label: the task's range, else that of the training labels."""
    given = session.data.spec.value_range
    low, high = given if given is not None else (min(session.data.train.labels), max(session.data.train.labels))
    require(
        high > low,
        "--max-drop needs the label's range, and all training labels are equal: "
        "train with value_range in the task's file, or use --target-speedup",
    )
    return float(high - low)
