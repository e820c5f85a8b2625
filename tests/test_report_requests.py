"""What a report may be asked for: bad requests are refused before any model is run, good ones reach the evaluation."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exitnas.inference.contestants import open_baseline
from exitnas.policies.base import make_policy
from exitnas.training.runs import Run
from exitnas.training.truncated import train_truncated
from tests.report_page import make_run, report_html, values_of


@pytest.fixture
def report_of(tmp_path: Path) -> Callable[..., str]:
    """The HTML of a report."""
    return partial(report_html, tmp_path / "report.html")


def test_limit_and_split_reach_the_evaluation(report_of, retrained):
    (run,) = values_of(report_of(retrained["run"], split="dev", limit_eval=8, points=5)).values()
    assert run["rows"] == 8
    assert len(run["curves"]["entropy"]) <= 6  # and the one shown first


def test_bad_requests_are_one_line(error_line, retrained, tmp_path):
    output = tmp_path / "r.html"
    assert "at least one RUN" in error_line("report", code=2)
    assert "no such folder" in error_line("report", tmp_path / "no", "-o", output, code=2)
    assert "is not a run directory" in error_line("report", tmp_path, "-o", output, code=2)
    run = retrained["run"]
    output.write_text("mine")
    assert "already there" in error_line("report", run, "-o", output, "--no-evaluation", code=2)
    assert output.read_text() == "mine"
    assert "Is a directory" in error_line("report", run, "-o", tmp_path, "--no-evaluation", "--overwrite", code=1)


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--points", "1", "expected at least 2, got 1"),
        ("--batch-size", "0", "--batch-size: expected at least 1, got 0"),
        ("--limit-eval", "-3", "--limit-eval: expected at least 1, got -3"),
        ("--data-dir", "/nonexistent/folder", "--data-dir /nonexistent/folder: no such folder"),
        ("--device", "cuda", "--device cuda"),
    ],
)
def test_settings_that_suit_no_run_are_refused(error_line, retrained, tmp_path, monkeypatch, flag, value, words):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert words in error_line("report", retrained["run"], "-o", tmp_path / "r.html", flag, value, code=2)
    assert not (tmp_path / "r.html").exists()


def test_only_truncated_baselines_of_the_task_are_baselines(error_line, retrained, searched, tmp_path):
    words = ("report", retrained["run"], "-o", tmp_path / "r.html", "--baseline")
    assert "is a retraining; expected a run of `exitnas baseline" in error_line(*words, retrained["run"], code=2)
    assert "is a search; expected a run of `exitnas baseline" in error_line(*words, searched["run"], code=2)
    other = make_run(tmp_path / "cut", layers=1)
    assert "holds no model" in error_line(*words, other, code=2)
    (other / "model").mkdir()
    (other / "model" / "model.safetensors").write_bytes(b"")
    assert "was trained for task rte, the runs for single" in error_line(*words, other, code=2)
    assert not (tmp_path / "r.html").exists()


def test_a_baseline_counts_with_its_last_exit_whatever_policy_it_stores(
    report_of, retrained, world, silent, tmp_path, monkeypatch
):
    run = Run.create(tmp_path / "layers-2")
    summary = train_truncated(world.retrain(epochs=1), world.genotype(), 2, run, silent)
    first_exit = make_policy("static", {"exit": 1})

    def calibrated(*given: Any) -> Any:
        return replace(open_baseline(*given), policy=first_exit, score=-1.0)

    monkeypatch.setattr("exitnas.reporting.report.evaluation.open_baseline", calibrated)
    (values,) = values_of(report_of(retrained["run"], baselines=[run.path])).values()
    assert values["curves"]["truncated"][0][0] == pytest.approx(summary["score"], abs=1e-5)
