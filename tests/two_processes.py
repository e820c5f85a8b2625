"""What `test_distributed.py` runs in two processes: `python -m torch.distributed.run ... two_processes.py REQUEST`.

REQUEST is a JSON file: `folder` for the answers (`answers-RANK.json`), settings of a `search`, and of `retrains` with
their `genotype`.
"""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from test_resume import Interrupted
from test_second_order import second_order_gradient
from tiny_model import tiny_model, tiny_setup

from exitnas import distributed
from exitnas.errors import ExitnasError
from exitnas.exits.genotype import Genotype
from exitnas.objectives.plan import TrainingPlan
from exitnas.reporting.progress import Reporter
from exitnas.reporting.silent import silent
from exitnas.search.bilevel import search
from exitnas.settings import RetrainSettings, SearchSettings
from exitnas.training import step
from exitnas.training.device import choose_device, seeded
from exitnas.training.evaluation import all_outputs
from exitnas.training.fit import fit
from exitnas.training.retrain import retrain
from exitnas.training.runs import Run
from exitnas.training.setup import prepare


def error_of(function: Any) -> str | None:
    try:
        function()
    except ExitnasError as error:
        return str(error)
    return None


def refuse_in_the_second() -> None:
    with distributed.agreed():
        if distributed.rank() == 1:
            raise ExitnasError("only the second process found something wrong")


def noise_after_begin(scale: float) -> list[float]:
    model = tiny_model()
    if distributed.rank() == 1:
        next(model.parameters()).data.mul_(scale)
    with seeded(5):
        distributed.begin(model, 5)
        return torch.rand(3).tolist()


def diverge_in_the_second(folder: Path) -> None:
    measure = step.measure

    def poisoned(*given: Any) -> Any:
        terms = measure(*given)
        if distributed.rank() == 1:
            terms.losses[1, 0] = float("nan")
        return terms

    step.measure = poisoned
    try:
        setup, settings = tiny_setup()
        plan = TrainingPlan.from_settings(settings)
        fit(tiny_model(), setup, settings, plan, 1, Run.create(folder), silent(), Reporter(quiet=True))
    finally:
        step.measure = measure


def interrupted_and_resumed(values: dict[str, Any], folder: Path) -> list[list[float]]:
    """Scores of a search with noise in every process, and of the same one interrupted after an epoch and resumed."""
    settings = SearchSettings(**{**values, "dropout": 0.1, "relaxation": "gumbel_softmax", "refine": 0})
    straight = search(settings, Run.create(folder / "noisy"), Reporter(quiet=True))
    with suppress(KeyboardInterrupt):
        search(settings, Interrupted.at(folder / "resumed", 1), Reporter(quiet=True))
    resumed = search(settings, Run.create(folder / "resumed", resume=True), Reporter(quiet=True))
    again = search(settings, Run.create(folder / "resumed", resume=True), Reporter(quiet=True))
    return [straight["exits"], resumed["exits"], again["exits"]]


def read_in_the_second(path: Path) -> None:
    with distributed.agreed():
        if distributed.rank() == 1:
            path.read_text()


def main(request: dict[str, Any]) -> None:
    folder = Path(request["folder"])
    choose_device("cpu")
    genotype = Genotype.load(request["genotype"])
    answers: dict[str, Any] = {"processes": distributed.processes()}
    answers["search"] = search(SearchSettings(**request["search"]), Run.create(folder / "search"), Reporter())["exits"]
    answers["second order"] = second_order_gradient(prepare(SearchSettings(**request["search"])))
    for name, values in request["retrains"].items():
        summary = retrain(RetrainSettings(**values), genotype, Run.create(folder / name), Reporter())
        answers[name] = summary["exits"]
    answers["resumed"] = interrupted_and_resumed(request["search"], folder)

    setup, _ = tiny_setup(11)
    logits, certainty = all_outputs(tiny_model(certainty=True), setup.test, 2, setup.device)
    answers["logits"], answers["certainty"] = logits.tolist(), certainty.tolist()
    answers["rows"] = distributed.cut({"labels": torch.arange(5)})[0][0]["labels"].tolist()
    answers["no rows"] = distributed.cut({"labels": torch.tensor([7])})[0][1]
    sums = [torch.full((3,), float(distributed.rank())), torch.ones(2, 2), torch.tensor(5.0)]
    distributed.add_up(sums)
    answers["sums"] = [tensor.tolist() for tensor in sums]
    answers["agreed"] = error_of(refuse_in_the_second)
    answers["nan"] = error_of(lambda: diverge_in_the_second(folder / "nan"))
    answers["noise"] = noise_after_begin(1.0)
    answers["different weights"] = error_of(lambda: noise_after_begin(2.0))
    answers["unreadable"] = error_of(lambda: read_in_the_second(folder / "missing"))
    mine = {**request["search"], "limit_train": 8 + distributed.rank()}
    answers["different data"] = error_of(lambda: prepare(SearchSettings(**mine)))
    answers["taken"] = error_of(lambda: Run.create(folder / "search"))
    (folder / f"answers-{distributed.rank()}.json").write_text(json.dumps(answers))
    distributed.part()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
