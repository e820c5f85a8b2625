"""`exitnas tune`, `tune show` and `tune best`."""

from typing import Any

import click

from exitnas.cli import options, render


@click.group("tune", invoke_without_command=True)
@options.task
@options.backbone
@click.option("--space", metavar="NAME|FILE.yaml", help="Search space of the exits, see `exitnas list spaces`.  [leco]")
@click.option("--tuning-space", metavar="FILE.yaml", help="Which settings vary, over what.  [default]")
@options.data_dir
@click.option("--name", metavar="NAME", help="Of the study; one that exists is gone on with.  [tune-TASK-TUNINGSPACE]")
@click.option("--output", "-o", metavar="DIR", help="Folder of the study and its runs.  [runs/NAME]")
@click.option(
    "--storage",
    metavar="FILE|URL",
    help="Journal file or database URL (sqlite:///FILE, postgresql+psycopg://…); or EXITNAS_STORAGE.  [journal]",
)
@click.option(
    "--trials", type=click.IntRange(min=1), metavar="N", help="Trials to add.  [20, or what --timeout allows]"
)
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Start no trial after S seconds.")
@click.option(
    "--workers", type=click.IntRange(1, 1024), default=1, metavar="N", help="Processes; they share the cores.  [1]"
)
@click.option(
    "--goal",
    "goals",
    multiple=True,
    metavar="NAME",
    help="avg, best (on dev), macs, parameters, latency (of exits); several make a front.  [avg]",
)
@click.option("--search-only", is_flag=True, default=None, help="Judge the supernet; do not retrain.")
@click.option("--pruner", metavar="NAME", help="median or none: stop bad trials early.  [median]")
@click.option(
    "--set",
    "fixed",
    multiple=True,
    type=options.NamedValue(),
    metavar="[search.|retrain.]NAME=VALUE",
    help="Fix any setting, of both runs of a trial or of one; repeat.",
)
@click.option(
    "--heartbeat",
    type=click.IntRange(min=1),
    default=30,
    metavar="S",
    help="Databases: seconds between signs of life.  [30]",
)
@click.option("--take-over", is_flag=True, help="Queue again what still counts as running: its workers are gone.")
@options.training
@options.as_json
@options.quiet
@click.pass_context
def command(ctx: click.Context, **values: Any) -> None:
    """Tune the settings of search and retraining with Optuna.

    Every trial is a search and a retraining of what it found, in run directories under the study's folder; the first
    takes the default settings. Settings given as flags are fixed for all trials. The same command again, or --name
    alone, adds trials. Trials of killed workers are queued again: at once on the same machine, after two heartbeats
    elsewhere with a database.

    Examples:

      exitnas tune --task mrpc --backbone minilm-l6 --data-dir glue --trials 16 --workers 2

      exitnas tune --task mrpc --backbone minilm-l6 --data-dir glue --goal avg --goal macs --name front

      exitnas tune show runs/tune-mrpc-default

      exitnas tune best runs/tune-mrpc-default -o best
    """
    if ctx.invoked_subcommand is not None:
        return
    as_json, quiet = values.pop("as_json"), values.pop("quiet")
    from exitnas.reporting.progress import Reporter
    from exitnas.tuning import GOALS

    goals = tuple(GOALS.check(goal) for goal in values.pop("goals")) or None
    _check_optuna()
    from exitnas.tuning.fixed import fixed_settings
    from exitnas.tuning.space import load_tuning_space
    from exitnas.tuning.study import Request, tune

    own = {key: values.pop(key) for key in ("name", "storage", "search_only", "pruner", "heartbeat")}
    run = {key: values.pop(key) for key in ("trials", "timeout", "workers", "take_over")}
    folder, space, given = values.pop("output"), values.pop("tuning_space"), values.pop("fixed")
    if run["trials"] is None and run["timeout"] is None:
        run["trials"] = 20
    request = Request(
        task=values["task"],
        folder=folder,
        goals=goals,
        space=None if space is None else load_tuning_space(space),
        fixed=fixed_settings(values, given),
        seed=values["seed"],
        **own,
    )
    summary = tune(request, Reporter(quiet), **run)
    if as_json:
        render.print_json(summary)
        return
    _show(summary)
    if not summary["front"]:
        click.echo("no trial is complete yet")
    elif len(summary["goals"]) == 1:
        click.echo(f"next: exitnas tune best {summary['folder']}")
    else:
        front = ", ".join(map(str, summary["front"]))
        click.echo(f"next: exitnas tune best {summary['folder']} --trial N, with N from the front: {front}")


study = click.argument("study", metavar="STUDY")
name = click.option("--name", metavar="NAME", help="Of the study, where STUDY is a storage.")
storage = click.option(
    "--storage",
    metavar="URL",
    help="Where the study of a folder is kept, if in a database with a password; or EXITNAS_STORAGE.",
)


@command.command("show")
@study
@name
@storage
@options.as_json
def show(study: str, name: str | None, storage: str | None, as_json: bool) -> None:
    """Show the trials of STUDY, the importance of its parameters and its Pareto front.

    STUDY is the folder of a study, or a journal file or database URL (with --name where that holds several).
    """
    _check_optuna()
    from exitnas.tuning.find import look

    summary = look(study, name, storage)
    if as_json:
        render.print_json(summary)
        return
    _show(summary)


@command.command("best")
@study
@name
@storage
@click.option("--trial", type=int, metavar="N", help="This trial instead of the best.")
@click.option("--output", "-o", metavar="DIR", help="Folder to write into.  [the study's]")
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@options.as_json
def best(
    study: str,
    name: str | None,
    storage: str | None,
    trial: int | None,
    output: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the winning settings of STUDY as best-search.yaml and best-retrain.yaml, for --config.

    Example: exitnas tune best runs/tune-mrpc-default && exitnas search --config runs/tune-mrpc-default/best-search.yaml
    """
    _check_optuna()
    from exitnas.tuning.find import write_best

    written = write_best(study, name, storage, trial, output, overwrite)
    if as_json:
        render.print_json(written)
        return
    shown = " ".join(f"{goal} {value:.6g}" for goal, value in (written["values"] or {}).items())
    click.echo(f"trial {written['trial']}: {shown}\nwritten: {', '.join(written['files'])}")
    click.echo(f"next: exitnas search --config {written['files'][0]} -o runs/best-search")
    if len(written["files"]) > 1:
        click.echo(f"      exitnas retrain runs/best-search --config {written['files'][1]} -o runs/best-retrain")


def _check_optuna() -> None:
    """Refuse in one line when Optuna is not installed."""
    from importlib.util import find_spec

    from exitnas.errors import ExitnasError

    if find_spec("optuna") is None:
        raise ExitnasError('tuning needs the package optuna: pip install "exitnas[tune]"')


def _show(summary: dict[str, Any]) -> None:
    """Trials, importances, front and the dashboard's command."""
    from exitnas.tuning.summary import goal_value

    goals = [goal["name"] for goal in summary["goals"]]
    names = list(dict.fromkeys(key for trial in summary["trials"] for key in trial["parameters"]))
    rows = []
    for trial in summary["trials"]:
        values = [goal_value(g, trial["values"][g]) if trial["values"] else "-" for g in goals]
        drawn = (f"{key}={_short(trial['parameters'][key])}" for key in names if key in trial["parameters"])
        note = trial["reason"] or (f"again {trial['retry_of']}" if trial["retry_of"] is not None else "")
        mark = "*" if trial["number"] in summary["front"] else ""
        state = f"{trial['state']}{mark}"
        rows.append([str(trial["number"]), state, *values, f"{trial['seconds']:.0f}", " ".join(drawn), note])
    directions = ", ".join(f"{goal['direction']} {goal['name']}" for goal in summary["goals"])
    title = f"{summary['study']}: {summary['task']}, {directions}, tuning space {summary['tuning_space']}"
    note = ("* best" if len(goals) == 1 else "* on the Pareto front") if summary["front"] else ""
    render.print_table(title, ["trial", "state", *goals, "seconds", "parameters", "note"], rows, note)
    shown = {goal: found for goal, found in summary["importances"].items() if found}
    if shown:
        largest = {key: max(f.get(key, 0.0) for f in shown.values()) for f in shown.values() for key in f}
        keys = sorted(largest, key=lambda key: -largest[key])
        table = [[key, *(f"{shown[goal].get(key, 0):.2f}" for goal in shown)] for key in keys]
        render.print_table("Importance of parameters (shares of the variance)", ["parameter", *shown], table)
    click.echo(f"dashboard: {summary['dashboard']}")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
