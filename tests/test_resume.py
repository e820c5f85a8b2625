"""Runs that were interrupted and resumed end as runs that were not."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from event_files import read, series

from exitnas.errors import ExitnasError, UsageError
from exitnas.files import read_json
from exitnas.search.bilevel import search
from exitnas.training.retrain import retrain
from exitnas.training.runs import CHECKPOINT, Run
from exitnas.training.truncated import train_truncated

SEARCH: dict[str, Any] = {"epochs": 3, "arch_lr": 0.1}
VARYING = ("summary.json", "config.json")
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


def test_a_complete_run_is_told_again(world: Any, silent: Any, searching: dict[str, Any], monkeypatch: Any):
    def never(*_: Any) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr("exitnas.search.bilevel.weight_step", never)
    path = Path(searching["run"])
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    assert search(world.search(**SEARCH), Run.create(path, resume=True), silent) == read_json(path / "summary.json")
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_a_baseline_goes_on_and_is_told_again(world: Any, silent: Any, tmp_path: Path):
    def job(run: Run) -> dict[str, Any]:
        return train_truncated(world.retrain(), world.genotype(), 2, run, silent)

    straight = job(Run.create(tmp_path / "straight"))
    interrupted(job, Interrupted.at(tmp_path / "run", 1))
    same_summary(resume(job, tmp_path / "run"), straight)
    same_summary(resume(job, tmp_path / "run"), straight)


@pytest.fixture
def half(world: Any, silent: Any, tmp_path: Path) -> Path:
    """A search interrupted after its first epoch."""
    run = Interrupted.at(tmp_path / "half", 1)
    interrupted(lambda given: search(world.search(**SEARCH), given, silent), run)
    return run.path


def again(world: Any, silent: Any, path: Path, **values: Any) -> str:
    """The one line that says why a search cannot be resumed."""
    with pytest.raises(ExitnasError) as caught:
        search(world.search(**{**SEARCH, **values}), Run.create(path, resume=True), silent)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_only_the_same_search_is_resumed(world: Any, silent: Any, half: Path):
    before = {p: p.read_bytes() for p in half.rglob("*") if p.is_file()}
    assert f"the run in {half} has epochs 3, and now it is 4; give the" in again(world, silent, half, epochs=4)
    assert "seed 42, and now it is 1" in again(world, silent, half, seed=1)
    assert "has task '" in again(world, silent, half, task=str(world.tasks["pair"]))
    (half / "config.json").write_text((half / "config.json").read_text().replace('"train": 60', '"train": 61'))
    assert "has data {'source'" in again(world, silent, half)
    (half / "config.json").write_bytes(before[half / "config.json"])
    with pytest.raises(UsageError, match="has command 'search', and now it is 'retrain'"):
        retrain(world.retrain(epochs=3), world.genotype(), Run.create(half, resume=True), silent)
    assert {p: p.read_bytes() for p in half.rglob("*") if p.is_file()} == before


def test_where_the_device_is_another_one(world: Any, silent: Any, half: Path, searching: dict[str, Any]):
    summary = search(world.search(**SEARCH, offline=True), Run.create(half, resume=True), silent)
    assert summary["exits"] == searching["exits"]


def test_other_exits_are_not_resumed(world: Any, silent: Any, tmp_path: Path):
    genotype = world.genotype()
    run = Interrupted.at(tmp_path / "run", 1)
    interrupted(lambda given: retrain(world.retrain(), genotype, given, silent), run)
    other = genotype.model_copy(update={"exits": genotype.exits[::-1]})
    with pytest.raises(UsageError, match="trains other exits than this genotype's; choose another --output"):
        retrain(world.retrain(), other, Run.create(run.path, resume=True), silent)


@pytest.mark.parametrize("damage", ["cut", "text", "no state", "history"])
def test_damage_is_said_in_one_line(world: Any, silent: Any, half: Path, damage: str):
    from safetensors.torch import save_file

    path = half / CHECKPOINT
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "text":
        path.write_text("nothing of the kind")
    elif damage == "no state":
        save_file({}, path, {"state": '{"pairs": []}'})
    else:
        (half / "history.jsonl").write_text("{")
    told = again(world, silent, half)
    assert str(half / CHECKPOINT) in told
    assert told.endswith("start again with --overwrite")


def test_flags_that_contradict(error_line: Any, world: Any, tmp_path: Path, half: Path):
    task, backbone = world.tasks["single"], world.backbone
    command = ["search", "--task", task, "--backbone", backbone, "-o", half]
    assert "--overwrite replaces it: give one" in error_line(*command, "--resume", "--overwrite", code=2)
    assert "choose another folder or pass --overwrite, or --resume to go on" in error_line(*command, code=2)
    negative = error_line(*command, "--resume", "--checkpoint-minutes", "-1", code=2)
    assert negative == "--checkpoint-minutes: expected 0 or more, got -1"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "genotype.json").write_text("{}")
    other = error_line(*command[:-1], tmp_path / "other", "--resume", code=2)
    assert other.endswith("already holds a run (genotype.json); choose another folder or pass --overwrite")


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
