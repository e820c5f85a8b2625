"""Two processes against one: the same search, the same retraining, one writer, shared failures."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_second_order import second_order_gradient
from tiny_model import tiny_model, tiny_setup

from exitnas.exits.genotype import Genotype
from exitnas.files import read_json
from exitnas.modeling.saving import load_model
from exitnas.search.bilevel import search
from exitnas.training.device import seeded
from exitnas.training.evaluation import all_outputs
from exitnas.training.retrain import retrain
from exitnas.training.runs import Run
from exitnas.training.setup import prepare

HERE = Path(__file__).parent
#: 61 rows in batches of 12: the last one has a single row, so the second process has none.
PLANS: dict[str, dict[str, Any]] = {
    "joint": {"objective": "joint", "lte": True},
    "aligned": {"objective": "mutual", "gradient": "ga_soft"},
    "crossed": {"objective": "mutual", "weighting": "clo_v2", "weighting_options": {"cycle": 2, "lr": 0.05}},
}


def environment() -> dict[str, str]:
    """This process's, with one thread, the repository and the tests on the path."""
    paths = os.pathsep.join([str(HERE), str(HERE.parent)])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}


def run(*command: Any, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a launcher; one that takes too long is asked to end, so that it ends what it started."""
    words = [sys.executable, "-m", *map(str, command)]
    settings = {**environment(), **variables}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=settings) as job:
        try:
            stdout, stderr = job.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            job.terminate()
            stdout, stderr = job.communicate()
    return subprocess.CompletedProcess(words, job.returncode, stdout, stderr)


def torchrun(*arguments: Any) -> "subprocess.CompletedProcess[str]":
    """Two processes."""
    return run("torch.distributed.run", "--standalone", "--nproc_per_node", 2, *arguments)


@pytest.fixture(scope="module")
def pair(world: Any, silent: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Runs of one process in `one/`, of two in `two/`, and what each of the two answered."""
    folder = tmp_path_factory.mktemp("pair")
    task = folder / "uneven.yaml"
    rows = [json.loads(line) for line in (world.tasks["single"].parent / "train.jsonl").read_text().splitlines()]
    for name, chosen in (("train", [*rows, rows[7]]), ("dev", rows[:13]), ("test", rows[20:37])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chosen))
    task.write_text(world.tasks["single"].read_text().replace("name: single", "name: uneven"))
    common = {"task": str(task), "dropout": 0.0}
    searching = world.search(**common, epochs=2, batch_size=6, arch_lr=0.3)
    training = {name: world.retrain(**common, batch_size=12, **plan) for name, plan in PLANS.items()}
    genotype = world.genotype()

    (folder / "two").mkdir()
    genotype.save(folder / "start.json")
    request = {
        "folder": str(folder / "two"),
        "genotype": str(folder / "start.json"),
        "search": searching.model_dump(mode="json"),
        "retrains": {name: settings.model_dump(mode="json") for name, settings in training.items()},
    }
    (folder / "request.json").write_text(json.dumps(request))
    done = torchrun(HERE / "two_processes.py", folder / "request.json")
    assert done.returncode == 0, done.stderr[-3000:]

    (folder / "one").mkdir()
    search(searching, Run.create(folder / "one" / "search"), silent)
    for name, settings in training.items():
        retrain(settings, genotype, Run.create(folder / "one" / name), silent)
    answers = [read_json(folder / "two" / f"answers-{rank}.json") for rank in (0, 1)]
    assert [answer["processes"] for answer in answers] == [2, 2]
    second = second_order_gradient(prepare(searching))
    return {"folder": folder, "second order": second, "answers": answers, "stderr": done.stderr, "stdout": done.stdout}


def differences(first: Genotype, second: Genotype) -> list[float]:
    """Of all probabilities."""
    assert first.probabilities
    assert second.probabilities
    return [
        abs(value - other[edge][name])
        for layer, other in zip(first.probabilities, second.probabilities, strict=True)
        for edge, candidates in layer.items()
        for name, value in candidates.items()
    ]


def test_the_same_genotype(pair: dict[str, Any]):
    one, two = (Genotype.load(pair["folder"] / which / "search" / "genotype.json") for which in ("one", "two"))
    assert one.exits == two.exits
    assert one.origin == two.origin
    largest = max(differences(one, two))
    assert largest < 1e-4, f"largest difference of the architecture probabilities: {largest:.2g}"
    cells = [list(cell.values()) for layer in one.probabilities or () for cell in layer.values()]
    moved = max(abs(value - 1 / len(cell)) for cell in cells for value in cell)
    assert moved > 0.1, "the search did not move, so nothing was compared"


def test_the_same_second_order_gradient(pair: dict[str, Any]):
    for answer in pair["answers"]:
        assert answer["second order"] == pytest.approx(pair["second order"], rel=1e-6, abs=1e-10)


def test_resumed_runs_go_on_with_the_noise_of_every_process(pair: dict[str, Any]):
    for answer in pair["answers"]:
        straight, resumed, again = answer["resumed"]
        assert straight == resumed == again
    noisy, continued = (pair["folder"] / "two" / name for name in ("noisy", "resumed"))
    for name in ("genotype.json", "history.jsonl"):
        assert (noisy / name).read_bytes() == (continued / name).read_bytes()


def history(pair: dict[str, Any], which: str, name: str) -> list[dict[str, Any]]:
    lines = (pair["folder"] / which / name / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_same_losses_of_both_levels(pair: dict[str, Any]):
    one, two = (history(pair, which, "search") for which in ("one", "two"))
    assert len(one) == len(two) == 2
    for first, second in zip(one, two, strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
        assert second["exits"] == pytest.approx(first["exits"], abs=1e-9)
    assert set(one[-1]["loss"]) == {"weights", "architecture"}


@pytest.mark.parametrize("name", PLANS)
def test_the_same_retraining(pair: dict[str, Any], name: str):
    one, two = (history(pair, which, name) for which in ("one", "two"))
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-4)
    setup, _ = tiny_setup(11)
    logits = [
        all_outputs(load_model(pair["folder"] / which / name)[0], setup.test, 4, setup.device)
        for which in ("one", "two")
    ]
    torch.testing.assert_close(logits[1][0], logits[0][0], atol=1e-3, rtol=0)
    assert (logits[0][1] is None) == (name != "joint")


def test_the_same_angles_and_loss_weights(pair: dict[str, Any]):
    one, two = (pair["folder"] / which for which in ("one", "two"))
    angles = [read_json(run / "aligned" / "gradient_angles.json")["seeds"]["42"] for run in (one, two)]
    assert len(angles[0]) == 2 * 6
    assert angles[1] == pytest.approx(angles[0], abs=0.05)
    weights = [read_json(run / "crossed" / "loss_weights.json")["seeds"]["42"] for run in (one, two)]
    torch.testing.assert_close(torch.tensor(weights[1]), torch.tensor(weights[0]), atol=1e-4, rtol=0)
    assert torch.tensor(weights[0]).std() > 0.01


def test_one_writer_and_one_voice(pair: dict[str, Any]):
    two = pair["folder"] / "two"
    assert sorted(path.name for path in two.iterdir()) == sorted(
        ["answers-0.json", "answers-1.json", "nan", "noisy", "resumed", "search", *PLANS]
    )
    for name in ("search", "joint"):
        found, expected = (
            sorted(str(path.relative_to(base)) for path in base.rglob("*") if "events.out" not in path.name)
            for base in (two / name, pair["folder"] / "one" / name)
        )
        assert found == expected
        assert len(list((two / name).rglob("events.out*"))) == 1
    assert pair["stdout"] == ""
    assert pair["stderr"].count("search epoch 1/2") == 1


def test_every_row_is_answered_once_and_in_order(pair: dict[str, Any]):
    setup, _ = tiny_setup(11)
    logits, certainty = all_outputs(tiny_model(certainty=True), setup.test, 2, setup.device)
    for answer in pair["answers"]:
        assert answer["logits"] == logits.tolist()
        assert certainty is not None
        assert answer["certainty"] == certainty.tolist()
        assert answer["search"] == pair["answers"][0]["search"]


def test_every_process_takes_its_rows(pair: dict[str, Any]):
    assert [answer["rows"] for answer in pair["answers"]] == [[0, 2, 4], [1, 3]]
    assert [answer["no rows"] for answer in pair["answers"]] == [1.0, 0.0]
    assert all(answer["sums"] == [[1.0] * 3, [[2.0, 2.0]] * 2, 10.0] for answer in pair["answers"])


def test_what_one_process_finds_wrong_stops_both(pair: dict[str, Any]):
    for answer in pair["answers"]:
        assert answer["agreed"] == "only the second process found something wrong"
        assert answer["nan"].startswith("step 0: the loss is nan at exits 2; training diverged under ")
        assert answer["different weights"].startswith("the processes have different weights to start from (")
        assert answer["unreadable"].endswith("missing: No such file or directory")
        assert answer["different data"].startswith("the processes have different data (rows and checksums) ([(8, ")
        assert "already holds a run" in answer["taken"]


def test_noise_differs_and_the_first_goes_on_as_one_process(pair: dict[str, Any]):
    first, second = (answer["noise"] for answer in pair["answers"])
    with seeded(5):
        assert first == torch.rand(3).tolist()
    assert not set(first) & set(second)


@pytest.mark.slow
def test_accelerate_launch_gives_the_genotype_of_one_process(pair: dict[str, Any], cli: Callable[..., Any], world: Any):
    """`accelerate launch --cpu --num_processes 2` starts a single process by itself."""
    folder = pair["folder"]
    common = ["search", "--task", folder / "uneven.yaml", "--backbone", world.backbone, "--epochs", 2]
    common += ["--dropout", 0]
    common += ["--batch-size", 6, "--lr", 1e-3, "--exit-lr", 5e-3, "--refine", 3, "--quiet"]
    cli(*common, "--json", "-o", folder / "cli-one")
    accelerate = ["accelerate.commands.launch", "--cpu", "--num_processes", 2, "-m", "exitnas"]
    done = run(*accelerate, *common, "--accumulate", 2, "--json", "-o", folder / "cli-two")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == str(folder / "cli-two")
    one, two = (Genotype.load(folder / which / "genotype.json") for which in ("cli-one", "cli-two"))
    assert one.exits == two.exits
    assert max(differences(one, two)) < 1e-4
    assert read_json(folder / "cli-two" / "config.json")["processes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["search", "--task", "nosuch"], "unknown task"),
        (["list", "tasks"], "Error: list runs in one process and was started in several; only search, retrain"),
        (["search", "--batch-sise", "4"], "No such option"),
    ],
)
def test_errors_are_told_once(arguments: list[str], line: str):
    done = torchrun("-m", "exitnas", *arguments)
    assert done.returncode != 0
    assert done.stdout == ""
    assert sum(text.startswith("Error: ") for text in done.stderr.splitlines()) == 1
    assert line in done.stderr


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"WORLD_SIZE": "abc"}, "environment variable WORLD_SIZE: expected a whole number, got 'abc'"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "started as one of 2 processes that cannot find each other ("),
    ],
)
def test_an_environment_that_makes_no_sense(variables: dict[str, str], line: str):
    done = run("exitnas", "search", "--task", "rte", **variables)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {line}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_what_only_a_later_process_knows_is_told(tmp_path: Path):
    script = tmp_path / "fails.py"
    script.write_text(
        "import os, sys\nfrom exitnas.cli.main import fail\n"
        "fail('only the second knows', 1) if os.environ['RANK'] == '1' else __import__('time').sleep(20)\n"
    )
    done = torchrun(script)
    assert done.returncode != 0
    assert "Error: only the second knows" in done.stderr
