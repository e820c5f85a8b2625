"""The bilevel search: splits, continuing, and what is written."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from test_search_steps import same, start, values

from exitnas.errors import ExitnasError, UsageError
from exitnas.exits.genotype import Genotype
from exitnas.exits.operations import EDGES
from exitnas.search import bilevel
from exitnas.search.bilevel import search
from exitnas.search.state import SearchState
from exitnas.search.steps import architecture_step, weight_step
from exitnas.supernet.supernet import Supernet
from exitnas.training.batches import shuffled
from exitnas.training.checkpoint import generators, load_state, save_state, set_generators
from exitnas.training.device import seeded
from exitnas.training.runs import Run
from exitnas.training.setup import Setup, prepare


@pytest.fixture(scope="module")
def setup(world: Any) -> Setup:
    return prepare(world.search(arch_lr=0.1))


def test_the_split_is_halves(setup: Setup):
    state = start(setup)
    state.split(61)
    first, second = state.halves
    assert (len(first), len(second)) == (31, 30)
    assert sorted([*first, *second]) == list(range(61))
    before = state.halves
    state.split(61)
    assert state.halves != before


@pytest.mark.parametrize(("split", "different"), [("epoch", 3), ("fixed", 1)])
def test_when_the_split_is_drawn(world: Any, silent: Any, tmp_path: Path, monkeypatch: Any, split: str, different: int):
    seen: list[frozenset[int]] = []

    def spy(data: Any, rows: list[int], size: int, generator: torch.Generator) -> list[list[int]]:
        seen.append(frozenset(rows))
        return shuffled(data, rows, size, generator)

    monkeypatch.setattr(bilevel, "shuffled", spy)
    search(world.search(epochs=3, split=split), Run.create(tmp_path / "run"), silent)
    first, second = seen[::2], seen[1::2]
    assert len(first) == 3
    assert all(len(a) == len(b) == 30 and not a & b for a, b in zip(first, second, strict=True))
    assert len(set(first)) == different


def epoch_by_hand(state: SearchState, setup: Setup, searching: bool) -> None:
    """One epoch as the loop does it, dropout included."""
    state.split(len(setup.train))
    first, second = (shuffled(setup.train, half, 8, state.generator) for half in state.halves)
    for rows, other in zip(first, second, strict=True):
        if searching:
            architecture_step(state, setup.train.batch(other), "fp32")
        weight_step(state, setup.train.batch(rows), "fp32", 1.0, 1.0)
    state.epoch += 1


def test_a_saved_state_continues_bit_for_bit(setup: Setup, tmp_path: Path):
    with seeded(3):
        straight = start(setup)
        epoch_by_hand(straight, setup, searching=True)
        save_state(tmp_path / "state", {"search": straight.state_dict(), "generators": generators()})
        epoch_by_hand(straight, setup, searching=True)
    with seeded(99):
        resumed = start(setup, seed=8)
        saved = load_state(tmp_path / "state")
        resumed.load_state_dict(saved["search"])
        set_generators(saved["generators"])
        assert (resumed.epoch, resumed.step) == (1, 4)
        epoch_by_hand(resumed, setup, searching=True)
    assert resumed.halves == straight.halves
    assert (resumed.epoch, resumed.step) == (straight.epoch, straight.step) == (2, 8)
    for part in ("backbone", "exits", "architecture"):
        assert same(values(straight, part), values(resumed, part)), part


def test_dropout_is_part_of_what_continues(setup: Setup):
    """The test above would pass without torch's generator if the tiny encoder had no dropout."""
    state = start(setup)
    batch = setup.train.batch([0, 1])
    first, second = (deepcopy(state) for _ in range(2))
    with seeded(1):
        weight_step(first, batch, "fp32", 1.0, 1.0)
    with seeded(2):
        weight_step(second, batch, "fp32", 1.0, 1.0)
    assert not same(values(first, "exits"), values(second, "exits"))


def test_two_equal_searches_write_equal_genotypes(world: Any, silent: Any, tmp_path: Path, searched: dict[str, Any]):
    torch.manual_seed(12345)
    state = torch.get_rng_state()
    search(world.search(), Run.create(tmp_path / "again"), silent)
    assert torch.equal(torch.get_rng_state(), state)
    assert (tmp_path / "again" / "genotype.json").read_bytes() == Path(searched["genotype"]).read_bytes()
    search(world.search(seed=43), Run.create(tmp_path / "other"), silent)
    other = Genotype.load(tmp_path / "other" / "genotype.json")
    assert other.probabilities != Genotype.load(searched["genotype"]).probabilities


@pytest.mark.parametrize("scale", [True, False])
def test_the_search_scales_exits_where_asked(world: Any, silent: Any, tmp_path: Path, monkeypatch: Any, scale: bool):
    seen: list[bool] = []

    def spy(state: SearchState, batch: Any, precision: str, scaled: bool, accumulate: int) -> float:
        seen.append(scaled)
        return architecture_step(state, batch, precision, scaled, accumulate)

    monkeypatch.setattr(bilevel, "architecture_step", spy)
    search(world.search(epochs=2, scale_exits=scale), Run.create(tmp_path / "run"), silent)
    assert set(seen) == {scale}


def test_warm_up_epochs_leave_the_architecture_alone(world: Any, silent: Any, tmp_path: Path, monkeypatch: Any):
    seen: list[tuple[int, bool]] = []

    def spy(state: SearchState, batch: Any, precision: str, scaled: bool, accumulate: int) -> float:
        alphas = state.architecture.param_groups[0]["params"]
        seen.append((state.epoch, all(bool((alpha == 0).all()) for alpha in alphas)))
        return architecture_step(state, batch, precision, scaled, accumulate)

    monkeypatch.setattr(bilevel, "architecture_step", spy)
    search(world.search(epochs=3, arch_warmup_epochs=2), Run.create(tmp_path / "run"), silent)
    assert [epoch for epoch, _ in seen] == [2] * 4
    assert [untouched for _, untouched in seen] == [True, False, False, False]
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [set(line["loss"]) for line in history] == [{"weights"}, {"weights"}, {"weights", "architecture"}]


def test_a_diverged_search_names_the_step(world: Any, silent: Any, tmp_path: Path):
    with pytest.raises(ExitnasError) as caught:
        search(world.search(lr=1e30, exit_lr=1e30, warmup=0.0), Run.create(tmp_path / "run"), silent)
    assert str(caught.value).startswith("step 1: the loss is nan at exits 1, 2, 3; training diverged under ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "genotype.json").exists()
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize("space", ["linear", "mha"])
def test_a_space_of_one_point_needs_no_search(world: Any, silent: Any, tmp_path: Path, monkeypatch: Any, space: str):
    monkeypatch.setattr(bilevel, "_search", lambda *_: pytest.fail("nothing to search"))
    summary = search(world.search(space=space), Run.create(tmp_path / "run"), silent)
    assert (summary["exits"], summary["avg"], summary["best"]) == (None, None, None)
    genotype = Genotype.load(summary["genotype"])
    assert (genotype.layers, genotype.hidden_size, genotype.probabilities) == (3, 32, None)
    assert len(set(genotype.exits)) == 1
    assert genotype.origin.task == str(world.tasks["single"])


def test_what_a_search_returns_and_writes(searched: dict[str, Any], world: Any):
    folder = Path(searched["run"])
    assert {"run", "genotype", "avg", "best", "exits", "seconds"} <= set(searched)
    assert json.loads((folder / "summary.json").read_text()) == searched
    assert len(searched["exits"]) == 3
    assert searched["avg"] == pytest.approx(sum(searched["exits"]) / 3)
    assert searched["best"] == max(searched["exits"]) == searched["exits"][searched["best_exit"] - 1]
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"], line["split"]) for line in history] == [(1, 4, "dev"), (2, 8, "dev")]
    assert history[-1]["exits"] == searched["exits"]
    config = json.loads((folder / "config.json").read_text())
    assert config["command"] == "search"
    assert config["settings"]["exit_lr"] == 5e-3
    assert config["data"]["sizes"]["train"] == 60
    genotype = Genotype.load(searched["genotype"])
    assert (genotype.backbone, genotype.layers) == (str(world.backbone), 3)
    assert genotype.origin.space == "leco"
    assert len(searched["decisions"]) == 3 * len(EDGES)
    assert [cost["parameters"] > 0 and cost["macs"] > 0 for cost in searched["costs"]] == [True] * 3


def test_pairs_and_regression_search(world: Any, silent: Any, tmp_path: Path):
    for kind in ("pair", "regression"):
        summary = search(world.search(kind, epochs=1), Run.create(tmp_path / kind), silent)
        assert all(-1 <= score <= 1 for score in summary["exits"])


def test_a_single_training_row_is_refused(world: Any, silent: Any, tmp_path: Path):
    folder = tmp_path / "data"
    folder.mkdir()
    for split, rows in (("train", 1), ("dev", 4), ("test", 4)):
        lines = [json.dumps({"text": "good", "label": "ab"[n % 2]}) + "\n" for n in range(rows)]
        (folder / f"{split}.jsonl").write_text("".join(lines))
    files = "files: {train: train.jsonl, validation: dev.jsonl, test: test.jsonl}"
    (folder / "one.yaml").write_text(f"{files}\ntext: text\nlabel: label\nlabels: [a, b]\n")
    with pytest.raises(ExitnasError, match="expected at least 2, got 1"):
        search(world.search(task=str(folder / "one.yaml")), Run.create(tmp_path / "run"), silent)


def test_an_unknown_space_is_refused_before_anything_is_written(world: Any, silent: Any, tmp_path: Path):
    with pytest.raises(UsageError, match="unknown search space 'lecco': did you mean leco"):
        search(world.search(space="lecco"), Run.create(tmp_path / "run"), silent)
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(("start", "expected"), [(0.0, {0.0}), (0.5, {0.5, 0.0})])
def test_the_auxiliary_skip_falls_to_zero_before_the_search_ends(
    world: Any, silent: Any, tmp_path: Path, monkeypatch: Any, start: float, expected: set[float]
):
    seen: list[float] = []
    original = Supernet.set_auxiliary_skip

    def watched(self: Supernet, beta: float) -> None:
        seen.append(beta)
        original(self, beta)

    monkeypatch.setattr(Supernet, "set_auxiliary_skip", watched)
    search(world.search(auxiliary_skip=start), Run.create(tmp_path / "run"), silent)
    assert (seen[0], seen[-1]) == (start, 0.0)
    assert seen == sorted(seen, reverse=True)
    assert expected <= set(seen)
