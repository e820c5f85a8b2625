"""Requests to resume that cannot be met, and what is told of those that can."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_resume import SEARCH, SPACE, Interrupted, interrupted

from exitnas.errors import ExitnasError, UsageError
from exitnas.reporting.progress import Reporter
from exitnas.search.bilevel import search
from exitnas.training.checkpoint import load_state, save_state
from exitnas.training.retrain import retrain
from exitnas.training.runs import CHECKPOINT, Run


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
    assert f"the run in {half} has epochs 3, and now it is 4; give what" in again(world, silent, half, epochs=4)
    assert "seed 42, and now it is 1" in again(world, silent, half, seed=1)
    assert "has task '" in again(world, silent, half, task=str(world.tasks["pair"]))
    (half / "config.json").write_text((half / "config.json").read_text().replace('"train": 60', '"train": 61'))
    assert "has data {'source'" in again(world, silent, half)
    (half / "config.json").write_bytes(before[half / "config.json"])
    with pytest.raises(UsageError, match="has command 'search', and now it is 'retrain'"):
        retrain(world.retrain(epochs=3), world.genotype(), Run.create(half, resume=True), silent)
    assert {p: p.read_bytes() for p in half.rglob("*") if p.is_file()} == before


def test_where_the_hub_is_not_asked_is_free(world: Any, silent: Any, half: Path):
    """Like the device, it does not belong to what is computed."""
    search(world.search(**SEARCH, offline=True), Run.create(half, resume=True), silent)
    epochs = [json.loads(line)["epoch"] for line in (half / "history.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3]


@pytest.mark.parametrize("minutes", [0, 5], ids=["with a checkpoint", "without"])
def test_other_exits_are_not_resumed(world: Any, silent: Any, tmp_path: Path, minutes: float):
    genotype = world.genotype()
    run = Interrupted.at(tmp_path / "run", 1, minutes=minutes)
    interrupted(lambda given: retrain(world.retrain(), genotype, given, silent), run)
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    other = genotype.model_copy(update={"exits": genotype.exits[::-1]})
    with pytest.raises(UsageError, match="has checksum of the genotype '"):
        retrain(world.retrain(), other, Run.create(run.path, resume=True), silent)
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == before


def test_changed_files_are_noticed(world: Any, silent: Any, tmp_path: Path):
    """A row with another label; a space with another order."""
    folder, space = tmp_path / "task", tmp_path / "own.yaml"
    shutil.copytree(world.tasks["single"].parent, folder)
    space.write_text(SPACE)
    values = {**SEARCH, "task": str(folder / "single.yaml"), "space": str(space)}
    run = Interrupted.at(tmp_path / "run", 1)
    interrupted(lambda given: search(world.search(**values), given, silent), run)
    space.write_text(SPACE.replace("[skip, conv_1]", "[conv_1, skip]"))
    assert "has checksum of the space '" in again(world, silent, run.path, **values)
    space.write_text(SPACE)
    rows = (folder / "train.jsonl").read_text()
    (folder / "train.jsonl").write_text(rows.replace('"label": "up"', '"label": "down"', 1))
    assert "has checksum of the data '" in again(world, silent, run.path, **values)


def test_a_space_that_does_not_fit_leaves_the_old_run(world: Any, silent: Any, half: Path, tmp_path: Path):
    (tmp_path / "own.yaml").write_text(SPACE.replace("width: 8", "width: null").replace("conv_1", "mha_5"))
    before = {p: p.read_bytes() for p in half.rglob("*") if p.is_file()}
    with pytest.raises(ExitnasError):
        search(world.search(space=str(tmp_path / "own.yaml")), Run.create(half, overwrite=True), silent)
    assert {p: p.read_bytes() for p in half.rglob("*") if p.is_file()} == before


def test_other_libraries_are_told(world: Any, half: Path, capsys: pytest.CaptureFixture[str]):
    config = half / "config.json"
    config.write_text(config.read_text().replace('"torch": "', '"torch": "0.'))
    search(world.search(**SEARCH), Run.create(half, resume=True), Reporter())
    assert "was started with other libraries" in capsys.readouterr().err


def test_a_full_disk_is_said_in_one_line(tmp_path: Path):
    """The checkpoint before stays; what an interruption left beside it goes."""
    path = tmp_path / "checkpoint" / "state.safetensors"
    save_state(path, {"step": 1})
    (path.parent / ".state.safetensors.1.tmp").write_text("half")
    code = (
        "import resource, torch\n"
        "from pathlib import Path\n"
        "from exitnas.errors import ExitnasError\n"
        "from exitnas.training.checkpoint import save_state\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try:\n"
        f"    save_state(Path({str(path)!r}), {{'weight': torch.zeros(10000)}})\n"
        "except ExitnasError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.startswith(f"{path}: cannot be written (")
    assert len(done.stdout.splitlines()) == 1
    assert load_state(path) == {"step": 1}
    assert [left.name for left in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", ["cut", "text", "no state", "history", "no history"])
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
        (half / "history.jsonl").write_text("{" if damage == "history" else "")
    told = again(world, silent, half)
    assert str(half / CHECKPOINT) in told
    assert told.endswith("start again with --overwrite")


def test_flags_that_contradict(error_line: Any, world: Any, tmp_path: Path, half: Path):
    task, backbone = world.tasks["single"], world.backbone
    command = ["search", "--task", task, "--backbone", backbone, "-o", half]
    assert "--overwrite replaces it: give one" in error_line(*command, "--resume", "--overwrite", code=2)
    assert "choose another folder or pass --overwrite, or --resume to go on" in error_line(*command, code=2)
    negative = error_line(*command, "--resume", "--checkpoint-minutes", "-1", code=2)
    assert negative == "--checkpoint-minutes: expected a number, 0 or more, got -1"
    (tmp_path / "own.yaml").write_text("checkpoint-minutes: .nan")
    of_file = error_line(*command, "--resume", "--config", tmp_path / "own.yaml", code=2)
    assert of_file == f"{tmp_path / 'own.yaml'}: checkpoint-minutes: expected a number, 0 or more, got nan"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "genotype.json").write_text("{}")
    other = error_line(*command[:-1], tmp_path / "other", "--resume", code=2)
    assert other.endswith("already holds a run (genotype.json); choose another folder or pass --overwrite")


def test_flags_win_over_the_file(cli: Any, world: Any, half: Path, tmp_path: Path):
    common = world.common(epochs=3, arch_lr=0.1, refine=0)
    lines = [f"{name}: {value}" for name, value in common.items()]
    (tmp_path / "own.yaml").write_text("\n".join([*lines, "overwrite: true", f"output: {half}", "quiet: true"]))
    cli("search", "--config", tmp_path / "own.yaml")
    told = cli("search", "--config", tmp_path / "own.yaml", "--resume", "--json")
    assert json.loads(told.stdout)["run"] == str(half)


def test_a_baseline_is_not_taken_for_a_retraining(error_line: Any, cli: Any, world: Any, tmp_path: Path):
    common = [f"--{name.replace('_', '-')}={value}" for name, value in world.common().items()]
    cli("baseline", "truncated", "--layers", 2, *common, "-o", tmp_path / "run", "-q")
    told = error_line(
        "retrain", tmp_path / "run", "--config", tmp_path / "run", "-o", tmp_path / "run", "--resume", "-q", code=2
    )
    assert "holds a baseline" in told
