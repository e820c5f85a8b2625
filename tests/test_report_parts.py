"""The parts of the report that need no model: reading runs, geometry, tables."""

import json
from pathlib import Path

import pytest

from exitnas.errors import UsageError
from exitnas.files import write_json
from exitnas.reporting.report import charts, comparison, grids, panels
from exitnas.reporting.report.collect import find_runs, read_run, short_names
from exitnas.reporting.report.evaluation import SHOWN_CHARACTERS, shortened


def make_run(folder: Path, command: str = "retrain", lines: int = 2, **settings) -> Path:
    """A run directory with settings and a history, not finished."""
    settings = {"task": "rte", "epochs": 4, "seed": 42, **settings}
    write_json(folder / "config.json", {"command": command, "settings": settings, "data": {}, "versions": {}})
    history = [{"seed": 42, "epoch": n, "exits": [0.5, 0.5 + n / 10], "avg": 0.5 + n / 20} for n in range(1, lines + 1)]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history), encoding="utf-8")
    return folder


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


def test_runs_are_found_behind_folders_and_models(tmp_path):
    run = make_run(tmp_path / "trial" / "retrain")
    search = make_run(tmp_path / "trial" / "search", "search")
    (run / "model").mkdir()
    (run / "model" / "config.json").write_text("{}")
    (run / "model" / "model.safetensors").write_bytes(b"")
    for number in (10, 2):
        make_run(tmp_path / "cut" / f"layers-{number}")
    assert find_runs([run, run / "model", tmp_path / "trial"]) == [run, search]
    assert find_runs([tmp_path / "trial"]) == [search, run]
    assert [path.name for path in find_runs([tmp_path / "cut"])] == ["layers-2", "layers-10"]


def test_folders_that_are_no_runs_are_refused(tmp_path):
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "file").write_text("")
    for path, words in ((encoder, "is not a run"), (tmp_path / "file", "is a file"), (tmp_path / "no", "no such")):
        with pytest.raises(UsageError, match=words):
            find_runs([path])


def test_names_are_as_long_as_it_takes_to_tell_runs_apart():
    assert short_names([Path("/a/x/run"), Path("/a/y/run")]) == ["x/run", "y/run"]
    assert short_names([Path("/a/x"), Path("/a/y")]) == ["x", "y"]


def test_what_is_damaged_is_left_out_and_told(tmp_path):
    run = make_run(tmp_path / "run")
    with (run / "history.jsonl").open("a") as file:
        file.write('{"epoch": 3, "exi')
    (run / "genotype.json").write_text('{"schema_version": 1}')
    (run / "summary.json").write_text("{")
    record = read_run(run, "run")
    assert [line["epoch"] for line in record.history] == [1, 2]
    assert record.genotype is None
    assert not record.finished
    assert [note.split()[0] for note in record.notes] == ["summary.json", "history.jsonl:", "genotype.json"]
    assert panels.state(record).startswith("not finished: epoch 2 of 4, last written 2")


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
