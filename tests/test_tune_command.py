"""`exitnas tune` with real, tiny runs: trials, `show`, `best`, and requests that cannot be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SPACE = """
name: tiny
exit_lr: {low: 1e-3, high: 2e-2, log: true}
search: {exit_width: {choices: [8, 32]}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    (folder / "space.yaml").write_text(SPACE)
    return folder


@pytest.fixture
def flags(world: Any, place: Path) -> list[str]:
    given = {
        "task": world.tasks["single"],
        "backbone": world.backbone,
        "tuning-space": place / "space.yaml",
        "epochs": 1,
        "batch-size": 16,
        "limit-train": 32,
        "limit-eval": 12,
        "device": "cpu",
        "set": "search.refine=0",
    }
    return [str(word) for key, value in given.items() for word in (f"--{key}", value)]


GOALS = ("--goal", "avg", "--goal", "latency")


@pytest.fixture
def study(cli: Callable[..., Any], flags: list[str], place: Path) -> Path:
    """A study of two real trials with two goals, made once."""
    folder = place / "study"
    if not folder.exists():
        out = cli("tune", *flags, *GOALS, "--trials", 2, "-o", folder, "--json").stdout
        (place / "out.json").write_text(out)
    return folder


def test_a_study_of_real_runs(study: Path, place: Path, cli: Callable[..., Any]):
    summary = json.loads((place / "out.json").read_text())
    assert summary["states"] == {"complete": 2}
    assert [set(trial["values"]) for trial in summary["trials"]] == [{"avg", "latency"}] * 2
    assert (summary["study"], summary["task"]) == ("study", "single")
    for trial in summary["trials"]:
        run = Path(trial["run"])
        config = json.loads((run / "search" / "config.json").read_text())
        assert config["settings"]["exit_width"] == trial["parameters"]["search.exit_width"]
        width = json.loads((run / "search" / "genotype.json").read_text())["width"]
        assert width == trial["parameters"]["search.exit_width"]
        seeds = json.loads((run / "retrain" / "summary.json").read_text())["seeds"]
        assert seeds[0]["dev"]["avg"] == trial["values"]["avg"]
        assert "dev avg" in (run / "log.txt").read_text()
        assert (run / "retrain" / "model" / "model.safetensors").is_file()
    assert json.loads(cli("tune", "show", study, "--json").stdout) == summary


def test_show_prints_trials_front_and_dashboard(study: Path, cli: Callable[..., Any]):
    for address in (study, study / "journal.log"):
        out = cli("tune", "show", address).stdout
        assert "maximize avg, minimize latency" in out
        assert "complete*" in out
        assert "search.exit_width=32" in out
        assert f"dashboard: optuna-dashboard {study}/journal.log" in out


def test_what_to_do_next_is_said_for_one_goal_and_for_a_front(
    study: Path, place: Path, flags: list[str], cli: Callable[..., Any]
):
    again = cli("tune", *flags, *GOALS, "--timeout", 0, "-o", study).stdout.splitlines()
    front = ", ".join(map(str, json.loads((place / "out.json").read_text())["front"]))
    assert again[-1] == f"next: exitnas tune best {study} --trial N, with N from the front: {front}"
    empty = cli("tune", *flags, "--timeout", 0, "-o", place / "empty").stdout
    assert empty.splitlines()[-1] == "no trial is complete yet"
    assert "* best" not in empty


def test_the_best_settings_search_again(
    study: Path, place: Path, cli: Callable[..., Any], error_line: Callable[..., str]
):
    if len(json.loads((place / "out.json").read_text())["front"]) > 1:
        assert "choose from its front" in error_line("tune", "best", study, code=2)
    written = json.loads(cli("tune", "best", study, "--trial", 1, "-o", place / "best", "--json").stdout)
    cli("search", "--config", written["files"][0], "-o", place / "again", "-q")
    first = (study / "trials" / "0001" / "search" / "genotype.json").read_text()
    assert (place / "again" / "genotype.json").read_text() == first
    cli("retrain", place / "again", "--config", written["files"][1], "-o", place / "model", "-q")
    scores = [
        json.loads((f / "summary.json").read_text())["avg"] for f in (place / "model", study / "trials/0001/retrain")
    ]
    assert scores[0] == scores[1]


def test_requests_that_cannot_be(flags: list[str], place: Path, error_line: Callable[..., str]):
    out = ["-o", str(place / "new")]
    for extra, message in (
        (["--goal", "average"], "unknown goal 'average': did you mean avg"),
        (["--pruner", "medium"], "unknown pruner 'medium': did you mean median"),
        (["--set", "epoch=1"], "--set epoch: unknown setting; did you mean epochs"),
        (["--set", "epochs"], "Invalid value for '--set': expected NAME=VALUE"),
        (["--trials", "0"], "Invalid value for '--trials': 0 is not in the range x>=1"),
        (["--tuning-space", "none.yaml"], "--tuning-space none.yaml: no such file"),
        (["--task", "nosuch"], "unknown task 'nosuch'"),
        (
            ["--name", "a/b"],
            "--name: expected letters, digits, '_', '.' and '-', the first a letter or digit, got 'a/b'",
        ),
        (["--name", ".."], "--name: expected letters"),
        (["--name", "a\nb"], "--name: expected letters"),
        (["--set", "task=rte"], "--set task: not taken here; give it with --task"),
        (["--set", "search.backbone=b"], "--set search.backbone: not taken here; give it with --backbone"),
        (["--set", "recipe=leebert"], "--set recipe: not taken here; a study has none"),
        (["--set", "search.epochs=0"], "--set search.epochs: input should be greater than or equal to 1, got 0"),
        (["--set", "epochs=true"], "--set epochs: expected a number or text, got true"),
        (["--set", "objective_options=5"], "--set objective_options: expected options by name"),
        (["--set", "objective_options=5", "--set", "objective_options.a=1"], "--set objective_options: expected"),
        (["--storage", "sqlite://"], "--storage sqlite://: is gone when the command ends; write sqlite:///FILE"),
        (["--storage", "u:s3cret@host/db"], "--storage: a URL starts with a scheme, such as postgresql+psycopg://"),
        (["--space", "nosuch"], "unknown search space 'nosuch'"),
        (["--set", "gradient=ga_soft"], "--gradient ga_soft aligns"),
    ):
        assert error_line("tune", *flags, *out, *extra, code=2).startswith(message)
    assert error_line("tune", code=2).startswith("--task is missing")
    assert error_line("tune", "best", "nowhere", code=2).startswith("nowhere: no study; expected the folder")
    assert not (place / "new" / "trials").exists()
