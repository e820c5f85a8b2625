"""The run directory, settings, and finding a model in a directory."""

import json
from pathlib import Path
from typing import Any

import pytest

from exitnas import __version__
from exitnas.errors import UsageError
from exitnas.modeling.saving import model_directory
from exitnas.settings import RetrainSettings, SearchSettings, make_settings
from exitnas.training.runs import CONTENTS, Run


def old_run(folder: Path) -> Path:
    """A folder with everything a run writes and a file of the user's own."""
    for name in CONTENTS:
        if "." in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("old")
        else:
            (folder / name / "deep").mkdir(parents=True)
            (folder / name / "deep" / "file").write_text("old")
    (folder / "notes.txt").write_text("mine")
    return folder


def test_a_new_folder_is_made(tmp_path: Path):
    run = Run.create(tmp_path / "a" / "b")
    assert run.path.is_dir()
    assert list(run.path.iterdir()) == []


def test_a_folder_with_other_files_is_used(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    assert Run.create(tmp_path).path == tmp_path


@pytest.mark.parametrize("name", CONTENTS)
def test_a_folder_that_holds_any_part_of_a_run_is_refused(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    with pytest.raises(UsageError) as caught:
        Run.create(tmp_path)
    ways = "--overwrite, or --resume to go on with it" if name == "config.json" else "--overwrite"
    told = f"--output {tmp_path}: already holds a run ({name}); choose another folder or pass {ways}"
    assert str(caught.value) == told


def test_a_file_is_refused(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is a file, expected a folder"):
            Run.create(path, overwrite=overwrite)


def test_overwriting_removes_the_old_run_and_nothing_else(tmp_path: Path):
    folder = old_run(tmp_path / "run")
    run = Run.create(folder, overwrite=True)
    assert sorted(p.name for p in folder.iterdir()) == sorted([*CONTENTS, "notes.txt"])  # nothing happened yet
    run.start("search", {"a": 1}, {})
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "notes.txt"]
    assert (folder / "notes.txt").read_text() == "mine"


def test_config_records_settings_data_and_versions(tmp_path: Path):
    run = Run.create(tmp_path / "run")
    run.start("retrain", {"lr": 0.5}, {"source": "here"})
    config = json.loads((run.path / "config.json").read_text())
    assert (config["command"], config["settings"], config["data"]) == ("retrain", {"lr": 0.5}, {"source": "here"})
    assert config["versions"]["exitnas"] == __version__
    assert {"python", "torch", "transformers"} <= set(config["versions"])


def test_history_has_one_line_per_evaluation(tmp_path: Path):
    run = Run.create(tmp_path / "run")
    for epoch in (1, 2):
        run.log(epoch=epoch, avg=0.5)
    lines = (run.path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"epoch": 1, "avg": 0.5}, {"epoch": 2, "avg": 0.5}] == run.history
    run.write_summary({"best": 1.0})
    assert json.loads((run.path / "summary.json").read_text()) == {"best": 1.0}


def test_a_model_is_found_in_a_run_and_by_itself(tmp_path: Path):
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    for name in ("model.safetensors", "config.json"):
        (model / name).write_text("")
    assert model_directory(tmp_path / "run") == model
    assert model_directory(str(model)) == model


def test_no_model_is_said_in_one_line(tmp_path: Path):
    with pytest.raises(UsageError, match="none: no such folder; expected a run directory of `exitnas retrain`"):
        model_directory(tmp_path / "none")
    with pytest.raises(UsageError, match="holds no model"):
        model_directory(tmp_path)
    (tmp_path / "genotype.json").write_text("{}")
    with pytest.raises(UsageError, match=r"holds a search, not a model; run `exitnas retrain .*genotype.json` first"):
        model_directory(tmp_path)


WRONG = [
    (RetrainSettings, {"epochs": 0}, "--epochs: input should be greater than or equal to 1, got 0"),
    (RetrainSettings, {"batch_size": -3}, "--batch-size: input should be greater than or equal to 1, got -3"),
    (RetrainSettings, {"exit_lr": 0.0}, "--exit-lr: input should be greater than 0, got 0.0"),
    (RetrainSettings, {"lr": float("nan")}, "--lr: "),
    (RetrainSettings, {"seed": -1}, "--seed: "),
    (RetrainSettings, {"max_length": 3}, "--max-length: "),
    (RetrainSettings, {"limit_train": 1}, "--limit-train: "),
    (RetrainSettings, {"precision": "fp16"}, "--precision: input should be 'fp32' or 'bf16', got 'fp16'"),
    (RetrainSettings, {"seeds": 0}, "--seeds: "),
    (RetrainSettings, {"batchsize": 3}, "--batchsize: unknown key; did you mean batch_size"),
    (SearchSettings, {"split": "never"}, "--split: "),
    (SearchSettings, {"arch_lr": -1.0}, "--arch-lr: "),
    (SearchSettings, {"epochs": 2, "arch_warmup_epochs": 2}, "--arch-warmup-epochs: 2 of 2 epochs leave none"),
]


@pytest.mark.parametrize(("kind", "values", "message"), WRONG, ids=[next(iter(values)) for _, values, _ in WRONG])
def test_wrong_settings_name_the_option(kind: Any, values: dict[str, Any], message: str):
    with pytest.raises(UsageError) as caught:
        make_settings(kind, task="rte", **values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_settings_that_were_not_given_are_the_defaults():
    assert make_settings(RetrainSettings, task="rte", epochs=None, lr=None) == RetrainSettings(task="rte")


@pytest.mark.parametrize(("values", "warmup"), [({"epochs": 1}, 0), ({"epochs": 2}, 1), ({}, 1)])
def test_one_epoch_of_several_is_without_architecture_steps(values: dict[str, int], warmup: int):
    assert SearchSettings(task="rte", **values).arch_warmup_epochs == warmup
    assert SearchSettings(task="rte", arch_warmup_epochs=0).arch_warmup_epochs == 0
