"""The report of runs in whatever state: going on, killed, damaged, without data, trained by several processes."""

import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exitnas.files import read_json, write_json
from exitnas.search.bilevel import search
from exitnas.training.runs import Run
from tests.report_page import Page, make_run, report_html


@pytest.fixture
def report_of(tmp_path: Path) -> Callable[..., str]:
    """The HTML of a report."""
    return partial(report_html, tmp_path / "report.html")


def test_runs_that_go_on_or_were_killed(report_of, retrained, searched, tmp_path):
    going = tmp_path / "going"
    shutil.copytree(retrained["run"], going, ignore=shutil.ignore_patterns("summary.json", "model"))
    lines = (going / "history.jsonl").read_text().splitlines()
    (going / "history.jsonl").write_text(lines[0] + "\n" + lines[1][:20])
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(Path(searched["run"]) / "config.json", bare)
    only = tmp_path / "only"
    only.mkdir()
    shutil.copy(Path(searched["run"]) / "genotype.json", only)
    page = Page(report_of(going, bare, only))
    assert "not finished: epoch 1 of 4" in page.text
    assert "1 line cannot be read and is left out" in page.text
    assert "not finished: epoch 0 of 2" in page.text
    assert page.open == []
    assert "Trade-off" not in page.text


def test_the_search_run_can_be_made_while_it_goes_on(world, silent, report_of, tmp_path, monkeypatch):
    run = Run.create(tmp_path / "run")
    pages: list[str] = []
    log = run.log

    def after_every_line(**values: Any) -> None:
        log(**values)
        pages.append(report_of(run.path))

    monkeypatch.setattr(run, "log", after_every_line)
    search(world.search(refine=0), run, silent)
    assert [re.findall(r"not finished: epoch (\d) of 2", page)[:1] for page in pages] == [["1"], ["2"]]


def test_without_data_the_rest_is_shown(cli, retrained, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(retrained["run"], moved)
    config = read_json(moved / "model" / "config.json")
    config["task"]["base_dir"] = str(tmp_path / "nowhere")
    write_json(moved / "model" / "config.json", config)
    output = tmp_path / "out.html"
    result = cli("report", moved, "-o", output, "--device", "cpu")
    assert "not evaluated: " in result.stderr
    assert "nowhere" in result.stderr
    page = Page(output.read_text())
    assert "not evaluated: " in page.text
    assert "Run it again" in page.text
    assert "Trade-off" not in page.text


def test_without_evaluation_no_model_is_run(cli, retrained, tmp_path, monkeypatch):
    monkeypatch.setattr("exitnas.inference.session.Session.open", None)
    told = json.loads(cli("report", retrained["run"], "-o", tmp_path / "r.html", "--no-evaluation", "--json").stdout)
    assert told["bytes"] == (tmp_path / "r.html").stat().st_size
    (run,) = told["runs"]
    assert (run["kind"], run["finished"], run["evaluated"], run["notes"]) == ("retraining", True, False, [])


@pytest.mark.parametrize(
    ("file", "content", "note"),
    [
        ("config.json", {"command": ["search"], "settings": {"task": "rte"}}, ""),
        ("config.json", {"command": "search", "settings": {"task": "rte", "recipe": ["a"]}}, "settings: recipe"),
        ("config.json", {"command": "search", "settings": {"task": ["rte"], "model": 1}}, "settings: model"),
        (
            "config.json",
            {"command": "retrain", "settings": {"task": "rte", "objective_options": "x"}},
            "settings: objective_options",
        ),
        ("config.json", {"command": "retrain", "settings": {"task": "rte", "recipe": ["a"]}}, "settings: recipe"),
        ("config.json", {"command": "search", "settings": {"task": "rte", "seed": 10**400}}, "beyond 1e+20"),
        ("history.jsonl", {"epoch": 1, "exits": [0.5], "seed": [42]}, "1 line cannot be read"),
        ("history.jsonl", {"epoch": 1, "exits": [10**400], "avg": 0.5}, "1 line cannot be read"),
        ("history.jsonl", {"epoch": 1, "exits": [1e308, -1e308], "avg": 0.5}, "1 line cannot be read"),
        ("history.jsonl", {"epoch": 10**400, "exits": [0.5]}, "1 line cannot be read"),
        ("history.jsonl", {"epoch": 1, "exits": [0.5, 5e-324], "avg": 1e308}, ""),
        ("summary.json", {"seconds": 10**400, "exits": [0.5], "avg": 1e308, "best": 0.5}, "beyond 1e+20"),
        ("summary.json", [1], "summary.json: expected an object, got list"),
        ("summary.json", {}, "summary.json has no exits and no avg"),
        ("summary.json", {"run": "x"}, "summary.json has no exits and no avg"),
        ("loss_weights.json", {"seeds": {"1": [[1e308, 10**400]]}}, "beyond 1e+20"),
    ],
)
def test_damaged_files_become_notes(report_of, world, tmp_path, file, content, note):
    run = make_run(tmp_path / "run")
    world.genotype().save(run / "genotype.json")
    (run / file).write_text(json.dumps(content) + "\n")
    page = Page(report_of(run, evaluation=False))
    assert note in page.text
    assert ("not finished" in page.text) == (file != "summary.json")
