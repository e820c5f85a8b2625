"""`exitnas retrain`."""

from typing import TYPE_CHECKING, Any

import click

from exitnas.cli import options, render

if TYPE_CHECKING:
    from exitnas.cli.config_file import ConfigFile
    from exitnas.exits.genotype import Genotype
    from exitnas.settings import RetrainSettings


@click.command("retrain")
@click.argument("genotype", type=click.Path())
@options.task
@options.backbone
@options.config
@options.training_plan
@options.retraining
def command(genotype: str, config: str | None, **values: Any) -> None:
    """Train the exits of GENOTYPE on a fresh encoder.

    GENOTYPE is a genotype.json or the run directory of a search. Task, backbone, data source and settings default to
    what the genotype records. The model directory is in Hugging Face layout.

    A file given with --config has the flags' names as keys (epochs: 5), or is the config.json or the directory of
    another retraining. Flags come first, then --recipe, the file, a recipe that the file names, and last what the
    genotype records.

    Training that was interrupted goes on where it last saved its state when the same command is given with --resume,
    and ends as it would have.

    Examples:

      exitnas retrain runs/search-rte-leco/genotype.json --seeds 5

      exitnas retrain runs/search-rte-leco --recipe leebert -o runs/leebert

      exitnas retrain runs/search-rte-leco --objective mutual --objective-option temperature=2 --gradient ga_soft
    """
    from exitnas.cli.config_file import ConfigFile
    from exitnas.cli.genotypes import load_genotype
    from exitnas.errors import UsageError
    from exitnas.reporting.progress import Reporter
    from exitnas.settings import RetrainSettings
    from exitnas.tasks import get_task
    from exitnas.training.runs import Run

    found = load_genotype(genotype)
    options.take_plan_options(values)
    file = ConfigFile.read(config, "retrain", RetrainSettings)
    job = file.job_values(**options.take_job(values))
    given = {name: value for name, value in values.items() if value is not None}
    settings = _settings(found, genotype, file, given)
    recipe = settings.recipe
    spec = get_task(settings.task)
    folder = "-".join(["retrain", spec.name, found.origin.space or "genotype", *([recipe] if recipe else [])])
    run = Run.create(job["output"] or f"runs/{folder}", **options.of_a_run(job))
    from exitnas.training.retrain import retrain

    summary = retrain(settings, found, run, Reporter(job["quiet"]))
    if "of_layers" in summary:
        raise UsageError(f"--resume: {run.path} holds a baseline; choose another --output, or use exitnas baseline")
    if not run.writes:
        return
    if job["as_json"]:
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


def _settings(found: "Genotype", path: str, file: "ConfigFile", flags: dict[str, Any]) -> "RetrainSettings":
    """From flags, --recipe, the file, its recipe, and what the genotype at `path` records, in this order."""
    from exitnas.cli.genotypes import recorded
    from exitnas.errors import UsageError
    from exitnas.objectives.recipes import apply_recipe
    from exitnas.settings import RetrainSettings
    from exitnas.tasks import get_task

    chosen = file.under(flags)
    defaults = recorded(found, RetrainSettings, chosen.get("task"))
    task = chosen.get("task") or defaults.get("task")
    if not task:
        raise UsageError(f"{path}: records no task; name one with --task")
    if "recipe" in flags:
        recipe = flags["recipe"]
        chosen = {name: value for name, value in flags.items() if name != "recipe"}
        defaults |= file.without_plan().settings
    else:
        recipe = chosen.pop("recipe", None)
        defaults = {name: value for name, value in defaults.items() if name not in file.settings}
    if recipe is not None:
        try:
            chosen = apply_recipe(recipe, get_task(task).name, chosen, defaults)
        except UsageError as error:
            if "recipe" in flags:
                raise
            raise UsageError(f"{file.path}: {str(error).removeprefix('--')}") from None
    return file.make(RetrainSettings, {**defaults, **chosen}, flags)
