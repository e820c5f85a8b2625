"""A study of 16 trials on MRPC, and its best settings against the default ones on the test rows.

    python experiments/tune_mrpc.py --data-dir glue --workers 2 --output runs/tune-mrpc

A short budget, the same for all: three epochs of search, three of retraining, bf16 backbone. The study sees dev only.
Then the default settings (its first trial) and the best ones each run with three seeds, of search and retraining both,
and are compared on the test rows. The study is gone on with and runs that are there are kept, so that the command can
be repeated.
"""

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import click
import torch

from exitnas.errors import ExitnasError
from exitnas.exits.genotype import Genotype
from exitnas.files import read_json, write_text
from exitnas.machine import describe_machine
from exitnas.reporting.progress import Reporter
from exitnas.search.bilevel import search
from exitnas.supernet.space import load_space
from exitnas.training.retrain import retrain
from exitnas.training.runs import Run
from exitnas.tuning.find import found
from exitnas.tuning.fixed import fixed_settings
from exitnas.tuning.parameters import trial_settings
from exitnas.tuning.record import StudyRecord
from exitnas.tuning.space import read_space
from exitnas.tuning.study import Request, tune
from exitnas.tuning.summary import chosen_trial, describe

SPACE: dict[str, Any] = {
    "name": "short",
    "description": "what costs little time: rates, batch, width, relaxation, objective",
    "lr": {"low": 4e-5, "high": 2e-4, "log": True},
    "exit_lr": {"low": 1e-3, "high": 5e-3, "log": True},
    "batch_size": {"choices": [16, 32]},
    "search": {
        "arch_lr": {"low": 1e-2, "high": 1e-1, "log": True},
        "exit_width": {"choices": [32, 64]},
        "relaxation": {"choices": ["softmax", "gumbel_softmax", "sigmoid"]},
    },
    "retrain": {"objective": {"choices": ["joint", "weighted", "mutual"]}},
}


@click.command()
@click.option("--task", default="mrpc", show_default=True)
@click.option("--backbone", default="minilm-l6", show_default=True)
@click.option("--space", help="Exits to tune: a search space, or a hand-made exit such as mha.  [leco]")
@click.option("--data-dir")
@click.option("--trials", type=int, default=16, show_default=True, help="Of the whole study.")
@click.option("--workers", type=int, default=1, show_default=True)
@click.option("--limit-train", type=int, help="Training rows.  [all]")
@click.option("--search-epochs", type=int, default=3, show_default=True)
@click.option("--retrain-epochs", type=int, default=3, show_default=True)
@click.option("--refine", type=int, default=6, show_default=True)
@click.option("--precision", default="bf16", show_default=True)
@click.option("--seeds", type=int, default=3, show_default=True, help="Of the comparison.")
@click.option("--output", type=Path, required=True)
@click.option("--results", type=Path, help="Markdown file to write.  [OUTPUT/tuning.md]")
def main(output: Path, results: Path | None, trials: int, workers: int, seeds: int, **values: Any) -> None:
    """Run the study, then the comparison; write the table."""
    report = Reporter()
    line = command({**values, "trials": trials, "workers": workers, "seeds": seeds})
    try:
        phases = {"search.epochs": values.pop("search_epochs"), "retrain.epochs": values.pop("retrain_epochs")}
        fixed = fixed_settings(values, [*phases.items(), ("refine", values.pop("refine"))])
        space = read_space(tuned(values["space"]), "tune_mrpc.py")
        request = Request(task=values["task"], folder=str(output / "study"), space=space, fixed=fixed, pruner="none")
        missing = trials - ended(output / "study")
        if missing > 0:
            tune(request, report, trials=missing, workers=workers)
        with found(str(output / "study")) as (study, record, address, folder):
            summary = describe(study, record, address, folder)
        best = chosen_trial(summary)
        scores = {
            name: compare(record, row["parameters"], range(43, 43 + seeds), output / name, report)
            for name, row in (("default", summary["trials"][0]), ("best", best))
        }
        text = table(line, summary, best, scores, phases, values)
        write_text(results or output / "tuning.md", text)
    except ExitnasError as error:
        raise click.ClickException(str(error)) from None
    click.echo(text)


def tuned(name: str | None) -> dict[str, Any]:
    """`SPACE`, less what only a search among several exits has."""
    if name is None or load_space(name).exits() > 1:
        return SPACE
    return {**SPACE, "search": {"exit_width": SPACE["search"]["exit_width"]}}


def ended(folder: Path) -> int:
    """Trials of the study that came to an end."""
    if not (folder / "study.json").is_file():
        return 0
    with found(str(folder)) as (study, record, address, _):
        states = describe(study, record, address, folder)["states"]
    return sum(count for state, count in states.items() if state in ("complete", "pruned", "failed"))


def compare(
    record: StudyRecord, parameters: dict[str, Any], seeds: range, folder: Path, report: Reporter
) -> list[dict[str, Any]]:
    """Search and retrain with every seed; the summaries of retraining. Seeds are other ones than the study's."""
    summaries = []
    for seed in seeds:
        place = folder / str(seed)
        if not (place / "retrain" / "summary.json").is_file():
            report.line(f"{folder.name} settings, seed {seed}")
            fixed = {phase: {**given, "seed": seed} for phase, given in record.fixed.items()}
            first, second = trial_settings(record.tuning_space(), fixed, parameters)
            assert second is not None
            searched = search(first, Run.create(place / "search", overwrite=True), report)
            genotype = Genotype.load(searched["genotype"])
            retrain(second, genotype, Run.create(place / "retrain", overwrite=True), report)
        summaries.append(read_json(place / "retrain" / "summary.json"))
    return summaries


def table(
    line: str,
    summary: dict[str, Any],
    best: dict[str, Any],
    scores: dict[str, list[dict[str, Any]]],
    phases: dict[str, int],
    values: dict[str, Any],
) -> str:
    """Markdown: default against best on test, then every trial of the study."""
    exits = f", {values['space']} exits" if values["space"] else ""
    lines = [f"# Tuned settings against the default ones, MRPC{exits}", "", f"`{line}`", ""]
    lines += ["| settings | AVG on test | BEST on test | per exit | AVG on dev |", "|---|---|---|---|---|"]
    for name, runs in scores.items():
        each = " ".join(f"{100 * fmean(run['exits'][i] for run in runs):.1f}" for i in range(len(runs[0]["exits"])))
        dev = fmean(seed["dev"]["avg"] for run in runs for seed in run["seeds"])
        test = [[100 * run[key] for run in runs] for key in ("avg", "best")]
        lines.append(f"| {name} | {spread(test[0])} | {spread(test[1])} | {each} | {100 * dev:.2f} |")
    seeds = ", ".join(str(run["seeds"][0]["seed"]) for run in scores["default"])
    machine = describe_machine(torch.device("cpu"), values["precision"])
    lines += [
        "",
        f"Seeds {seeds} of search and retraining, mean ± sample deviation; "
        f"{values['limit_train'] or 'all'} training rows, {phases['search.epochs']} epochs of search, "
        f"{phases['retrain.epochs']} of retraining, {values['precision']} backbone; "
        f"{machine['cpu']}, torch {machine['torch']}.",
        "",
        f"The study: seed 42, {len(summary['trials'])} trials ({states(summary)}); the best is trial {best['number']}.",
        "",
        "| trial | state | AVG on dev | seconds | parameters |",
        "|---|---|---|---|---|",
    ]
    for row in summary["trials"]:
        value = f"{100 * row['values']['avg']:.2f}" if row["values"] else row["reason"]
        drawn = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row["parameters"].items())
        lines.append(f"| {row['number']} | {row['state']} | {value} | {row['seconds']:.0f} | {drawn} |")
    shares = summary["importances"]["avg"]
    if shares:
        lines += ["", f"Importance (fANOVA): {', '.join(f'{name} {share:.2f}' for name, share in shares.items())}."]
    return "\n".join(lines) + "\n"


def command(values: dict[str, Any]) -> str:
    """The command of the study, its folders left out."""
    given = {key: value for key, value in values.items() if key != "data_dir" and value is not None}
    flags = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in given.items())
    folder = f"tune-{values['task']}-{values['space']}" if values["space"] else f"tune-{values['task']}"
    return f"python experiments/tune_mrpc.py --data-dir glue --output runs/{folder} {flags}"


def spread(values: list[float]) -> str:
    """Mean and sample deviation."""
    return f"{fmean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def states(summary: dict[str, Any]) -> str:
    """How many trials of each state."""
    return ", ".join(f"{count} {state}" for state, count in summary["states"].items())


if __name__ == "__main__":
    main()
