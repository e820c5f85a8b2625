"""Which run directories stand behind the paths given, and what they are called."""

from pathlib import Path

import pytest

from exitnas.errors import UsageError
from exitnas.reporting.report.find import find_runs, short_names
from tests.report_page import make_run


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


def test_a_study_stands_for_the_runs_of_its_trials(tmp_path):
    study = tmp_path / "study"
    runs = [make_run(study / "trials" / name) for name in ("0000/search", "0000/retrain", "0001/search", "0010/search")]
    (study / "trials" / "0002").mkdir()
    for name in ("study.json", "summary.json"):
        (study / name).write_text("{}")
    assert find_runs([study]) == runs
    assert find_runs([study / "trials"]) == runs
    assert find_runs([study / "trials" / "0000"]) == runs[:2]
    with pytest.raises(UsageError, match="is not a run"):
        find_runs([study / "trials" / "0002"])
