"""Workers that divide the cores against one worker that has them all: the same number of short trials, timed.

    python tools/bench_tune.py --data-dir glue --trials 8 --workers 2 --output bench_tune.json

Every contestant is an `exitnas tune` of its own, start of the processes included: N workers with cores/N threads each,
and one worker with all cores. The tuning space holds what costs no time (learning rates), and nothing is pruned, so
that all trials do the same work. Contestants take turns; medians over rounds are compared.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import click
import torch

from exitnas.files import write_json, write_text
from exitnas.machine import describe_machine
from exitnas.tuning.pool import THREADS, cores, threads_per_worker

SPACE = """
name: rates
lr: {low: 2.0e-5, high: 2.0e-4, log: true}
exit_lr: {low: 3.0e-4, high: 3.0e-3, log: true}
search: {arch_lr: {low: 1.0e-2, high: 1.0e-1, log: true}}
"""


def timed(folder: Path, workers: int, threads: int, trials: int, flags: list[str]) -> dict[str, Any]:
    """Seconds of a whole study, and of its trials."""
    write_text(folder / "space.yaml", SPACE)
    command = [sys.executable, "-m", "exitnas", "tune", *flags, "--tuning-space", str(folder / "space.yaml")]
    command += ["--trials", str(trials), "--workers", str(workers), "--pruner", "none", "--json"]
    command += ["-o", str(folder / "study")]
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads))}
    began = perf_counter()
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=True)
    seconds = perf_counter() - began
    summary = json.loads(done.stdout)
    return {
        "seconds": seconds,
        "trials": [trial["seconds"] for trial in summary["trials"]],
        "states": summary["states"],
    }


@click.command()
@click.option("--task", default="mrpc", show_default=True)
@click.option("--backbone", default="minilm-l6", show_default=True)
@click.option("--data-dir")
@click.option("--limit-train", type=int, default=256, show_default=True)
@click.option("--limit-eval", type=int, default=64, show_default=True)
@click.option("--epochs", type=int, default=1, show_default=True)
@click.option("--refine", type=int, default=0, show_default=True)
@click.option("--precision", default="fp32", show_default=True)
@click.option("--trials", type=int, default=8, show_default=True)
@click.option("--workers", type=int, default=2, show_default=True)
@click.option("--rounds", type=int, default=1, show_default=True)
@click.option("--output", help="JSON file to write.")
def main(trials: int, workers: int, rounds: int, output: str | None, refine: int, **values: Any) -> None:
    """Print the seconds of both and their ratio."""
    given = {key.replace("_", "-"): value for key, value in values.items() if value is not None}
    flags = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    flags += ["--set", f"search.refine={refine}"]
    contestants = {
        f"{workers} workers with {threads_per_worker(workers)} thread(s) each": (workers, threads_per_worker(workers)),
        f"1 worker with {cores()} threads": (1, cores()),
    }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, (count, threads) in contestants.items():
            with tempfile.TemporaryDirectory() as folder:
                found[name].append(timed(Path(folder), count, threads, trials, flags))
            click.echo(f"round {number + 1}: {name}: {found[name][-1]['seconds']:.1f} s", err=True)
    medians = {name: median(run["seconds"] for run in runs) for name, runs in found.items()}
    many, one = medians.values()
    machine = describe_machine(torch.device("cpu"), values["precision"])
    result = {"trials": trials, "settings": given, "medians": medians, "ratio": many / one, "rounds": found}
    for name, seconds in medians.items():
        click.echo(f"{name:40s} {seconds:8.1f} s for {trials} trials")
    click.echo(f"ratio: {many / one:.2f} (at most 0.75 wanted)")
    if output:
        del machine["threads"]
        write_json(output, {**result, "machine": {**machine, "cores": cores()}})


if __name__ == "__main__":
    main()
