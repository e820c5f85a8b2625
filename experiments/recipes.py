"""Every recipe of the papers on one genotype under one budget, and LTE against patience on a regression task.

    python experiments/recipes.py --genotype runs/search-mrpc --data-dir glue --output runs/recipes-mrpc
    python experiments/recipes.py --genotype runs/search-mrpc --data-dir glue --task stsb --recipes berxit \
        --policies lte,patience --output runs/recipes-stsb

One budget: the same model updates, batch size and learning rates for all, whatever the papers print; what makes a
recipe (objective, weighting, gradient rule, their options) is as printed. Writes `results.json` and `results.md` after
every recipe; recipes that are already there are not run again.
"""

from pathlib import Path
from typing import Any

import click

from exitnas.cli.genotypes import load_genotype
from exitnas.errors import ExitnasError
from exitnas.files import read_json, write_json, write_text
from exitnas.inference.session import Session
from exitnas.objectives.recipes import RECIPES, apply_recipe
from exitnas.objectives.weighting import WEIGHTINGS
from exitnas.reporting.progress import Reporter
from exitnas.settings import RetrainSettings, make_settings
from exitnas.training.retrain import retrain
from exitnas.training.runs import Run


@click.command()
@click.option("--genotype", type=Path, required=True)
@click.option("--task", default="mrpc", show_default=True)
@click.option("--data-dir")
@click.option("--recipes", default=",".join(RECIPES), show_default=True)
@click.option("--policies", default="", help="Comma-separated; the recipe's own where left out.")
@click.option("--epochs", type=int, default=3, show_default=True)
@click.option("--batch-size", type=int, default=32, show_default=True)
@click.option("--lr", type=float, default=5e-5, show_default=True)
@click.option("--exit-lr", type=float, default=1e-3, show_default=True)
@click.option("--seeds", type=int, default=2, show_default=True)
@click.option("--precision", default="bf16", show_default=True)
@click.option("--output", type=Path, required=True)
def main(genotype: Path, task: str, recipes: str, policies: str, output: Path, **values: Any) -> None:
    """Retrain with every recipe and evaluate its own exit policy."""
    report = Reporter()
    results: dict[str, Any] = {}
    try:
        exits = load_genotype(str(genotype))
        for name in recipes.split(","):
            folder = output / name
            if not (folder / "evaluation.json").exists():
                given = {**values, "task": task, "backbone": exits.backbone, "warmup": 0.1}
                settings = one_budget(make_settings(RetrainSettings, **apply_recipe(name, task, given)))
                report.line(f"recipe {name}")
                retrain(settings, exits, Run.create(folder, overwrite=True), report)
                write_json(folder / "evaluation.json", evaluated(folder, policies or RECIPES[name].policy))
            results[name] = {**read_json(folder / "summary.json"), "early_exit": read_json(folder / "evaluation.json")}
            write_json(output / "results.json", results)
            write_text(output / "results.md", table(results))
    except ExitnasError as error:
        raise click.ClickException(str(error)) from None
    click.echo(table(results))


def one_budget(settings: RetrainSettings) -> RetrainSettings:
    """The same number of model updates for all: twice the epochs where the model learns from D1 only, half the rows."""
    return settings.model_copy(update={"epochs": settings.epochs * (1 + WEIGHTINGS.get(settings.weighting).splits)})


def evaluated(folder: Path, policies: str) -> dict[str, Any]:
    """The policies at the fastest setting that loses at most one point on dev, and their whole curves on test."""
    evaluation = Session.open(str(folder)).evaluation()
    chosen = [evaluation.chosen(policy, 0.01) for policy in policies.split(",")]
    return evaluation.report(chosen, samples=0)


def table(results: dict[str, Any]) -> str:
    """A Markdown table: AVG and BEST over seeds, and the best seed's model under its policy."""
    lines = ["| recipe | AVG | BEST | last exit | policy | score | mean layers |", "|---|---|---|---|---|---|---|"]
    for name, summary in results.items():
        std = summary["std"] or {"avg": float("nan"), "best": float("nan")}
        for index, row in enumerate(summary["early_exit"]["policies"]):
            first = (
                f"| {name} | {100 * summary['avg']:.2f} ± {100 * std['avg']:.2f} "
                f"| {100 * summary['best']:.2f} ± {100 * std['best']:.2f} | {100 * summary['exits'][-1]:.2f} "
            )
            lines.append(
                (first if index == 0 else "| | | | ")
                + f"| {row['policy']} | {100 * row['score']:.2f} | {row['mean_exit']:.2f} |"
            )
    summary = next(iter(results.values()))
    seeds = ", ".join(str(seed["seed"]) for seed in summary["seeds"])
    head = f"{summary['task']}, {summary['metric']}, test; seeds {seeds}; mean ± sample deviation."
    note = (
        "The policy's setting is the fastest on dev that loses at most one point against the last exit; its score is "
        "that of the saved model (the seed with the best AVG on dev)."
    )
    return "\n".join(lines) + f"\n\n{head} {note}\n"


if __name__ == "__main__":
    main()
