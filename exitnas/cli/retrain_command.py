"""`exitnas retrain`."""

from typing import Any

import click

from exitnas.cli import options, render


@click.command("retrain")
@click.argument("genotype", type=click.Path())
@options.task
@options.backbone
@options.training_plan
@options.data_dir
@options.output
@options.overwrite
@options.training
@click.option("--seeds", type=int, help="Train with this many seeds, for mean and deviation.  [1]")
@options.as_json
@options.quiet
def command(genotype: str, output: str | None, overwrite: bool, as_json: bool, quiet: bool, **values: Any) -> None:
    """Train the exits of GENOTYPE on a fresh encoder.

    GENOTYPE is a genotype.json or the run directory of a search. Task, backbone, data source and settings default to
    what the genotype records. The model directory is in Hugging Face layout.

    Examples:

      exitnas retrain runs/search-rte-leco/genotype.json --seeds 5

      exitnas retrain runs/search-rte-leco --recipe leebert -o runs/leebert

      exitnas retrain runs/search-rte-leco --objective mutual --objective-option temperature=2 --gradient ga_soft
    """
    from exitnas.cli.genotypes import load_genotype, recorded
    from exitnas.errors import UsageError
    from exitnas.reporting.progress import Reporter
    from exitnas.tasks import get_task
    from exitnas.training.runs import Run
    from exitnas.training.settings import RetrainSettings, make_settings

    found = load_genotype(genotype)
    options.take_plan_options(values)
    recipe = values.pop("recipe")
    given = {name: value for name, value in values.items() if value is not None}
    defaults = recorded(found, RetrainSettings, given.get("task"))
    if not (given.get("task") or defaults.get("task")):
        raise UsageError(f"{genotype}: records no task; name one with --task")
    if recipe is not None:
        from exitnas.objectives.recipes import apply_recipe

        task_name = get_task(given.get("task") or defaults["task"]).name
        given = apply_recipe(recipe, task_name, given, defaults)
    settings = make_settings(RetrainSettings, **{**defaults, **given})
    spec = get_task(settings.task)
    folder = "-".join(["retrain", spec.name, found.origin.space or "genotype", *([recipe] if recipe else [])])
    run = Run.create(output or f"runs/{folder}", overwrite=overwrite)
    from exitnas.training.retrain import retrain

    summary = retrain(settings, found, run, Reporter(quiet))
    if as_json:
        render.print_json(summary)
        return
    std = summary["std"]
    deviation = f" ± {100 * std['avg']:.1f} (AVG), ± {100 * std['best']:.1f} (BEST)" if std else ""
    title = (
        f"{spec.name} ({spec.metric}, test): AVG {render.percent(summary['avg'])}, "
        f"BEST {render.percent(summary['best'])}{deviation} over {settings.seeds} seed(s)"
    )
    render.exits_table(title, found, summary["costs"], summary["exits"])
    advice = ""
    if summary["policy"]:
        advice = f" --policy {summary['policy']['policy']}"
        advice += "".join(
            f" --{name}" if value is True else f" --{name} {value}"
            for name, value in summary["policy"]["parameters"].items()
        )
    click.echo(f"model: {summary['model']}\nnext: exitnas evaluate {run.path}{advice}")
