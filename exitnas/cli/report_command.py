"""`exitnas report`."""

from typing import Any

import click

from exitnas.cli import options, render


@click.command("report")
@click.argument("runs", nargs=-1, type=click.Path(), metavar="RUN...")
@click.option(
    "--output", "-o", default="report.html", show_default=True, metavar="FILE.html", help="The file to write."
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@click.option(
    "--baseline", "baselines", multiple=True, metavar="RUN", help="Truncated baseline to draw beside; repeat."
)
@click.option("--no-evaluation", is_flag=True, help="Do not run the models: no trade-off curves, no data needed.")
@click.option("--split", type=click.Choice(["test", "dev"]), default="test", show_default=True)
@click.option("--points", type=int, default=25, show_default=True, help="Settings per exit policy on a curve.")
@options.data_dir
@options.limit_eval
@options.batch_size
@options.device
@options.precision
@options.offline
@options.as_json
@options.quiet
def command(
    runs: tuple[str, ...],
    output: str,
    overwrite: bool,
    baselines: tuple[str, ...],
    no_evaluation: bool,
    as_json: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Write one HTML file that shows RUNs: to look at, compare and send around.

    A RUN is what `exitnas search`, `retrain` or `baseline` wrote, finished, still going or killed; or a folder of such
    runs, or a study of `exitnas tune`. Trained models are run over their data once, for the trade-off curves of all
    exit policies and the inputs that left first and last. The file needs no network and reads without JavaScript.

    Examples:

      exitnas report runs/retrain-rte-leco --baseline runs/truncated-rte -o rte.html

      exitnas report runs/search-rte-leco runs/retrain-rte-leco runs/retrain-rte-mha
    """
    if not runs:
        raise click.UsageError("expected at least one RUN, got none")
    from exitnas.cli.reproduce import command_line
    from exitnas.reporting.progress import Reporter
    from exitnas.reporting.report.page import write_report

    told = write_report(
        output,
        runs,
        baselines=baselines,
        overwrite=overwrite,
        evaluation=not no_evaluation,
        reproduce=command_line,
        report=Reporter(quiet),
        **values,
    )
    if as_json:
        render.print_json(told)
        return
    click.echo(f"{told['report']}: {len(told['runs'])} run(s), {told['bytes'] / 1000:.0f} kB")
