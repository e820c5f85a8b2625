"""Relaxations in a search: temperature, width and D1."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from exitnas.exits.genotype import Genotype
from exitnas.search import bilevel
from exitnas.search.bilevel import search
from exitnas.search.state import SearchState, rows_of_d1
from exitnas.search.steps import architecture_step, weight_step
from exitnas.settings import SearchSettings, make_settings
from exitnas.supernet.architecture import Architecture
from exitnas.supernet.discretize import discretize
from exitnas.supernet.relaxations import DEFAULT_RELAXATION, RELAXATIONS
from exitnas.supernet.space import load_space
from exitnas.training.device import seeded
from exitnas.training.runs import Run
from exitnas.training.setup import prepare

LECO = load_space("leco")


@pytest.mark.parametrize(
    "name", ["gumbel_softmax", *(pytest.param(n, marks=pytest.mark.slow) for n in RELAXATIONS if n != "gumbel_softmax")]
)
def test_a_search_with_every_relaxation(world: Any, silent: Any, tmp_path: Path, name: str):
    settings = world.search(relaxation=name, refine=0, temperature=2.0, temperature_end=0.5, arch_lr=0.1)
    runs = [search(settings, Run.create(tmp_path / run), silent) for run in ("one", "two")]
    first, second = (Path(run["genotype"]).read_bytes() for run in runs)
    assert first == second
    genotype = Genotype.load(runs[0]["genotype"])
    assert genotype.origin.settings["relaxation"] == name
    assert genotype.probabilities is not None
    moved = [value for edges in genotype.probabilities for value in edges["pooling"].values()]
    assert any(abs(value - 0.25) > 0.01 for value in moved)


def test_the_temperature_follows_the_steps(world: Any, silent: Any, tmp_path: Path, monkeypatch: Any):
    """4 steps an epoch, 2 epochs: a weight step at step s has 4 * (1/16)^(s/8), the genotype the end's."""
    seen: list[float] = []
    ends: list[float] = []

    def spy(state: SearchState, *rest: Any) -> float:
        seen.append(state.supernet.architecture.temperature)
        return weight_step(state, *rest)

    def last(architecture: Architecture, *rest: Any) -> Genotype:
        ends.append(architecture.temperature)
        return discretize(architecture, *rest)

    monkeypatch.setattr(bilevel, "weight_step", spy)
    monkeypatch.setattr(bilevel, "discretize", last)
    search(world.search(temperature=4.0, temperature_end=0.25, refine=0), Run.create(tmp_path / "run"), silent)
    assert seen == pytest.approx([4 * 16 ** (-step / 8) for step in range(8)])
    assert ends == pytest.approx([0.25])


def test_a_temperature_changes_the_first_architecture_step(world: Any):
    """Gradients of softmax(alpha / t) at alpha = 0 shrink by t."""
    gradients = []
    for temperature in (1.0, 4.0):
        settings = world.search(temperature=temperature, arch_lr=0.1)
        setup = prepare(settings)
        with seeded(0):
            state = SearchState.start(setup, settings, LECO)
            state.supernet.eval()
            architecture_step(state, setup.train.batch([0, 1, 2, 3]), "fp32")
        gradients.append(state.supernet.architecture.alphas["pooling"].grad)
    torch.testing.assert_close(gradients[0], 4 * gradients[1])


@pytest.mark.parametrize(("rows", "share", "expected"), [
    (60, 0.5, 30), (61, 0.5, 31), (60, 0.8, 48), (10, 0.35, 4), (10, 0.01, 1), (10, 0.99, 9), (2, 0.9, 1), (2, 0.1, 1),
])  # fmt: skip
def test_size_of_d1_by_hand(rows: int, share: float, expected: int):
    assert rows_of_d1(rows, share) == expected


def test_d1_share_sets_the_steps_of_an_epoch(world: Any, silent: Any, tmp_path: Path):
    """48 of 60 rows in batches of 8: 6 weight steps an epoch, each after the first epoch with an architecture step."""
    search(world.search(d1_share=0.8, refine=0), Run.create(tmp_path / "run"), silent)
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [6, 12]


@pytest.mark.parametrize("space", ["leco", "linear"])
def test_exit_width_is_that_of_the_genotype(world: Any, silent: Any, tmp_path: Path, space: str):
    summary = search(world.search(space=space, exit_width=16, epochs=1), Run.create(tmp_path / "run"), silent)
    genotype = Genotype.load(summary["genotype"])
    assert (genotype.width, genotype.origin.space, genotype.origin.settings["exit_width"]) == (16, space, 16)


def test_width_none_keeps_the_spaces_own():
    assert LECO.with_width(None) is LECO
    assert LECO.with_width(64).width == 64
    assert LECO.width == 32


def test_a_width_that_heads_do_not_divide_is_refused(error_line: Any, world: Any, tmp_path: Path):
    common = ["search", "--task", world.tasks["single"], "--backbone", world.backbone, "-o", tmp_path / "run"]
    line = error_line(*common, "--exit-width", 20, code=2)
    assert line == (
        "--exit-width 20: encoder_1: mha_8 needs a width divisible by 8, got width 20; "
        "choose another width, or a space without it than leco"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("flags", "message"), [
    (["--relaxation", "softmx"], "--relaxation: unknown relaxation 'softmx': did you mean softmax"),
    (["--temperature", 0], "--temperature: input should be greater than or equal to 0.01, got 0.0"),
    (["--temperature-end", "nan"], "--temperature-end: input should be"),
    (["--d1-share", 1], "--d1-share: input should be less than 1, got 1.0"),
    (["--exit-width", 0], "--exit-width: input should be greater than or equal to 1, got 0"),
])  # fmt: skip
def test_bad_values_are_one_line(error_line: Any, flags: list[Any], message: str):
    assert error_line("search", "--task", "rte", *flags, code=2).startswith(message)


def test_defaults_are_those_of_darts():
    settings = make_settings(SearchSettings, task="rte")
    assert (settings.relaxation, settings.temperature, settings.d1_share) == (DEFAULT_RELAXATION, 1.0, 0.5)
    assert (settings.temperature_end, settings.exit_width) == (None, None)
    state = Architecture(LECO, 2)
    assert all(torch.equal(state.weights()[edge], a.softmax(-1)) for edge, a in state.alphas.items())


def test_the_list_names_all(cli: Any):
    rows = json.loads(cli("list", "relaxations", "--json").stdout)
    assert [row["relaxation"] for row in rows] == RELAXATIONS.names()
    assert all(len(row["description"]) > 20 for row in rows)
