"""The parts of the report that need no model: reading runs, geometry, tables."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from exitnas.files import write_json
from exitnas.inference.tradeoff import Point
from exitnas.reporting.report import charts, comparison, grids, panels
from exitnas.reporting.report.collect import read_run
from exitnas.reporting.report.evaluation import SHOWN_CHARACTERS, setting, shortened
from exitnas.reporting.report.tradeoffs import why_other_numbers
from tests.report_page import make_run


@pytest.mark.parametrize(
    ("low", "high", "count", "labels"),
    [
        (0.0, 1.0, 5, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (51.0, 68.0, 5, ["55", "60", "65"]),
        (0.9, 2.1, 5, ["1.00", "1.25", "1.50", "1.75", "2.00"]),
        (95.0, 610.0, 6, ["100", "200", "300", "400", "500", "600"]),
        (-0.1, 0.1, 4, ["-0.10", "-0.05", "0.00", "0.05", "0.10"]),
    ],
)
def test_ticks_are_round_numbers_within_the_range(low, high, count, labels):
    assert [text for _, text in charts.ticks(low, high, count)] == labels


def test_ticks_of_layers_are_whole():
    assert [text for _, text in charts.ticks(0.9, 3.1, 6, whole=True)] == ["1", "2", "3"]


def test_a_chart_places_points_between_its_borders():
    plot = charts.chart([charts.Line("a", [(0.0, 10.0), (4.0, 20.0)])], "t", "x", "y")
    (x0, y0), (x1, y1) = plot.lines[0].spots
    left, top, right, bottom = plot.frame
    air_x, air_y = 0.03 / 1.06, 0.06 / 1.12  # of the frame
    assert x0 == pytest.approx(left + air_x * (right - left), abs=0.06)
    assert x1 == pytest.approx(right - air_x * (right - left), abs=0.06)
    assert y0 == pytest.approx(bottom - air_y * (bottom - top), abs=0.06)
    assert y1 == pytest.approx(top + air_y * (bottom - top), abs=0.06)
    assert plot.lines[0].path == f"M{x0:g} {y0:g}L{x1:g} {y1:g}"


def test_a_chart_of_equal_or_no_values_has_a_range():
    for points in ([(1.0, 50.0)], []):
        plot = charts.chart([charts.Line("a", points)], "t", "x", "y")
        assert plot.x_range[0] < plot.x_range[1]
        assert plot.y_range[0] < plot.y_range[1]
        assert plot.y_ticks


def test_small_pictures_put_one_above_and_zero_below():
    assert charts.mini([0.0, 1.0, 0.5], 10, 4) == "M0 4L5 0L10 2"
    assert charts.mini([1.7], 10, 4) == "M0 0"


def test_mean_and_deviation_over_seeds():
    assert panels.over_seeds([[0.5, 0.7], [0.6, 0.7]]) == [
        (pytest.approx(0.55), pytest.approx(0.0707107, abs=1e-6)),
        (pytest.approx(0.7), 0.0),
    ]
    assert panels.over_seeds([[0.5]]) == [(0.5, None)]
    assert panels.over_seeds([]) == []
    assert panels.over_seeds([[0.5], [0.5, 0.6]]) == []


def test_durations():
    assert [panels.duration(s) for s in (5.4, 600, 7260)] == ["5 s", "10 min", "2 h 1 min"]


def test_texts_are_cut_and_put_on_one_line():
    assert shortened(" a\n b ") == "a b"
    long = shortened("x" * 1000)
    assert len(long) == SHOWN_CHARACTERS
    assert long.endswith("x…")


def test_what_is_damaged_is_left_out_and_told(tmp_path):
    run = make_run(tmp_path / "run")
    with (run / "history.jsonl").open("a") as file:
        file.write('{"epoch": 3, "exi')
    (run / "genotype.json").write_text('{"schema_version": 1}')
    (run / "summary.json").write_text("{")
    record = read_run(run, "run")
    assert [line["epoch"] for line in record.history] == [1, 2]
    assert record.genotype is None
    assert record.finished
    assert [note.split()[0] for note in record.notes] == ["summary.json", "history.jsonl:", "genotype.json"]
    (run / "summary.json").unlink()
    assert panels.state(read_run(run, "run")).startswith("not finished: epoch 2 of 4, last written 2")


def test_a_run_without_any_line_yet(tmp_path):
    record = read_run(make_run(tmp_path / "run", lines=0), "run")
    assert panels.state(record).startswith("not finished: epoch 0 of 4")
    assert panels.exits_table(record) == []
    assert panels.training_chart(record) is None
    assert panels.summary_scores(record) == {"avg": "–", "best": "–", "split": "–"}


def test_probabilities_over_epochs(tmp_path):
    run = make_run(tmp_path / "run", "search", lines=0)
    cells = [{"pooling": {"cls": 0.5, "max": 0.5}}, {"pooling": {"cls": 0.25, "max": 0.75}}]
    lines = [{"epoch": n, "exits": [0.5], "probabilities": [cell]} for n, cell in enumerate(cells, start=1)]
    (run / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    grid = grids.probability_grid(read_run(run, "run"))
    assert grid is not None
    assert (grid["epochs"], grid["edges"]) == (2, ["pooling"])
    (cell,) = grid["rows"][0]["cells"]
    assert (cell["leader"], cell["share"]) == ("max", 0.75)
    assert [(line["label"], line["path"]) for line in cell["lines"]] == [
        ("max 0.75", "M0 22L96 11"),
        ("cls 0.25", "M0 22L96 33"),
    ]


def test_loss_weights_come_from_their_file_or_the_last_line(tmp_path):
    run = make_run(tmp_path / "run")
    with (run / "history.jsonl").open("a") as file:
        file.write(json.dumps({"seed": 42, "epoch": 3, "exits": [0.5, 0.6], "loss_weights": [[0.25, 0.75]]}) + "\n")
    (table,) = grids.loss_weights(read_run(run, "run"))
    assert table["columns"] == ["term 1", "term 2"]
    assert table["rows"] == [[{"text": "0.250", "share": 0}, {"text": "0.750", "share": 100}]]
    write_json(run / "loss_weights.json", {"terms": ["task", "from exit 1"], "seeds": {"7": [[0.5, 0.0]]}})
    (table,) = grids.loss_weights(read_run(run, "run"))
    assert (table["title"], table["columns"]) == ("seed 7", ["task", "from exit 1"])
    assert table["rows"] == [[{"text": "0.500", "share": 50}, {"text": "", "share": 0}]]


def test_only_settings_that_differ_are_compared(tmp_path):
    runs = [make_run(tmp_path / "a", lr=0.1), make_run(tmp_path / "b", lr=0.2, lte=True)]
    records = [read_run(run, run.name) for run in runs]
    assert comparison.differing_settings(records) == [("lr", ["0.1", "0.2"]), ("lte", ["–", "True"])]


def test_training_is_compared_within_a_task_and_a_supernet_is_called_one(tmp_path):
    named = {"a": {"command": "search"}, "b": {}, "c": {"task": "mrpc"}, "d": {"lines": 1}, "e": {"task": "mrpc"}}
    records = [read_run(make_run(tmp_path / name, **given), name) for name, given in named.items()]
    rte, mrpc = comparison.training_charts(records)
    assert [drawn.line.label for drawn in rte.lines] == ["a (supernet)", "b"]
    assert [drawn.line.label for drawn in mrpc.lines] == ["c", "e"]
    assert (rte.title, mrpc.title) == ("AVG on dev over epochs, rte", "AVG on dev over epochs, mrpc")
    assert comparison.training_charts(records[1:3]) == []


def test_a_setting_is_shown_with_the_digits_it_takes():
    point = Point("entropy", {"threshold": 0.6914772987365723}, 0.5, 1.5, 1.3, None, [1, 1])
    assert setting(point) == "threshold=0.691477299"
    assert setting(replace(point, policy="patience", parameters={"patience": 2})) == "patience=2"


def test_numbers_of_another_pass_are_explained(tmp_path):
    record = read_run(make_run(tmp_path / "run", precision="bf16"), "run")
    found: Any = SimpleNamespace(split="test", precision="fp32")
    bf16 = "Scores in the table of exits above are run in bf16; here they are run in fp32."
    assert why_other_numbers(record, found) == bf16
    found.precision = "bf16"
    assert why_other_numbers(record, found) == ""
    found.precision = "fp32"
    summary = {"seeds": [{"test": {"exits": [0.5, 0.5]}}] * 3}
    assert "means over 3 seeds, run in bf16; here" in why_other_numbers(replace(record, summary=summary), found)


def test_the_number_of_tokens_is_told_where_it_is_recorded(tmp_path):
    record = read_run(make_run(tmp_path / "run"), "run")
    assert panels.counted(record) == "at the mean length of the training rows"
    assert panels.counted(replace(record, summary={"tokens": 66})).endswith("training rows, 66 tokens")


def test_a_chart_of_values_that_differ_by_rounding_has_ticks():
    for values in ([0.0, 5e-324], [50.0, 50.0 + 1e-14], [1e20, -1e20]):
        assert charts.chart([charts.Line("a", list(enumerate(values)))], "t", "x", "y").y_ticks
