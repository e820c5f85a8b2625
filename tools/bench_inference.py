"""Whether fewer layers are less time: early exit on the clock, against the stock transformers model.

For a trained model (a run of `exitnas retrain`), on its task's rows:

1. batch 1: the time of a policy that reads every exit and lets nobody leave, over the stock model's (wanted: at most
   1.06); and per policy the measured speed-up over the speed-up in layers (wanted: at least 0.95);
2. larger batches: per policy the throughput gain over the gain in layers (wanted at batch 32: at least 0.90).

Every policy runs at the setting of its curve on dev that executes about half the layers (`--share`). Contestants take
turns batch by batch, warm-up is not counted, medians over rounds; layers are counted on the rows timed.

    python tools/bench_inference.py --model runs/rte-mha --data-dir glue --rounds 5 --output runs/bench-rte
    python tools/bench_inference.py --model runs/rte-mha --device cuda --batch-sizes 1,32,256 --precision bf16

`--output FOLDER` gets `inference.json` and `inference.md`.
"""

from pathlib import Path
from typing import Any

import click

from exitnas.errors import ExitnasError, UsageError
from exitnas.files import write_json, write_text
from exitnas.inference.contestants import open_baseline, speed_report
from exitnas.inference.evaluate import Evaluation, check_policies
from exitnas.inference.session import Session
from exitnas.policies import POLICIES
from exitnas.policies.base import Policy, make_policy

NOBODY_LIMIT, SINGLE_LIMIT, BATCH_LIMIT = 1.06, 0.95, 0.90


def near(evaluation: Evaluation, name: str, layers: float) -> Policy:
    """The setting of a policy whose mean exit layer on dev is nearest to `layers`."""
    curve = evaluation.curve(name, "dev", points=50)
    return make_policy(name, min(curve, key=lambda point: abs(point.mean_exit - layers)).parameters)


def judge(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `speed_report` with what it is measured by: time over stock, measured over layer speed-up."""
    batch_1 = row["batch_size"] == 1
    over_stock = 1 / row["speedup"]
    efficiency = row["speedup"] / row["layer_speedup"]
    wanted = None
    if row["kind"] == "nobody leaves" and batch_1:
        wanted = {"what": f"time at most {NOBODY_LIMIT}", "met": over_stock <= NOBODY_LIMIT}
    elif row["kind"] == "policy":
        limit = SINGLE_LIMIT if batch_1 else BATCH_LIMIT
        wanted = {"what": f"ratio at least {limit:.2f}", "met": efficiency >= limit}
    return {**row, "time_over_stock": over_stock, "measured_over_layers": efficiency, "wanted": wanted}


def numbers(text: str) -> list[int]:
    """Batch sizes from `"1,32"`.

    Raises:
        UsageError: not whole numbers of at least 1, separated by commas.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise UsageError(f"--batch-sizes: expected whole numbers of at least 1, such as 1,32, got {text!r}")
    return [int(part) for part in parts]


def table(result: dict[str, Any]) -> str:
    """The figures in Markdown."""
    lines = [
        "| batch | model | median ms | p95 ms | rows/s | time / stock | speed-up | in layers | ratio | wanted |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in result["speed"]:
        wanted = row["wanted"]
        verdict = "" if wanted is None else f"{wanted['what']}: {'met' if wanted['met'] else 'missed'}"
        lines.append(
            f"| {row['batch_size']} | {row['name']} | {row['median_ms']:.2f} | {row['p95_ms']:.2f} "
            f"| {row['rows_per_second']:.1f} | {row['time_over_stock']:.3f} | {row['speedup']:.2f} "
            f"| {row['layer_speedup']:.2f} | {row['measured_over_layers']:.3f} | {verdict} |"
        )
    machine, rows = result["machine"], {row["batch_size"]: row["rows"] for row in result["speed"]}
    counts = ", ".join(f"{count} at batch {size}" for size, count in rows.items())
    lines += [
        "",
        f"{result['task']}, {result['split']}, {result['tokens']:.0f} tokens a row on average; rows timed: {counts}; "
        f"medians of {result['rounds']} rounds; {machine['name']}, {machine['precision']}, "
        f"{machine['threads']} thread(s), torch {machine['torch']}.",
        "",
    ]
    return "\n".join(lines)


def bench(
    model: str,
    policies: str,
    batch_sizes: str,
    split: str,
    share: float,
    rows: int,
    rounds: int,
    baselines: tuple[str, ...],
    output: Path | None,
    **values: Any,
) -> None:
    """Measure, print the table, write the files."""
    sizes = numbers(batch_sizes)
    session = Session.open(model, **values)
    names = policies.split(",") if policies else [name for name in session.policies() if name != "static"]
    for name in names:
        POLICIES.check(name)
    check_policies(session.model, session.data.spec, names)
    others = [open_baseline(path, session, split) for path in baselines]
    evaluation = session.evaluation()
    layers = share * len(session.model.exits)
    chosen = [near(evaluation, name, layers) for name in names]
    data = evaluation.splits[split][0]
    report = speed_report(session, data, chosen, others, batch_sizes=sizes, samples=rows, rounds=rounds)
    result = {
        "model": Path(model).name,
        "task": session.data.spec.name,
        "split": split,
        "tokens": data.mean_length(),
        "rounds": rounds,
        **report,
        "speed": [judge(row) for row in report["speed"]],
    }
    click.echo(table(result))
    if output is not None:
        write_json(output / "inference.json", result)
        write_text(output / "inference.md", table(result))


@click.command()
@click.option("--model", required=True, help="Run directory of exitnas retrain, or its model/.")
@click.option("--task", help="Task.  [the model's]")
@click.option("--data-dir", help="Folder with the task's data files.  [the model's]")
@click.option("--policies", help="Names, separated by commas.  [all the model can run, but static]")
@click.option("--batch-sizes", default="1,32", show_default=True)
@click.option("--split", type=click.Choice(["test", "dev"]), default="test", show_default=True)
@click.option("--share", type=float, default=0.5, show_default=True, help="Share of the layers to execute, about.")
@click.option("--rows", type=int, default=128, show_default=True, help="Rows at batch 1; else at least 8 batches.")
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--baseline", "baselines", multiple=True, help="Another model to time; repeat.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--output", type=Path, help="Folder for inference.json and inference.md.")
def main(**values: Any) -> None:
    """Measured speed against speed in layers."""
    try:
        bench(**values)
    except ExitnasError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
