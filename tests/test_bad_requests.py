"""Requests refused before any work: settings of an evaluation, hostile files on the command line, the tools."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from exitnas import __version__
from exitnas.cli.options import NamedValue
from exitnas.errors import UsageError
from exitnas.inference.evaluate import check_policies
from exitnas.inference.session import Session
from exitnas.policies.base import make_policy

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass over the data is a failure."""

    def refuse(self: Session) -> None:
        raise AssertionError("the data were run through the model")

    monkeypatch.setattr(Session, "evaluation", refuse)


@pytest.mark.usefixtures("no_pass")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "static", "--exit", 9], "policy 'static': exit must be 1..3 here, got 9"),
        (["--policy", "lte"], "policy 'lte' needs a certainty head, and this model was trained without one"),
        (["--policy", "lte", "--threshold", 0.5], "policy 'lte' needs a certainty head"),
        (["--policy", "patience", "--patience", 1, "--tau", 1], "policy 'patience': tau is for regression"),
        (["--max-drop", -1], "--max-drop must be at least 0 (0.01 is one point of score), got -1.0"),
        (["--max-drop", "nan"], "--max-drop must be at least 0 (0.01 is one point of score), got nan"),
    ],
)
def test_an_evaluation_that_cannot_be(error_line: Any, retrained: dict[str, Any], arguments: list[Any], message: str):
    assert error_line("evaluate", retrained["run"], "--quiet", *arguments, code=2).startswith(message)


@pytest.mark.usefixtures("no_pass")
def test_a_classifiers_policy_on_regression(error_line: Any, retrained_regression: dict[str, Any]):
    run = retrained_regression["run"]
    line = error_line("evaluate", run, "--policy", "entropy", "--quiet", code=2)
    assert line.startswith("policy 'entropy' needs a classifier with at least 2 classes")
    assert line.endswith("use one of static, patience")
    assert "needs tau" in error_line("evaluate", run, "--policy", "patience", "--patience", 1, "--quiet", code=2)


@pytest.mark.usefixtures("no_pass")
def test_a_curve_file_that_cannot_be(error_line: Any, retrained: dict[str, Any], tmp_path: Path):
    (tmp_path / "file").write_text("")
    line = error_line("evaluate", retrained["run"], "--quiet", "--curves", tmp_path / "file" / "curves.csv", code=1)
    assert line == f"{tmp_path / 'file'}: File exists"
    assert error_line("evaluate", retrained["run"], "--quiet", "--curves", tmp_path, code=1).endswith("Is a directory")


def test_policies_that_can_be(retrained: dict[str, Any], retrained_regression: dict[str, Any]):
    session = Session.open(retrained["run"])
    check_policies(session.model, session.data.spec, ["static", "oracle", make_policy("static", {"exit": 3})])
    other = Session.open(retrained_regression["run"])
    check_policies(other.model, other.data.spec, ["static", "patience"])
    with pytest.raises(UsageError, match="unknown policy 'cobe'"):
        check_policies(session.model, session.data.spec, ["cobe"])


DEEP, LONG = "[" * 99_999, "9" * 5000


@pytest.mark.parametrize("content", [DEEP, f'{{"layers": {LONG}}}'])
def test_hostile_genotypes(error_line: Any, tmp_path: Path, content: str):
    path = tmp_path / "genotype.json"
    path.write_text(content)
    assert error_line("draw", path, code=1).startswith(f"{path}: line 1: ")


@pytest.mark.parametrize("content", [f"name: {DEEP[:5000]}", f"width: {LONG}"])
def test_hostile_yaml(error_line: Any, tmp_path: Path, content: str):
    path = tmp_path / "own.yaml"
    path.write_text(content)
    assert error_line("search", "--task", path, code=1).startswith(f"{path}: ")
    assert error_line("search", "--task", "rte", "--space", path, code=1).startswith(f"{path}: ")


def test_a_missing_space_is_bad_usage(error_line: Any):
    line = error_line("search", "--task", "rte", "--space", "none.yaml", code=2)
    assert line.startswith("--space none.yaml: no such file")


def test_hostile_option_values(error_line: Any):
    for value, part in ((DEEP, "at most 100 lists"), (LONG, "more than 4300 digits")):
        line = error_line("retrain", "x", "--objective-option", f"temperature={value}", code=2)
        assert "temperature: line 1: " in line
        assert part in line
    convert = NamedValue().convert
    assert [convert(text, None, None)[1] for text in ("a=2", "a=true", "a=soft", "a=[1", "a=")] == [
        2,
        True,
        "soft",
        "[1",
        "",
    ]


def test_python_m_exitnas():
    command = [sys.executable, "-m", "exitnas", "--version"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == f"exitnas, version {__version__}\n"


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("bench_search", ["--task", "rt"], "unknown task 'rt'"),
        ("bench_objectives", ["--backbone", "tiny", "--genotype", "none.json"], "none.json: no such file"),
    ],
)
def test_a_tool_says_in_one_line_what_is_wrong(tool: str, arguments: list[str], message: str):
    spec = importlib.util.spec_from_file_location(tool, ROOT / "tools" / f"{tool}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = CliRunner().invoke(module.main, arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {message}")
    assert len(result.stderr.splitlines()) == 1
