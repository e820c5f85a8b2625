"""Whether calibration keeps its promise: many calibration sets from one model's held-out rows, and what each chose.

    python experiments/calibration_promise.py --model runs/retrain-sst2-leco --data-dir glue \
        --splits 200 --max-drop 0.01 --confidence 0.95 --output experiments/results/calibration_promise.md

The held-out rows of the task, dev and test and with `--unseen N --limit-train M` also N training rows of which the
model, trained with `--limit-train M`, saw none, are one pool, whose exits are computed once. Training rows space the
settings. Calibration sets are as large as dev, drawn in two ways:

- *population*: with replacement, judged on the whole pool. The pool is then the population that the promise speaks of,
  and a setting's risk is its mean loss over the pool, known exactly.
- *split*: without replacement, judged on the rows left. Their measured cost scatters around the risk, and a lucky
  calibration set leaves unlucky rows: of n calibration and m test rows, 5 % can become the chance that a normal deviate
  exceeds 1.645 / sqrt(1 + n/m), 12 % when n = m. With m far above n it stays near 5 %.

The usual rule beside it takes the fastest setting whose cost measured on the calibration rows is small enough.
Writes Markdown and, beside it, JSON.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from exitnas.errors import ExitnasError, require
from exitnas.files import write_json, write_text
from exitnas.inference.calibrate import check_request, grid_outputs, outputs
from exitnas.inference.choice import Outputs, row_losses, slow_to_fast
from exitnas.inference.evaluate import check_policies
from exitnas.inference.risk import fixed_sequence, passed
from exitnas.inference.session import Session
from exitnas.inference.simulate import simulate
from exitnas.reporting.progress import Reporter
from exitnas.tasks.data import Split
from exitnas.tasks.splits import limit


@click.command()
@click.option("--model", required=True, help="Run directory of a classifier.")
@click.option("--task")
@click.option("--data-dir")
@click.option("--policies", default="cobee,entropy,max_prob,patience,voting", show_default=True)
@click.option("--splits", type=int, default=200, show_default=True)
@click.option("--max-drop", type=float, default=0.01, show_default=True)
@click.option("--confidence", type=float, default=0.95, show_default=True)
@click.option("--limit-eval", type=int, help="Use only so many dev and test rows.")
@click.option("--unseen", type=int, default=0, help="Add so many training rows the model did not see.")
@click.option("--limit-train", type=int, help="How many training rows it did see, as given to `exitnas retrain`.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--output", type=Path, required=True, help="FILE.md or FILE.json; both are written.")
def main(
    model: str,
    policies: str,
    splits: int,
    max_drop: float,
    confidence: float,
    unseen: int,
    limit_train: int | None,
    seed: int,
    output: Path,
    **values: Any,
) -> None:
    """Resample, calibrate, count."""
    report = Reporter()
    try:
        names = policies.split(",")
        for name in names:
            check_request(name, {}, max_drop=max_drop, confidence=confidence)
        session = Session.open(model, **values)
        check_policies(session.model, session.data.spec, names)
        session.model.config.temperatures = None
        report.line(f"data: {session.data.source} {session.data.sizes}")
        trained, others = seen_and_unseen(session, limit_train, unseen)
        parts = [outputs(session, rows) for rows in (session.data.dev, session.data.test, others) if len(rows)]
        grid = grid_outputs(replace(session, data=replace(session.data, train=trained)))
    except ExitnasError as error:
        raise click.ClickException(str(error)) from None
    sure = None if grid.certainty is None else torch.cat([p.certainty for p in parts if p.certainty is not None])
    pool = Outputs(torch.cat([p.logits for p in parts]), np.concatenate([p.labels for p in parts]), sure)
    rows = []
    for name in names:
        settings = slow_to_fast(name, grid)
        losses = np.stack(row_losses(settings, pool))
        layers = np.stack([simulate(s, pool.logits, certainty=pool.certainty).exits.numpy() for s in settings])
        for way in ("population", "split"):
            generator = np.random.default_rng(seed)
            draws = [draw(way, len(pool), len(parts[0]), generator) for _ in range(splits)]
            rows.append({"policy": name, "draws": way, **tally(losses, layers, draws, max_drop, confidence, pool)})
            report.line(f"{name}, {way}: {rows[-1]}")
    result = {
        "task": session.data.spec.name,
        "model": Path(model).name,
        "pool": len(pool),
        "calibration_rows": len(parts[0]),
        "splits": splits,
        "max_drop": max_drop,
        "confidence": confidence,
        "seed": seed,
        "full_accuracy": float((pool.logits[:, -1].argmax(-1).numpy() == pool.labels).mean()),
        "rows": rows,
    }
    write_json(output.with_suffix(".json"), result)
    write_text(output.with_suffix(".md"), table(result))
    click.echo(table(result))


def seen_and_unseen(session: Session, limit_train: int | None, count: int) -> tuple[Split, Split]:
    """Training rows as limited by `exitnas retrain --limit-train`, and `count` of the others that repeat none of them.

    Raises:
        UsageError: there are fewer.
    """
    train, saved = session.data.train, (session.model.config.exitnas or {}).get("data", {})
    trained = limit(train, limit_train, saved.get("split_seed", 42), "--limit-train")
    known = set(zip(trained.texts, trained.pairs or trained.texts, strict=True))
    keys = zip(train.texts, train.pairs or train.texts, strict=True)
    others = [index for index, key in enumerate(keys) if key not in known]
    require(count <= len(others), f"--unseen {count}: the model was trained on all but {len(others)} rows")
    return trained, train.take(np.array(others)[np.linspace(0, len(others) - 1, count).astype(int)] if count else [])


def draw(way: str, count: int, size: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Calibration rows and the rows on which the choice is judged."""
    if way == "population":
        return generator.integers(0, count, size), np.arange(count)
    order = generator.permutation(count)
    return order[:size], order[size:]


def tally(
    losses: np.ndarray,
    layers: np.ndarray,
    draws: list[tuple[np.ndarray, np.ndarray]],
    max_drop: float,
    confidence: float,
    pool: Outputs,
) -> dict[str, Any]:
    """What was chosen over all draws; where nothing qualified early exit stays off, at a drop of 0 and speed-up of 1.

    Args:
        losses, layers: [S, N] of S settings on the pool, slowest first.
    """
    exits = pool.logits.shape[1]
    drops: list[float] = []
    speedups: list[float] = []
    usual: list[float] = []
    chose = 0
    for calibration, judged in draws:
        drawn, means = losses[:, calibration], layers[:, calibration].mean(axis=1)
        count = passed(fixed_sequence(drawn, max_drop, confidence), confidence)
        chose += count > 0
        index = int(means[:count].argmin()) if count else None
        drops.append(0.0 if index is None else float(losses[index, judged].mean()))
        speedups.append(1.0 if index is None else float(exits / layers[index, judged].mean()))
        measured = np.where(drawn.mean(axis=1) <= max_drop, means, np.inf)
        fits = np.isfinite(measured).any()
        usual.append(float(losses[measured.argmin(), judged].mean()) if fits else 0.0)
    return {
        "chose": chose / len(draws),
        "exceeded": float(np.mean(np.array(drops) > max_drop)),
        "mean_drop": float(np.mean(drops)),
        "worst_drop": max(drops),
        "mean_speedup": float(np.mean(speedups)),
        "exceeded_measured": float(np.mean(np.array(usual) > max_drop)),
    }


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    share = f"{100 * result['confidence']:g} %"
    heads = (
        "policy",
        "draws",
        "exceeded %",
        "mean cost",
        "worst cost",
        "speed-up in layers",
        "chose %",
        "usual rule %",
    )
    lines = [
        f"# Calibration's promise on {result['task']}",
        "",
        f"Model `{result['model']}`, accuracy {100 * result['full_accuracy']:.1f} with all layers on its pool of "
        f"{result['pool']} rows; {result['splits']} calibration sets of {result['calibration_rows']} rows each, seed "
        f"{result['seed']}.",
        f"Promised: the accuracy lost is at most {100 * result['max_drop']:g} points in at least {share} of the draws; "
        "`usual rule`: how often that rule exceeds it.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
    ]
    for row in result["rows"]:
        cells = (
            row["policy"],
            row["draws"],
            f"{100 * row['exceeded']:.1f}",
            f"{100 * row['mean_drop']:.2f}",
            f"{100 * row['worst_drop']:.2f}",
            f"{row['mean_speedup']:.2f}",
            f"{100 * row['chose']:.0f}",
            f"{100 * row['exceeded_measured']:.1f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    text = __doc__ or ""
    return "\n".join([*lines, "", text[text.index("The held-out rows") : text.index("Writes Markdown")]])


if __name__ == "__main__":
    main()
