"""The reports of the RTE and MRPC runs, one HTML file per task.

    python experiments/reports.py --rte runs/search-rte-leco --rte runs/retrain-rte-leco --rte-truncated runs/cut-rte \
        --mrpc runs/search-mrpc-leco --mrpc runs/retrain-mrpc-leco --data-dir glue --output runs/reports

Runs are what `exitnas search`, `retrain` and `baseline truncated` wrote. Every model is run over dev and test once;
the files need no network afterwards.
"""

from pathlib import Path
from typing import Any

import click

from exitnas.cli.reproduce import command_line
from exitnas.errors import ExitnasError, UsageError
from exitnas.reporting.progress import Reporter
from exitnas.reporting.report.page import write_report

TASKS = ("rte", "mrpc")


@click.command()
@click.option("--rte", multiple=True, metavar="RUN", help="Run on RTE; repeat.")
@click.option("--mrpc", multiple=True, metavar="RUN", help="Run on MRPC; repeat.")
@click.option("--rte-truncated", multiple=True, metavar="RUN", help="Truncated baseline of RTE, or a folder of them.")
@click.option("--mrpc-truncated", multiple=True, metavar="RUN", help="Truncated baseline of MRPC, or a folder of them.")
@click.option("--data-dir", help="Folder of GLUE's files.  [as in training]")
@click.option("--output", default="runs/reports", show_default=True, type=click.Path(path_type=Path))
def main(data_dir: str | None, output: Path, **runs: Any) -> None:
    """Write rte.html and mrpc.html, each where runs of that task are given."""
    try:
        if not any(runs[task] for task in TASKS):
            raise UsageError("expected runs: give --rte or --mrpc")
        for task in TASKS:
            if runs[task]:
                told = write_report(
                    output / f"{task}.html",
                    runs[task],
                    baselines=runs[f"{task}_truncated"],
                    overwrite=True,
                    reproduce=command_line,
                    report=Reporter(),
                    data_dir=data_dir,
                )
                click.echo(f"{told['report']}: {told['bytes'] / 1000:.0f} kB")
    except ExitnasError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
