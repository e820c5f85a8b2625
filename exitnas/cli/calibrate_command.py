"""`exitnas calibrate`."""

from typing import Any

import click

from exitnas.cli import options, render


@click.command("calibrate")
@click.argument("model", type=click.Path())
@click.option("--policy", metavar="NAME", help="Policy to choose a setting of.  [cobee; patience for regression]")
@options.policy_parameters
@click.option("--max-drop", type=float, help="Accuracy that early exit may lose: 0.01 is one point.  [0.01]")
@click.option("--confidence", type=float, help="Of the promise that it loses no more on other rows.  [0.95]")
@click.option("--target-speedup", type=float, help="Instead: the best score at this speed-up in layers; no promise.")
@click.option("--temperature", is_flag=True, help="Scale the exits' logits first, for --max-drop by half of the rows.")
@click.option("--clear", is_flag=True, help="Remove the stored policy and temperatures: early exit off.")
@click.option("--split", type=click.Choice(["dev", "test"]), default="dev", show_default=True)
@options.task
@options.data_dir
@options.batch_size
@options.limit_eval
@options.device
@options.precision
@options.offline
@options.as_json
@options.quiet
def command(model: str, policy: str | None, clear: bool, **values: Any) -> None:
    """Choose how early MODEL may answer, on held-out rows, and store the choice in its directory.

    The fastest setting of the policy that loses at most --max-drop of the full model's accuracy is taken, with
    statistical confidence (Learn then Test); for regression it is the error gained as a share of the label's range.
    From then on predict and evaluate use it when no other is asked for. A parameter of the policy that is not chosen
    can be given, e.g. --patience 2 for cobee. If no setting qualifies, the nearest is named and nothing is stored.

    Examples:

      exitnas calibrate runs/retrain-sst2-leco --policy cobee --max-drop 0.01

      exitnas calibrate runs/retrain-sst2-leco --policy entropy --target-speedup 2
    """
    as_json, quiet = values.pop("as_json"), values.pop("quiet")
    fixed = options.take_policy_parameters(values)
    names = ("split", "max_drop", "confidence", "target_speedup", "temperature")
    wanted = {name: values.pop(name) for name in names}
    if clear and (policy or fixed or any(wanted[name] for name in names[1:])):
        raise click.UsageError("--clear stands alone: it removes what is stored")
    from exitnas.files import check_writable
    from exitnas.modeling.saving import model_directory, store_policy

    folder = model_directory(model)
    check_writable(folder / "config.json")
    if clear:
        store_policy(folder, None, None)
        if as_json:
            render.print_json({"policy": None, "temperatures": None})
        else:
            click.echo(f"{folder}: early exit off, nothing is stored")
        return
    from exitnas.inference.calibrate import calibrate, check_request
    from exitnas.inference.session import Session
    from exitnas.reporting.progress import Reporter

    goals = {name: wanted[name] for name in ("max_drop", "confidence", "target_speedup")}
    check_request(policy, fixed, **goals)
    report = Reporter(quiet)
    session = Session.open(model, **values)
    report.line(f"data: {session.data.source} {session.data.sizes}")
    result = calibrate(session, policy, fixed=fixed, **wanted)
    store_policy(folder, result["policy"], result["temperatures"])
    if as_json:
        render.print_json(result)
    else:
        choice_table(result)
        report.line(f"stored in {folder}: used from now on where no other policy is asked for")


def choice_table(result: dict[str, Any]) -> None:
    """The full model, the setting chosen and the next faster one that was looked at."""
    chosen, record = result["policy"], result["policy"]["calibration"]
    layers = record["mean_exit"] * record["layer_speedup"]
    rows = [["full model", "-", render.percent(record["full_score"]), "-", "-", f"{layers:.2f}", "1.00x"]]
    slower = [entry["parameters"] for entry in result["tested"]]
    following = slower.index(chosen["parameters"]) + 1
    for title, entry in zip(("chosen", "next faster"), result["tested"][following - 1 : following + 1], strict=False):
        rows.append(
            [
                title,
                render.parameters(entry["parameters"]),
                render.percent(entry["score"]),
                "-" if entry["drop"] is None else f"{100 * entry['drop']:.2f}",
                "-" if entry["p_value"] is None else f"{entry['p_value']:.2g}",
                f"{entry['mean_exit']:.2f}",
                f"{entry['layer_speedup']:.2f}x",
            ]
        )
    promise = "Chosen by score on these rows; it promises nothing about others"
    if record["goal"] == "max_drop":
        promise = f"With confidence {record['confidence']:g} it costs at most {record['max_drop']:g} "
        promise += f"({record['loss']}) on rows like these"
    if record["temperature_rows"] and record["goal"] == "max_drop":
        promise += f"; temperatures were fitted on {record['temperature_rows']} other rows"
    columns = ["", "setting", record["metric"], "cost %", "p-value", "mean layers", "layer speed-up"]
    title = f"{chosen['name']} on {record['rows']} {record['split']} rows of {record['task']}"
    render.print_table(title, columns, rows, promise)
