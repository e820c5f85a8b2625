"""The report stays small: long runs are thinned, many runs lose their details."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exitnas.exits.operations import EDGES
from exitnas.files import write_json
from exitnas.reporting.report import grids, panels, size
from exitnas.reporting.report.collect import read_run
from exitnas.reporting.report.values import thinned
from exitnas.training.retrain import retrain
from exitnas.training.runs import Run
from tests.conftest import make_genotype, save_backbone
from tests.report_page import Page, make_run, report_html, values_of


@pytest.fixture
def report_of(tmp_path: Path) -> Callable[..., str]:
    """The HTML of a report."""
    return partial(report_html, tmp_path / "report.html")


def test_twelve_layers_and_many_points_stay_small(report_of, world, silent, tmp_path):
    backbone = save_backbone(tmp_path / "twelve", layers=12)
    genotype = make_genotype(backbone, world.tasks["single"], layers=12)
    run = Run.create(tmp_path / "run")
    settings = world.retrain(epochs=1, limit_train=8, limit_eval=16).model_copy(update={"backbone": str(backbone)})
    retrain(settings, genotype, run, silent)
    names = {edge: registry.names() for edge, registry in EDGES.items()}
    cells = {edge: {name: 1 / len(known) for name in known} for edge, known in names.items()}
    (tmp_path / "search").mkdir()
    write_json(tmp_path / "search" / "config.json", {"command": "search", "settings": {"task": "single"}})
    lines = [{"epoch": n, "exits": [0.5] * 12, "avg": 0.5, "probabilities": [cells] * 12} for n in range(1, 51)]
    (tmp_path / "search" / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    html = report_of(run.path, tmp_path / "search", points=40)
    points = sum(len(curve) for curve in values_of(html)["run-1"]["curves"].values())
    assert points >= 200
    assert html.count('class="mini"') == 60
    assert len(html.encode()) < 1_000_000


def test_thinning_keeps_both_ends():
    assert thinned([1, 2, 3], 3) == [1, 2, 3]
    assert thinned(range(101), 5) == [0, 25, 50, 75, 100]
    assert thinned([], 2) == []


def test_a_long_run_shows_some_of_its_epochs(tmp_path):
    cells = {"pooling": {"cls": 0.25, "max": 0.75}}
    record = read_run(make_run(tmp_path / "run", "search", lines=500, probabilities=[cells, cells]), "run")
    (table,) = grids.epochs_table(record)
    assert (len(table["columns"]), table["columns"][0], table["columns"][-1]) == (panels.STEPS, 1, 500)
    assert [len(row) for row in table["rows"]] == [panels.STEPS] * 2
    grid = grids.probability_grid(record)
    assert grid is not None
    assert grid["epochs"] == 500
    assert {line["path"].count(" ") for row in grid["rows"] for cell in row["cells"] for line in cell["lines"]} == {48}
    chart = panels.training_chart(record)
    assert chart is not None
    assert {len(drawn.spots) for drawn in chart.lines if drawn.line.label == "AVG"} == {panels.STEPS}


@pytest.mark.parametrize(("limit", "whole"), [(10_000, 4), (3_400, 3), (2_399, 1), (1_500, 1), (1_399, 0), (1, 0)])
def test_as_many_runs_as_fit_keep_their_details(limit: int, whole: int):
    sections = [{"name": str(n), "notes": [], **size.DETAILS, "picture": "x" * 1000} for n in range(4)]

    def render(shown: Sequence[dict[str, Any]]) -> str:
        return "".join("y" * 100 + (one["picture"] or "") for one in shown)

    page, lacking = size.fitted(sections, render, limit)
    assert lacking == 4 - whole
    assert len(page) == 4 * 100 + 1000 * whole
    assert len(page) <= limit or whole == 0
    assert size.fitted(sections[:1], render, 1) == (render(sections[:1]), 0)


def test_runs_without_details_say_so(cli, report_of, tmp_path, monkeypatch):
    runs = [make_run(tmp_path / f"run-{n}", lines=40) for n in range(3)]
    whole = report_of(*runs)
    assert Page(whole).text.count(size.LEFT_OUT) == 0
    monkeypatch.setattr("exitnas.reporting.report.page.LIMIT", len(whole.encode()) - 1)
    result = cli("report", *runs, "-o", tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.text.count(size.LEFT_OUT) == 1
    assert page.open == []
    assert "the details of 1 run(s) are left out" in result.stderr
    assert len(page.text) < len(whole)
    monkeypatch.setattr("exitnas.reporting.report.page.LIMIT", 100)
    result = cli("report", runs[0], "-o", tmp_path / "one.html")
    assert "more than 100; give fewer runs" in result.stderr
