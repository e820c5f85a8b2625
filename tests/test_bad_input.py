"""Bad input on the command line: exit code, one line on stderr, nothing on stdout, and what the line must say."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import click
import pytest

from exitnas import hub
from exitnas.cli import list_command
from exitnas.cli.main import COMMANDS, main
from exitnas.errors import ExitnasError


@pytest.fixture
def options(world: Any, tmp_path: Path) -> dict[str, Any]:
    """Options of a search that would work."""
    return {"--task": world.tasks["single"], "--backbone": world.backbone, "--output": tmp_path / "run", "--epochs": 1}


def flat(options: dict[str, Any], **changed: Any) -> list[Any]:
    """Options as arguments; `changed` by their name without dashes, None leaves one out."""
    merged = {**options, **{f"--{name.replace('_', '-')}": value for name, value in changed.items()}}
    return [part for pair in merged.items() if pair[1] is not None for part in pair]


USAGE = [
    (["serch"], "unknown command 'serch': did you mean search", "exitnas --help"),
    (["--verbos"], "No such option '--verbos'", "exitnas --help"),
    (["search", "--tsk", "rte"], "Did you mean '--task'", "exitnas search --help"),
    (["search"], "--task is missing", "exitnas search --help"),
    (["search", "--task"], "Option '--task' requires an argument", "exitnas search --help"),
    (["search", "--task", "rte", "--epochs", "many"], "'many' is not a valid integer", "exitnas search --help"),
    (["search", "--task", "rte", "--precision", "fp8"], "'fp8' is not one of 'fp32', 'bf16'", "exitnas search --help"),
    (["search", "--task", "rte", "extra"], "unexpected extra argument", "exitnas search --help"),
    (["retrain"], "Missing argument 'GENOTYPE'", "exitnas retrain --help"),
    (["predict", "runs/x"], "give either --text or --input", "exitnas predict --help"),
    (["predict", "x", "--text", "a", "--input", "f"], "give either --text or --input", "exitnas predict --help"),
    (["predict", "x", "--text", "a", "--text-pair", "b", "--text-pair", "c"], "1 texts, 2 pairs", "exitnas predict"),
    (["predict", "x", "--text", "a", "--tau", "1"], "--tau needs --policy", "exitnas predict --help"),
    (["evaluate", "x", "--tau", "1"], "--tau needs exactly one --policy, got 0", "exitnas evaluate --help"),
    (["evaluate", "x", "--time-rounds", "0"], "--time-rounds at least 1", "exitnas evaluate --help"),
    (["list", "task"], "'task' is not one of 'tasks'", "exitnas list --help"),
    (["list", "tasks", "--layers", "0"], "expected 1 to 1000, got 0", "exitnas list --help"),
    (["list", "spaces", "--layers", "100000"], "expected 1 to 1000, got 100000", "exitnas list --help"),
]


@pytest.mark.parametrize(("arguments", "reason", "help_"), USAGE, ids=[" ".join(case[0]) for case in USAGE])
def test_wrong_usage(error_line: Any, arguments: list[str], reason: str, help_: str):
    line = error_line(*arguments, code=2)
    assert reason in line
    assert f"; see {help_}" in line
    assert "Usage:" not in line


NAMES = [
    ({"task": "rt"}, "unknown task 'rt': did you mean rte"),
    ({"task": "none.yaml"}, "--task none.yaml: no such file"),
    ({"space": "lecoo"}, "unknown search space 'lecoo': did you mean leco"),
    ({"backbone": "bert-bse"}, "unknown backbone 'bert-bse': did you mean bert-base"),
    ({"backbone": "./nowhere"}, "backbone './nowhere': no such folder"),
    ({"epochs": 0}, "--epochs: input should be greater than or equal to 1, got 0"),
    ({"exit_lr": 0}, "--exit-lr: input should be greater than 0, got 0.0"),
    ({"limit_train": 1}, "--limit-train: "),
    ({"limit_eval": 0}, "--limit-eval: "),
    ({"seed": -1}, "--seed: "),
    ({"arch_warmup_epochs": 1}, "--arch-warmup-epochs: 1 of 1 epochs leave none to search in"),
    ({"data_dir": "nowhere", "task": "rte"}, "--data-dir nowhere: no such folder"),
]


@pytest.mark.parametrize(("changed", "message"), NAMES, ids=["-".join(changed) for changed, _ in NAMES])
def test_unknown_names_and_wrong_values(
    error_line: Any, options: dict[str, Any], monkeypatch: Any, tmp_path: Path, changed: dict[str, Any], message: str
):
    monkeypatch.chdir(tmp_path)
    assert error_line("search", *flat(options, **changed), code=2).startswith(message)


def test_unknown_policies_objectives_and_models(error_line: Any, retrained: dict[str, Any], tmp_path: Path, world: Any):
    run = retrained["run"]
    assert "unknown policy 'cobe': did you mean cobee" in error_line("evaluate", run, "--policy", "cobe", code=2)
    wrong = [
        (["--policy", "cobe"], "unknown policy 'cobe': did you mean cobee"),
        (["--policy", "cobee"], "policy 'cobee' needs a value for tau"),
        (["--policy", "cobee", "--delta", 1], "policy 'cobee' has no parameter 'delta'"),
        (["--policy", "entropy", "--threshold", -1], "policy 'entropy': threshold must be"),
        (["--policy", "static", "--exit", 9], "policy 'static'"),
        (["--policy", "patience", "--patience", 1, "--tau", 0.1], "tau is for regression"),
        (["--policy", "lte", "--threshold", 0.5], "needs a certainty head"),
        (["--batch-size", 0], "--batch-size: expected at least 1, got 0"),
    ]
    for arguments, message in wrong:
        assert message in error_line("predict", run, "--text", "good", *arguments, code=2)
    genotype = tmp_path / "genotype.json"
    world.genotype().save(genotype)
    line = error_line("retrain", genotype, "--objective", "jont", "-o", tmp_path / "run", code=2)
    assert "unknown objective 'jont': did you mean joint" in line
    assert "no such folder; expected a run directory" in error_line("evaluate", tmp_path / "none", code=2)
    assert "holds no model" in error_line("predict", world.backbone.parent, "--text", "good", code=2)


def test_a_search_is_not_a_model(error_line: Any, searched: dict[str, Any]):
    line = error_line("evaluate", searched["run"], code=2)
    assert f"holds a search, not a model; run `exitnas retrain {searched['genotype']}` first" in line


def data_with(folder: Path, world: Any, name: str, content: bytes | None) -> Path:
    """A copy of the single-text task with one file replaced, or removed where None."""
    shutil.copytree(world.tasks["single"].parent, folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    return folder / "single.yaml"


DATA = [
    ("train.jsonl", None, "train.jsonl: no such file; give its folder with --data-dir"),
    ("train.jsonl", b"", "train.jsonl: expected at least two classes in column 'label', got none"),
    (
        "train.jsonl",
        b'{"text": "a", "label": "up"}\n{"text": \n',
        "train.jsonl: line 2: not valid JSON (Expecting value)",
    ),
    ("train.jsonl", b'{"text": "a", "label": "up"}\n{"text": "b"}\n', "line 2: expected a column 'label'"),
    ("dev.jsonl", b'{"text": "a", "label": "sideways"}\n', "line 1: column 'label': expected one of down, up"),
    ("dev.jsonl", b'{"text": null, "label": "up"}\n', "line 1: column 'text': expected a text, got nothing"),
    ("test.jsonl", b'{"text": "\xff", "label": "up"}\n', "test.jsonl: line 1: expected UTF-8 text"),
    ("single.yaml", b"files: {train: [", "single.yaml: line "),
    ("single.yaml", b"files: {train: a.csv}\ntext: text\nlabl: x\n", "labl: unknown key; did you mean label"),
    ("single.yaml", b"- a\n", "single.yaml: expected keys name, files, text, label, got list"),
]


@pytest.mark.parametrize(("name", "content", "message"), DATA, ids=[f"{case[0]}-{i}" for i, case in enumerate(DATA)])
def test_malformed_data_names_file_and_row(
    error_line: Any, options: Any, world: Any, tmp_path: Path, name: str, content: bytes | None, message: str
):
    task = data_with(tmp_path / "data", world, name, content)
    assert message in error_line("search", *flat(options, task=task), code=1)
    assert not list((tmp_path / "run").glob("*.json"))


def test_malformed_genotypes(error_line: Any, world: Any, tmp_path: Path):
    good = json.loads(world.genotype().to_json())
    path = tmp_path / "genotype.json"
    for change, message in [
        ({"exits": good["exits"][:2]}, "exits: expected one per layer (3), got 2"),
        ({"widht": 3}, "widht: unknown key; did you mean width"),
        ({"exits": [{**good["exits"][0], "pooling": "average"}, *good["exits"][1:]]}, "exits.0.pooling: "),
        ({"schema_version": 99}, "schema_version: "),
    ]:
        path.write_text(json.dumps({**good, **change}))
        for command in (["retrain", path, "-o", tmp_path / "run"], ["draw", path, "-o", tmp_path / "x.svg"]):
            line = error_line(*command, code=1)
            assert line.startswith(f"{path}: ")
            assert message in line
    path.write_text("{")
    assert "line 1: not valid JSON" in error_line("draw", path, code=1)
    assert "no such genotype" in error_line("retrain", tmp_path / "none.json", code=2)


def test_a_genotype_for_another_encoder(error_line: Any, world: Any, tmp_path: Path):
    good = json.loads(world.genotype().to_json())
    path = tmp_path / "genotype.json"
    for change, message in [
        ({"layers": 2, "exits": good["exits"][:2]}, "is for 2 layers of hidden size 32"),
        ({"hidden_size": 64}, "is for 3 layers of hidden size 64"),
    ]:
        path.write_text(json.dumps({**good, **change}))
        line = error_line("retrain", path, "-o", tmp_path / "run", "--quiet", code=2)
        assert message in line
        assert "has 3 layers of hidden size 32; search on" in line


def test_an_output_that_cannot_be(error_line: Any, options: Any, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text("{}")
    line = error_line("search", *flat(options), code=2)
    assert "already holds a run (summary.json); choose another folder or pass --overwrite" in line
    (tmp_path / "file").write_text("")
    assert "is a file, expected a folder" in error_line("search", *flat(options, output=tmp_path / "file"), code=2)
    line = error_line("search", *flat(options, output=tmp_path / "file" / "below"), code=1)
    assert line == f"{tmp_path / 'file' / 'below'}: Not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_without_permission(error_line: Any, options: Any, tmp_path: Path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "Permission denied" in error_line("search", *flat(options, output=tmp_path / "locked" / "run"), code=1)


def test_no_network(error_line: Any, options: Any, monkeypatch: Any, tmp_path: Path):
    monkeypatch.setattr(hub, "is_reachable", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    line = error_line("search", *flat(options, backbone="bert-base"), code=1)
    assert line.startswith("backbone ")
    assert "needs the hub" in line
    assert "--offline" in line
    line = error_line("search", *flat(options, backbone="bert-base"), "--offline", code=1)
    assert "the local cache holds no config.json of it" in line
    line = error_line("search", *flat(options, task="rte"), code=1)
    assert line.startswith("task rte: needs the hub")
    assert "--data-dir" in line


def test_predict_on_bad_rows(error_line: Any, retrained: dict[str, Any], tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"body": "b"}\n')
    line = error_line("predict", retrained["run"], "--input", path, code=1)
    assert line == f"{path}: line 2: expected an object with text in text, got body"
    assert "no such file" in error_line("predict", retrained["run"], "--input", tmp_path / "none", code=2)
    line = error_line("predict", retrained["run"], "--text", "a", "--text-pair", "b", code=2)
    assert "row 1: task single takes one text (text), got 2" in line


def test_a_regression_model_refuses_policies_of_classifiers(error_line: Any, retrained_regression: dict[str, Any]):
    run = retrained_regression["run"]
    for arguments in (["--policy", "entropy", "--threshold", 1], ["--policy", "voting", "--delta", 1]):
        assert "needs a classifier with at least 2 classes" in error_line(
            "evaluate", run, *arguments, "--quiet", code=2
        )
        assert "needs a classifier" in error_line("predict", run, "--text", "a", *arguments, code=2)
    line = error_line("predict", run, "--text", "a", "--policy", "patience", "--patience", 1, code=2)
    assert "on a regression model needs tau" in line


def test_a_policy_is_checked_before_anything_is_loaded(error_line: Any):
    line = error_line("evaluate", "nowhere", "--policy", "entropy", "--threshold", -1, code=2)
    assert line.startswith("policy 'entropy': threshold must be")


def test_a_curve_file_that_is_a_folder(error_line: Any, retrained: dict[str, Any], tmp_path: Path):
    arguments = ["--policy", "static", "--time-samples", 0, "--quiet", "--curves", tmp_path]
    assert error_line("evaluate", retrained["run"], *arguments, code=1) == f"{tmp_path}: Is a directory"


def test_a_drawing_in_an_unknown_format(error_line: Any, world: Any, tmp_path: Path):
    world.genotype().save(tmp_path / "genotype.json")
    line = error_line("draw", tmp_path / "genotype.json", "-o", tmp_path / "exits.bmp", code=2)
    assert ".svg" in line


def test_an_interrupted_command(error_line: Any, monkeypatch: Any):
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(list_command, "_policies", interrupt)
    assert error_line("list", "policies", code=130) == "interrupted"


def test_a_failed_job_and_a_bug(error_line: Any, cli: Any, monkeypatch: Any):
    def fail() -> None:
        raise ExitnasError("the job failed")

    def bug() -> None:
        raise RuntimeError("a bug keeps its traceback")

    monkeypatch.setattr(list_command, "_policies", fail)
    assert error_line("list", "policies", code=1) == "the job failed"
    monkeypatch.setattr(list_command, "_policies", bug)
    with pytest.raises(RuntimeError, match="keeps its traceback"):
        cli("list", "policies")


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_of_every_command(error_line: Any, name: str):
    line = error_line(name, "--no-such-option", code=2)
    assert line.startswith("No such option '--no-such-option'")
    assert line.endswith(f"; see exitnas {name} --help")
    assert isinstance(main.get_command(click.Context(main), name), click.Command)
