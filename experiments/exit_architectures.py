"""LECO table 2 in small: joint training with linear exits, MHA exits and searched exits, one protocol and budget.

    python experiments/exit_architectures.py --task mrpc --data-dir glue --refine 0 --output runs/mrpc
    python experiments/exit_architectures.py --task sst2 --data-dir glue --limit-train 10000 --output runs/sst2

Writes `results.json` and `results.md` into the output folder after every finished part; parts that are already there
are not run again.
"""

import json
from pathlib import Path
from typing import Any

import click

from exitnas.errors import ExitnasError
from exitnas.exits.genotype import Genotype
from exitnas.files import read_json, write_json, write_text
from exitnas.reporting.progress import Reporter
from exitnas.search.bilevel import search
from exitnas.settings import RetrainSettings, SearchSettings, make_settings
from exitnas.training.retrain import retrain
from exitnas.training.runs import Run

SPACES = ("linear", "mha", "leco")


@click.command()
@click.option("--task", required=True)
@click.option("--backbone", default="minilm-l6", show_default=True)
@click.option("--data-dir")
@click.option("--limit-train", type=int)
@click.option("--precision", default="bf16", show_default=True)
@click.option("--search-epochs", type=int, default=6, show_default=True)
@click.option("--arch-warmup-epochs", type=int, default=2, show_default=True)
@click.option("--refine", type=int, default=24, show_default=True)
@click.option("--exit-lr", type=float, default=None)
@click.option("--lr", type=float, default=None)
@click.option("--epochs", type=int, default=3, show_default=True)
@click.option("--seeds", type=int, default=3, show_default=True)
@click.option("--spaces", default=",".join(SPACES), show_default=True, help="Which exits to compare.")
@click.option("--output", type=Path, required=True)
def main(
    search_epochs: int,
    arch_warmup_epochs: int,
    refine: int,
    epochs: int,
    seeds: int,
    spaces: str,
    output: Path,
    **values: Any,
) -> None:
    """Search and retrain every kind of exit; resume where an earlier run stopped."""
    report = Reporter()
    searching = {"epochs": search_epochs, "arch_warmup_epochs": arch_warmup_epochs, "refine": refine, **values}
    try:
        results = {}
        for space in spaces.split(","):
            genotype = found(output / f"search-{space}", space, searching, report)
            folder = output / f"retrain-{space}"
            if not (folder / "summary.json").exists():
                settings = make_settings(RetrainSettings, epochs=epochs, seeds=seeds, **values)
                retrain(settings, genotype, Run.create(folder, overwrite=True), report)
            results[space] = read_json(folder / "summary.json")
            write_json(output / "results.json", results)
            write_text(output / "results.md", table(results))
    except ExitnasError as error:
        raise click.ClickException(str(error)) from None
    click.echo(table(results))


def found(folder: Path, space: str, searching: dict[str, Any], report: Reporter) -> Genotype:
    """The genotype of a space, searched for unless an earlier run did."""
    if not (folder / "summary.json").exists():
        settings = make_settings(SearchSettings, space=space, **searching)
        search(settings, Run.create(folder, overwrite=True), report)
    return Genotype.load(folder / "genotype.json")


def table(results: dict[str, Any]) -> str:
    """A Markdown table: AVG and BEST with their deviation over seeds, parameters per exit."""
    lines = ["| exits | AVG | BEST | parameters per exit | per exit, first layer first |", "|---|---|---|---|---|"]
    for space, summary in results.items():
        std = summary["std"] or {"avg": float("nan"), "best": float("nan")}
        counts = [cost["parameters"] for cost in summary["costs"]]
        exits = " ".join(f"{100 * value:.1f}" for value in summary["exits"])
        spread = f"{min(counts)}" if len(set(counts)) == 1 else f"{min(counts)}-{max(counts)}"
        lines.append(
            f"| {space} | {100 * summary['avg']:.2f} ± {100 * std['avg']:.2f} "
            f"| {100 * summary['best']:.2f} ± {100 * std['best']:.2f} | {spread} | {exits} |"
        )
    first = next(iter(results.values()))
    seeds = json.dumps([seed["seed"] for seed in first["seeds"]])
    return "\n".join(lines) + f"\n\n{first['task']}, {first['metric']}, test; seeds {seeds}; mean ± sample deviation.\n"


if __name__ == "__main__":
    main()
