"""`exitnas search`."""

from typing import Any

import click

from exitnas.cli import options, render


@click.command("search")
@options.task
@options.backbone
@options.config
@click.option("--space", metavar="NAME|FILE.yaml", help="Search space, see `exitnas list spaces`.  [leco]")
@options.data_dir
@options.output
@options.overwrite
@options.going_on
@options.training
@click.option("--arch-lr", type=float, help="Learning rate of the architecture parameters.  [3e-2]")
@click.option("--arch-warmup-epochs", type=int, help="First epochs without architecture steps.  [1 of 2 or more]")
@click.option("--arch-weight-decay", type=float, help="Weight decay of the architecture parameters.  [1e-3]")
@click.option("--second-order", is_flag=True, default=None, help="Architecture steps see the next step of the weights.")
@click.option("--auxiliary-skip", type=float, help="Extra skip at the start, lowered to 0 (DARTS-); 0: none.  [1]")
@click.option(
    "--scale-exits/--no-scale-exits",
    default=None,
    help="Learn a scale of every exit's logits with the architecture.  [on]",
)
@click.option("--refine", type=int, help="Candidates per layer tried against the arg-max exit; 0: none.  [24]")
@click.option("--split", type=click.Choice(["epoch", "fixed"]), help="Draw D1/D2 every epoch or once.  [epoch]")
@click.option("--d1-share", type=float, metavar="X", help="Share of the training rows in D1, 0 to 1.  [0.5]")
@click.option("--relaxation", metavar="NAME", help="Weights of candidates, see `exitnas list relaxations`.  [softmax]")
@click.option("--temperature", type=float, help="Of the relaxation; lower is closer to choosing.  [1]")
@click.option("--temperature-end", type=float, help="When the search ends.  [as at the start]")
@click.option("--exit-width", type=int, metavar="D", help="Exit width in place of the space's.")
@options.as_json
@options.quiet
def command(config: str | None, **values: Any) -> None:
    """Search the exits of an encoder for a task.

    Writes a run directory with genotype.json, history, TensorBoard scalars and summary.json. A space with a single
    point (linear, mha) has nothing to search and gives its genotype at once.

    A file given with --config has the flags' names as keys (epochs: 5), or is the config.json or the directory of
    another search. Flags win over the file.

    A search that was interrupted goes on where it last saved its state when the same command is given with --resume,
    and ends as it would have.

    Examples:

      exitnas search --task rte --backbone minilm-l6 --data-dir glue

      exitnas search --config runs/search-rte-leco --seed 43 -o runs/again
    """
    job_flags = options.take_job(values)
    if config is None and values["task"] is None:
        raise click.UsageError("--task is missing; see `exitnas list tasks`, or give your own YAML file")
    from exitnas.cli.config_file import ConfigFile
    from exitnas.exits.genotype import Genotype
    from exitnas.reporting.progress import Reporter
    from exitnas.settings import SearchSettings
    from exitnas.supernet.space import load_space
    from exitnas.tasks import get_task
    from exitnas.training.runs import Run

    file = ConfigFile.read(config, "search", SearchSettings)
    job = file.job_values(**job_flags)
    chosen = file.under(values)
    if "task" not in chosen:
        raise click.UsageError(f"{config}: names no task; give one with --task or as the file's task")
    settings = file.make(SearchSettings, chosen, values)
    spec, space = get_task(settings.task), load_space(settings.space).with_width(settings.exit_width)
    report = Reporter(job["quiet"])
    run = Run.create(job["output"] or f"runs/search-{spec.name}-{space.name}", **options.of_a_run(job))
    from exitnas.search.bilevel import search

    summary = search(settings, run, report)
    if not run.writes:
        return
    if summary["warning"]:
        report.warn(summary["warning"])
    if job["as_json"]:
        render.print_json(summary)
        return
    genotype = Genotype.load(summary["genotype"])
    title = f"{spec.name}, {settings.backbone}: exits found in space {space.name}"
    render.exits_table(title, genotype, summary["costs"], summary["exits"])
    if summary["decisions"]:
        decision_table(summary["decisions"])
    click.echo(f"genotype: {summary['genotype']}\nnext: exitnas retrain {summary['genotype']}")


def decision_table(decisions: list[dict[str, Any]]) -> None:
    """How far the search decided, one row per kind of cell, averaged over layers."""
    rows = []
    for edge in dict.fromkeys(row["edge"] for row in decisions):
        cells = [row for row in decisions if row["edge"] == edge]
        mean = {key: sum(row[key] for row in cells) / len(cells) for key in ("probability", "margin", "entropy")}
        decided = f"{sum(row['decided'] for row in cells)}/{len(cells)}"
        numbers = [f"{mean['probability']:.2f}", f"{cells[0]['uniform']:.2f}", f"{mean['margin']:+.2f}"]
        rows.append([edge, *numbers, f"{mean['entropy']:.2f}", decided])
    columns = ["cell", "probability", "uniform", "margin", "entropy", "decided"]
    render.print_table("How far the search decided (means over layers; entropy 1 is undecided)", columns, rows)
