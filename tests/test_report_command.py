"""The command that a report prints starts the same job again."""

import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exitnas.errors import ExitnasError
from exitnas.exits.genotype import Origin
from exitnas.reporting.report.collect import read_run
from exitnas.settings import RetrainSettings, SearchSettings
from exitnas.supernet.space import load_space
from exitnas.training.runs import Run
from exitnas.training.truncated import train_truncated
from tests.report_page import Page, make_run, report_html


@pytest.fixture
def report_of(tmp_path: Path) -> Callable[..., str]:
    """The HTML of a report."""
    return partial(report_html, tmp_path / "report.html")


class StoppedError(ExitnasError):
    """Raised in place of a job, with its settings."""


@pytest.fixture
def settings_of(cli, monkeypatch) -> Callable[[str], Any]:
    """The settings of the job that a command line starts."""
    caught: list[Any] = []

    def stop(settings: Any, *_: Any, **__: Any) -> None:
        caught.append(settings)
        raise StoppedError("stopped")

    monkeypatch.setattr("exitnas.search.bilevel.search", stop)
    monkeypatch.setattr("exitnas.training.retrain.retrain", stop)
    monkeypatch.setattr("exitnas.training.truncated.train_truncated", stop)

    def run(line: str) -> Any:
        program, *words = shlex.split(line.replace("torchrun --nproc_per_node 3 -m exitnas ", "exitnas "))
        assert program == "exitnas"
        cli(*words, code=1)
        return caught.pop()

    return run


def printed_command(html: str) -> str:
    shown = re.search(r"<code>(.*?)</code>", html)
    assert shown
    return Page(f"<p>{shown[1]}</p>").text


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"epochs": 1, "seed": 7, "scale_exits": False, "arch_lr": 0.1, "limit_train": 20, "offline": True},
        {"epochs": 3, "arch_warmup_epochs": 0, "split": "fixed", "data_dir": "a folder/it's"},
        {"clip": 0.5, "refine_steps": 7},
    ],
    ids=["defaults", "flags", "quoted", "no flag"],
)
def test_the_printed_search_has_the_same_settings(values, world, report_of, settings_of, tmp_path, monkeypatch):
    settings = SearchSettings(**{"task": str(world.tasks["single"]), "backbone": str(world.backbone), **values})
    run = Run.create(tmp_path / "a run")
    run.start("search", settings.model_dump(mode="json"), {})
    line = printed_command(report_of(run.path))
    assert ("--config" in line) == ("clip" in values)
    monkeypatch.chdir(tmp_path)
    assert settings_of(line) == settings


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"epochs": 10, "batch_size": 32, "exit_lr": 1e-3},
        {"objective": "mutual", "objective_options": {"temperature": 2.0}, "gradient": "ga_soft", "lte": True},
        {"seeds": 3, "seed": 1, "precision": "bf16", "clip": 2.0},
    ],
    ids=["as recorded", "defaults", "plan", "no flag"],
)
def test_the_printed_retraining_has_the_same_settings(values, world, report_of, settings_of, tmp_path, monkeypatch):
    settings = world.retrain(**values)
    run = Run.create(tmp_path / "run")
    run.start("retrain", settings.model_dump(mode="json"), {})
    world.genotype().save(run.path / "genotype.json")
    monkeypatch.chdir(tmp_path)
    assert settings_of(printed_command(report_of(run.path))) == settings


@pytest.mark.parametrize(("kind", "processes"), [("search", 1), ("search", 3), ("retrain", 3)])
def test_a_run_of_several_processes_is_started_in_as_many(
    kind, processes, world, report_of, settings_of, tmp_path, monkeypatch
):
    settings = world.search() if kind == "search" else world.retrain()
    values = settings.model_dump(mode="json")
    run = make_run(tmp_path / "run", kind, processes=processes, **values)
    world.genotype().save(run / "genotype.json")
    page = report_of(run)
    line = printed_command(page)
    assert line.startswith(f"{'torchrun --nproc_per_node 3 -m ' if processes == 3 else ''}exitnas {kind} ")
    assert ("<dt>processes</dt><dd>3</dd>" in page) == (processes == 3)
    monkeypatch.chdir(tmp_path)
    assert settings_of(line) == settings


def test_the_printed_recipe_is_the_recipe(world, report_of, settings_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    world.genotype().save(tmp_path / "genotype.json")
    settings = settings_of("exitnas retrain genotype.json --recipe gaml-bert --seed 3 --objective-option temperature=4")
    assert settings.recipe == "gaml-bert"
    run = Run.create(tmp_path / "run")
    run.start("retrain", settings.model_dump(mode="json"), {})
    world.genotype().save(run.path / "genotype.json")
    line = printed_command(report_of(run.path))
    assert "--recipe gaml-bert" in line
    assert settings_of(line) == settings


def test_the_printed_baseline_has_the_same_settings(world, silent, report_of, settings_of, tmp_path, monkeypatch):
    task = str(world.tasks["single"])
    linear = load_space("linear").only_genotype(str(world.backbone), 3, 32, Origin(task=task, space="linear"))
    run = Run.create(tmp_path / "layers-1")
    train_truncated(world.retrain(epochs=1, seed=5), linear, 1, run, silent)
    line = printed_command(report_of(run.path))
    assert "--layers 1 " in line
    assert "--exits linear" in line
    monkeypatch.chdir(tmp_path)
    again: RetrainSettings = settings_of(line)
    recorded = read_run(run.path, "run").settings
    assert again.model_dump(mode="json") == {**recorded, "objective": "joint", "layers": None}
