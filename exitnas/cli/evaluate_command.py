"""`exitnas evaluate`."""

from typing import Any

import click

from exitnas.cli import options, render


@click.command("evaluate")
@click.argument("model", type=click.Path())
@click.option("--policy", "names", multiple=True, metavar="NAME", help="Policy to report; may be repeated.  [all]")
@options.policy_parameters
@click.option("--max-drop", type=float, help="Dev score a chosen setting may lose.  [0.01, or the stored setting]")
@click.option("--split", type=click.Choice(["test", "dev"]), default="test", show_default=True)
@options.task
@options.data_dir
@options.batch_size
@options.limit_eval
@options.device
@options.precision
@options.offline
@click.option("--time-samples", type=int, default=64, show_default=True, help="Rows to time at batch 1; 0: no timing.")
@click.option("--time-rounds", type=int, default=3, show_default=True, help="Repetitions of the timing.")
@click.option("--speed", is_flag=True, help="Time everything against the stock transformers model too.")
@click.option("--speed-batch-size", type=int, default=32, show_default=True, help="Timed besides 1 with --speed.")
@click.option("--baseline", "baselines", multiple=True, metavar="RUN", help="Model to time beside it; repeat.")
@click.option("--curves", "curve_file", metavar="FILE.csv", help="Write every policy's trade-off curve as CSV.")
@options.as_json
@options.quiet
def command(
    model: str,
    names: tuple[str, ...],
    max_drop: float | None,
    split: str,
    speed: bool,
    speed_batch_size: int,
    baselines: tuple[str, ...],
    **values: Any,
) -> None:
    """Evaluate MODEL: every exit, the exit policies' trade-off curves, measured speed.

    MODEL is a run directory of `exitnas retrain` or its model/. A policy given with its parameters is reported at that
    setting. Without parameters and --max-drop the setting that `exitnas calibrate` stored for it is used, or else the
    fastest setting on dev within --max-drop of the last exit. Curves come from one pass over the data;
    speed is wall-clock at batch 1 against the same model with early exit off (the ratio).

    --speed also measures latency and throughput at batch 1 and at --speed-batch-size, in turns with the stock
    transformers model without exits and with every --baseline (`exitnas baseline`).

    Example: exitnas evaluate runs/retrain-rte-leco --policy cobee --tau 0.1
    """
    fixed = options.take_policy_parameters(values)
    as_json, curve_file = values.pop("as_json"), values.pop("curve_file")
    samples, rounds = values.pop("time_samples"), values.pop("time_rounds")
    if fixed and len(names) != 1:
        raise click.UsageError(f"--{next(iter(fixed))} needs exactly one --policy, got {len(names)}")
    if samples < 0 or rounds < 1:
        raise click.UsageError("--time-samples must be at least 0 and --time-rounds at least 1")
    if max_drop is not None and not max_drop >= 0:
        raise click.UsageError(f"--max-drop must be at least 0 (0.01 is one point of score), got {max_drop}")
    if speed_batch_size < 1:
        raise click.UsageError(f"--speed-batch-size must be at least 1, got {speed_batch_size}")
    if baselines and not speed:
        raise click.UsageError("--baseline is timed with --speed only: add --speed")
    if speed and not samples:
        raise click.UsageError("--speed times --time-samples rows: expected at least 1, got 0")
    from exitnas.files import check_writable
    from exitnas.inference.evaluate import check_policies
    from exitnas.inference.session import Session
    from exitnas.policies import POLICIES
    from exitnas.policies.base import make_policy
    from exitnas.reporting.progress import Reporter

    for name in names:
        POLICIES.check(name)
    given = make_policy(names[0], fixed) if fixed else None
    report = Reporter(values.pop("quiet"))
    session = Session.open(model, **values)
    check_policies(session.model, session.data.spec, [given] if given else names)
    if curve_file:
        check_writable(curve_file)
    report.line(f"data: {session.data.source} {session.data.sizes}")
    if speed:
        from exitnas.inference.contestants import open_baseline, speed_report

        others = [open_baseline(path, session, split) for path in baselines]
    evaluation = session.evaluation()
    chosen = [given] if given else [evaluation.chosen(name, max_drop) for name in names or session.policies()]
    result = evaluation.report(chosen, split=split, samples=samples, rounds=rounds)
    if speed:
        report.line("timing")
        sizes, data = (1, speed_batch_size), evaluation.splits[split][0]
        result |= speed_report(session, data, chosen, others, batch_sizes=sizes, samples=samples, rounds=rounds)
    if curve_file:
        from exitnas.inference.curves import write_curves

        write_curves(curve_file, result["curves"])
    if as_json:
        render.print_json(result)
        return
    title = f"{result['task']} ({result['metric']}, {split}): AVG {render.percent(result['avg'])}, "
    title += f"BEST {render.percent(result['best'])} at exit {result['best_exit']}"
    render.exits_table(title, session.model.config.read_genotype(), session.costs(evaluation.tokens), result["exits"])
    policy_table(result)
    if speed:
        speed_table(result)


def speed_table(result: dict[str, Any]) -> None:
    """One row per contestant and batch size, the stock model first."""
    scores = {baseline["name"]: render.percent(baseline["score"]) for baseline in result["baselines"]}
    rows = [
        [
            f"{row['batch_size']}",
            row["name"],
            scores.get(row["name"], "-"),
            f"{row['median_ms']:.2f}",
            f"{row['p95_ms']:.2f}",
            f"{row['rows_per_second']:.1f}",
            f"{row['speedup']:.2f}x",
            f"{row['layer_speedup']:.2f}x",
        ]
        for row in result["speed"]
    ]
    columns = ["batch", "model", "score", "median ms", "p95 ms", "rows/s", "speed-up", "layer speed-up"]
    machine = result["machine"]
    note = f"Latency per batch; speed-ups against the stock model; {machine['name']}, {machine['precision']}, "
    note += f"{machine['threads']} thread(s), torch {machine['torch']}"
    render.print_table("Speed", columns, rows, note)


def policy_table(result: dict[str, Any]) -> None:
    """One row per policy at its setting, the full model first."""
    exits, full = len(result["exits"]), result["full"]
    rows = [
        [
            "full model",
            "-",
            render.percent(full["score"]),
            f"{exits:.2f}",
            "1.00x",
            f"{full['macs'] / 1e6:.0f}",
            "1.00x",
        ]
    ]
    for row in result["policies"]:
        measured = "-" if row["wall_clock_speedup"] is None else f"{row['wall_clock_speedup']:.2f}x"
        rows.append(
            [
                row["policy"],
                render.parameters(row["parameters"]) + (" (stored)" if row["stored"] else ""),
                render.percent(row["score"]),
                f"{row['mean_exit']:.2f}",
                f"{row['layer_speedup']:.2f}x",
                f"{row['macs'] / 1e6:.0f}",
                measured,
            ]
        )
    columns = ["policy", "setting", "score", "mean layers", "layer speed-up", "MMACs", "wall-clock speed-up"]
    note = "Speed-ups are ratios, early exit off over on; wall-clock at batch 1 on " + result["machine"]["device"]
    render.print_table("Exit policies", columns, rows, note)
