"""Runs that were interrupted and resumed end as runs that were not."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from event_files import read, series

from exitnas.files import read_json
from exitnas.search.bilevel import search
from exitnas.training.retrain import retrain
from exitnas.training.runs import CHECKPOINT, Run
from exitnas.training.truncated import train_truncated

SEARCH: dict[str, Any] = {"epochs": 3, "arch_lr": 0.1}
VARYING = ("summary.json", "config.json")
SPACE = """name: own
description: small
width: 8
activation_in: [relu, tanh]
encoder_1: [skip, conv_1]
encoder_2: [skip, conv_1]
pooling: [avg, max]
activation_out: [relu, tanh]
"""
#: Stages, weights that are learned with D2, angles, a head, weights that are drawn.
PLANS: dict[str, dict[str, Any]] = {
    "joint": {"lte": True},
    "stages": {"objective": "two_stage", "epochs": 4},
    "crossed": {"objective": "mutual", "weighting": "clo_v2", "weighting_options": {"cycle": 3, "lr": 0.05}},
    "aligned": {"objective": "mutual", "gradient": "ga_hard", "weighting": "random"},
}


class Interrupted(Run):
    """A run that is interrupted in its n-th evaluation, before or after its checkpoint."""

    number, before, evaluations = 1, False, 0

    @classmethod
    def at(cls, path: Path, number: int, *, before: bool = False, minutes: float = 0) -> "Interrupted":
        run = cls.create(path, checkpoint_minutes=minutes)
        assert isinstance(run, Interrupted)
        run.number, run.before = number, before
        return run

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        self.evaluations += 1
        if self.before and self.evaluations == self.number:
            raise KeyboardInterrupt
        super().checkpoint(state)
        if self.evaluations == self.number:
            raise KeyboardInterrupt


def interrupted(job: Callable[[Run], Any], run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        job(run)
    assert not (run.path / "summary.json").exists()


def resume(job: Callable[[Run], Any], path: Path, **more: Any) -> Any:
    return job(Run.create(path, resume=True, **more))


def same_files(first: Path, second: Path, *names: str) -> None:
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert {p.name for p in first.iterdir()} == {p.name for p in second.iterdir()}


def same_summary(first: dict[str, Any], second: dict[str, Any]) -> None:
    changing = {"seconds", "run", "genotype", "model"}
    assert {k: v for k, v in first.items() if k not in changing} == {
        k: v for k, v in second.items() if k not in changing
    }


def same_board(first: Path, second: Path) -> None:
    one, two = read(first), read(second)
    assert one.Tags()["scalars"] == two.Tags()["scalars"]
    for tag in one.Tags()["scalars"]:
        assert series(one, tag) == series(two, tag), tag
    assert one.Tags()["images"] == two.Tags()["images"]
    for tag in one.Tags()["images"]:
        assert [image.encoded_image_string for image in one.Images(tag)] == [
            image.encoded_image_string for image in two.Images(tag)
        ], tag


@pytest.fixture(scope="module")
def searching(world: Any, silent: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return search(world.search(**SEARCH), Run.create(tmp_path_factory.mktemp("straight") / "run"), silent)


@pytest.mark.parametrize(
    ("number", "before"), [(1, False), (2, True), (3, False)], ids=["after one", "between", "refining"]
)
def test_a_search_goes_on(
    world: Any, silent: Any, searching: dict[str, Any], tmp_path: Path, number: int, before: bool
):
    def job(run: Run) -> dict[str, Any]:
        return search(world.search(**SEARCH), run, silent)

    interrupted(job, Interrupted.at(tmp_path / "run", number, before=before))
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert len(lines) == number
    summary = resume(job, tmp_path / "run")
    same_summary(summary, searching)
    same_files(Path(searching["run"]), tmp_path / "run", "genotype.json", "history.jsonl")
    same_board(Path(searching["run"]) / "tb", tmp_path / "run" / "tb")


def test_the_state_is_saved_every_so_many_minutes_only(world: Any, silent: Any, tmp_path: Path):
    """Without a checkpoint, resuming starts afresh; a complete run has none left."""

    def job(run: Run) -> dict[str, Any]:
        return search(world.search(**SEARCH), run, silent)

    interrupted(job, Interrupted.at(tmp_path / "run", 2, minutes=5))
    assert not (tmp_path / "run" / CHECKPOINT).exists()
    resume(job, tmp_path / "run", checkpoint_minutes=0)
    history = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in history] == [1, 2, 3]
    assert not (tmp_path / "run" / CHECKPOINT.parent).exists()


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(("number", "before"), [(1, False), (4, True)], ids=["first seed", "second seed"])
def test_retraining_goes_on(world: Any, silent: Any, tmp_path: Path, plan: str, number: int, before: bool):
    settings = world.retrain(seeds=2, **PLANS[plan])

    def job(run: Run) -> dict[str, Any]:
        return retrain(settings, world.genotype(), run, silent)

    straight = job(Run.create(tmp_path / "straight"))
    interrupted(job, Interrupted.at(tmp_path / "run", number, before=before))
    summary = resume(job, tmp_path / "run")
    same_summary(summary, straight)
    traces = [path.name for path in (tmp_path / "straight").glob("*.json*") if path.name not in VARYING]
    same_files(tmp_path / "straight", tmp_path / "run", "model/model.safetensors", *traces)
    for seed in (42, 43):
        same_board(tmp_path / "straight" / "tb" / f"seed_{seed}", tmp_path / "run" / "tb" / f"seed_{seed}")


def test_a_seed_that_began_after_the_checkpoint_begins_afresh(world: Any, silent: Any, tmp_path: Path):
    settings = world.retrain(seeds=2)

    def job(run: Run) -> dict[str, Any]:
        return retrain(settings, world.genotype(), run, silent)

    straight = job(Run.create(tmp_path / "straight"))
    run = Interrupted.at(tmp_path / "run", 3)
    save = run.checkpoint
    run.checkpoint = lambda state: (setattr(run, "_minutes", 5 * (run.evaluations > 0)), save(state))[1]  # type: ignore[method-assign]
    interrupted(job, run)
    assert len(list((tmp_path / "run" / "tb" / "seed_43").iterdir())) == 1
    same_summary(resume(job, tmp_path / "run"), straight)
    same_board(tmp_path / "straight" / "tb" / "seed_43", tmp_path / "run" / "tb" / "seed_43")


def test_a_complete_run_is_told_again(world: Any, silent: Any, searching: dict[str, Any], monkeypatch: Any):
    def never(*_: Any) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr("exitnas.search.bilevel.weight_step", never)
    path = Path(searching["run"])
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    assert search(world.search(**SEARCH), Run.create(path, resume=True), silent) == read_json(path / "summary.json")
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_a_complete_run_that_was_moved_is_told_with_its_new_paths(world: Any, silent: Any, tmp_path: Path):
    job = partial(search, world.search(space="linear"))
    first = job(Run.create(tmp_path / "before"), silent)
    (tmp_path / "before").rename(tmp_path / "after")
    (tmp_path / "after" / CHECKPOINT.parent).mkdir()
    second = job(Run.create(tmp_path / "after", resume=True), silent)
    assert second["genotype"] == str(tmp_path / "after" / "genotype.json")
    assert second["run"] == str(tmp_path / "after")
    assert second["costs"] == first["costs"]
    assert not (tmp_path / "after" / CHECKPOINT.parent).exists()


def test_a_baseline_goes_on_and_is_told_again(world: Any, silent: Any, tmp_path: Path):
    def job(run: Run) -> dict[str, Any]:
        return train_truncated(world.retrain(), world.genotype(), 2, run, silent)

    straight = job(Run.create(tmp_path / "straight"))
    interrupted(job, Interrupted.at(tmp_path / "run", 1))
    same_summary(resume(job, tmp_path / "run"), straight)
    same_summary(resume(job, tmp_path / "run"), straight)


def test_a_killed_command_goes_on(world: Any, cli: Any, tmp_path: Path):
    """SIGKILL as soon as there is a checkpoint; the same command with --resume ends as if nothing had been."""
    common = world.common(epochs=3, arch_lr=0.1, refine=3)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in common.items()]
    words = ["search", *flags, "--checkpoint-minutes", "0", "--output", str(tmp_path / "run"), "--json"]
    code = "from exitnas.cli.main import main; main()"
    with subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.DEVNULL) as job:
        deadline = time.monotonic() + 90
        while not (tmp_path / "run" / CHECKPOINT).exists() and job.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        job.send_signal(signal.SIGKILL)
    assert job.returncode == -signal.SIGKILL, "it ended before it could be killed"
    resumed = cli(*words, "--resume")
    assert "resumed after search epoch" in resumed.stderr
    straight = cli(*words[:-3], "--output", tmp_path / "straight", "--json")
    same_summary(json.loads(resumed.stdout), json.loads(straight.stdout))
    same_files(tmp_path / "run", tmp_path / "straight", "genotype.json", "history.jsonl")
