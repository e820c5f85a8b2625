"""Score against measured time: every policy's curve, and the truncated encoders that early exit has to beat.

    exitnas baseline truncated --task rte --backbone minilm-l6 --data-dir glue --layers 1,2,3,4,5,6 -o runs/cut-rte
    python experiments/tradeoff_curves.py --model runs/rte-mha --truncated runs/cut-rte --output runs/curves-rte

Scores are those of the whole split. Every point is timed, at batch 1 on `--rows` rows of the split, all points, the
baselines and the stock model in turns, medians over `--rounds` after a warm-up. Settings are a policy's sweep over the
observed logits; labels choose nothing. Writes `tradeoff.json`, `tradeoff.csv`, `tradeoff.svg` and `tradeoff.png`.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from exitnas.drawing.tradeoff import draw_tradeoff
from exitnas.errors import ExitnasError, UsageError
from exitnas.files import write_json
from exitnas.inference.contestants import Baseline, describe, open_baseline, stock
from exitnas.inference.curves import COLUMNS, write_curves
from exitnas.inference.evaluate import check_policies
from exitnas.inference.session import Session
from exitnas.inference.speed import early_exit, measure_speed
from exitnas.machine import describe_machine
from exitnas.policies.base import Policy, make_policy, no_early_exit
from exitnas.reporting.progress import Reporter

POLICIES = ("cobee", "patience", "voting", "entropy", "max_prob", "lte")
MEASURED = ("milliseconds", "speedup", "timed_layer_speedup")


def baseline_runs(folders: tuple[str, ...], runs: tuple[str, ...]) -> list[str]:
    """The runs given, and every `layers-K` in the folders given."""
    found = list(runs)
    for folder in folders:
        inside = sorted(Path(folder).glob("layers-*"), key=lambda path: (len(path.name), path.name))
        if not inside:
            raise UsageError(
                f"--truncated {folder}: holds no layers-K; expected an output of `exitnas baseline truncated`"
            )
        found += [str(path) for path in inside]
    return found


def measure(
    session: Session, baselines: list[Baseline], names: list[str], split: str, points: int, rows: int, rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """Per series its points: those of `tradeoff.Point` and what was measured."""
    evaluation = session.evaluation()
    data, model = evaluation.splits[split][0], session.model
    full = no_early_exit(len(model.exits))
    series: list[tuple[str, dict[str, Any]]] = [("all layers", asdict(evaluation.point(full, split)))]
    settings: list[Policy] = [full]
    for name in names:
        for point in evaluation.curve(name, split, points=points):
            series.append((name, asdict(point)))
            settings.append(make_policy(name, point.parameters))
    contestants = [
        stock(model.backbone, session.data.spec.num_labels, data),
        *(early_exit(describe(policy), model, data, policy) for policy in settings),
        *(early_exit(baseline.name, baseline.model, baseline.data, baseline.policy) for baseline in baselines),
    ]
    for baseline in baselines:
        record = {**baseline.record(), "name": "/".join(Path(baseline.name).parts[-2:])}
        speedup = len(model.exits) / record["layers"]
        series.append(("truncated", {**record, "mean_exit": float(record["layers"]), "layer_speedup": speedup}))
    device, precision = next(model.parameters()).device, session.settings["precision"]
    speeds = measure_speed(contestants, device, samples=rows, rounds=rounds, precision=precision)[1:]
    found: dict[str, list[dict[str, Any]]] = {}
    for (name, point), speed in zip(series, speeds, strict=True):
        measured = (1000 / speed.rows_per_second, speed.speedup, speed.layer_speedup)
        found.setdefault(name, []).append({**point, **dict(zip(MEASURED, measured, strict=True))})
    return found


def draw(output: Path, found: dict[str, list[dict[str, Any]]], title: str, metric: str) -> None:
    """The picture as SVG and PNG."""
    curves = {
        name: [(point["milliseconds"], point["score"]) for point in points]
        for name, points in found.items()
        if name not in ("all layers", "truncated")
    }
    marks = {
        "truncated, fine-tuned alone": [
            (point["milliseconds"], point["score"], f"{point['layers']}") for point in found.get("truncated", [])
        ],
        "multi-exit, all layers": [(p["milliseconds"], p["score"], "") for p in found["all layers"]],
    }
    for suffix in ("svg", "png"):
        points = {name: values for name, values in marks.items() if values}
        draw_tradeoff(output / f"tradeoff.{suffix}", curves, points, title=title, y_label=metric)


def run(
    model: str,
    policies: str,
    split: str,
    truncated: tuple[str, ...],
    baselines: tuple[str, ...],
    points: int,
    rows: int,
    rounds: int,
    output: Path,
    **values: Any,
) -> None:
    """Measure everything, write data and pictures."""
    report = Reporter()
    session = Session.open(model, **values)
    able = session.policies()
    names = policies.split(",") if policies else [name for name in POLICIES if name in able]
    check_policies(session.model, session.data.spec, names)
    others = [open_baseline(path, session, split) for path in baseline_runs(truncated, baselines)]
    report.line(f"data: {session.data.source} {session.data.sizes}")
    found = measure(session, others, names, split, points, rows, rounds)
    spec, device = session.data.spec, next(session.model.parameters()).device
    machine = describe_machine(device, session.settings["precision"])
    record = {
        "model": Path(model).name,
        "task": spec.name,
        "metric": spec.metric,
        "split": split,
        "rows_timed": rows,
        "rounds": rounds,
        "machine": machine,
        "series": found,
    }
    write_json(output / "tradeoff.json", record)
    flat = {
        name: [{"policy": name, "macs": None, "parameters": {}, **point, "series": name} for point in points_]
        for name, points_ in found.items()
    }
    write_curves(output / "tradeoff.csv", flat, ("series", *COLUMNS, *MEASURED))
    draw(output, found, f"{spec.name} ({split}), {machine['name']}, {machine['threads']} thread(s)", spec.metric)
    click.echo(f"{output}: tradeoff.json, tradeoff.csv, tradeoff.svg, tradeoff.png")


@click.command()
@click.option("--model", required=True, help="Run directory of exitnas retrain, or its model/.")
@click.option("--truncated", multiple=True, help="Output folder of exitnas baseline truncated; repeat.")
@click.option("--baseline", "baselines", multiple=True, help="A single run to draw as a point; repeat.")
@click.option("--policies", help=f"Names, separated by commas.  [{', '.join(POLICIES)}, where the model can]")
@click.option("--task", help="Task.  [the model's]")
@click.option("--data-dir", help="Folder with the task's data files.  [the model's]")
@click.option("--split", type=click.Choice(["test", "dev"]), default="test", show_default=True)
@click.option("--points", type=int, default=12, show_default=True, help="Settings per policy.")
@click.option("--rows", type=int, default=64, show_default=True, help="Rows to time every point on.")
@click.option("--rounds", type=int, default=3, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--output", type=Path, required=True)
def main(**values: Any) -> None:
    """Draw score against measured time."""
    try:
        run(**values)
    except ExitnasError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
