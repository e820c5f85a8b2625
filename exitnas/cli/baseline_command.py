"""`exitnas baseline`."""

from pathlib import Path
from typing import Any

import click

from exitnas.cli import options, render


@click.command("baseline")
@click.argument("kind", type=click.Choice(["truncated"]))
@click.option("--layers", required=True, metavar="K[,K...]", help="Layers to keep, from the first; several: 1,2,3.")
@options.task
@options.backbone
@click.option(
    "--exits",
    default="linear",
    show_default=True,
    metavar="SPACE|GENOTYPE",
    help="Classifier: a space of one point, or the exits of a genotype.",
)
@options.retraining
def command(
    kind: str,
    layers: str,
    exits: str,
    **values: Any,
) -> None:
    """Train what early exit has to beat: the first K layers of an encoder, fine-tuned by themselves.

    One classifier on top of the last layer kept, nothing below. The result is a model directory like any other, whose
    exits below the last are untrained: evaluate it with --policy static --exit K, or time it beside a multi-exit model
    with `exitnas evaluate MODEL --speed --baseline RUN`. With several K, each goes to layers-K in the output folder.
    Task and data default to those of a genotype given with --exits.

    Examples:

      exitnas baseline truncated --task rte --backbone minilm-l6 --layers 3

      exitnas baseline truncated --layers 1,2,3,4,5 --exits runs/search-rte-leco -o runs/truncated-rte
    """
    from exitnas.backbones.loading import load_config
    from exitnas.cli.genotypes import load_genotype, recorded
    from exitnas.exits.genotype import Origin
    from exitnas.reporting.progress import Reporter
    from exitnas.settings import RetrainSettings, make_settings
    from exitnas.supernet.space import load_space
    from exitnas.tasks import get_task
    from exitnas.training.truncated import first_layers, folders, read_layers

    counts = read_layers(layers)
    job = options.take_job(values)
    given = {name: value for name, value in values.items() if value is not None}
    defaults: dict[str, Any] = {}
    found = None
    if exits.endswith(".json") or Path(exits).is_dir():
        found = load_genotype(exits)
        defaults = recorded(found, RetrainSettings, given.get("task"))
    settings = make_settings(RetrainSettings, **{**defaults, **given})
    spec = get_task(settings.task)
    config: Any = load_config(settings.backbone, offline=settings.offline)
    place = (config.num_hidden_layers, config.hidden_size)
    origin = Origin(task=settings.task, space=exits)
    genotype = found or load_space(exits).only_genotype(settings.backbone, *place, origin)
    genotype.check_fits(*place, settings.backbone)
    for count in counts:
        first_layers(genotype, count)
    from exitnas.training.runs import Run
    from exitnas.training.truncated import train_truncated

    base = Path(job["output"] or f"runs/truncated-{spec.name}")
    places = folders(base, counts, nested=job["output"] is None)
    runs = {count: Run.create(folder, **options.of_a_run(job)) for count, folder in places.items()}
    report = Reporter(job["quiet"])
    results = [train_truncated(settings, genotype, count, run, report) for count, run in runs.items()]
    if not all(run.writes for run in runs.values()):
        return
    if job["as_json"]:
        render.print_json({"task": spec.name, "metric": spec.metric, "baselines": results})
        return
    rows = []
    for result in results:
        deviation = "" if result["std"] is None else f" ± {100 * result['std']:.1f}"
        speedup = f"{result['of_layers'] / result['layers']:.2f}x"
        rows.append([result["layers"], render.percent(result["score"]) + deviation, speedup, result["model"]])
    title = f"{spec.name} ({spec.metric}, test): the first layers of {settings.backbone}, {settings.seeds} seed(s)"
    render.print_table(title, ["layers", "score", "layer speed-up", "model"], rows)
    named = " ".join(f"--baseline {run.path}" for run in runs.values())
    click.echo(f"next: exitnas evaluate MODEL --speed {named}")
