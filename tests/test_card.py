"""The model card: what it says, that it says nothing that was not measured, and that no text breaks it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_model import CLASSES, tiny_model

from exitnas.errors import ExitnasError
from exitnas.exits.exit import exit_costs
from exitnas.modeling.card import code, figures, markdown, one_line, write_card
from exitnas.modeling.configuration import MultiExitConfig
from exitnas.modeling.saving import store_policy


def parts(text: str) -> tuple[dict[str, Any], str]:
    """Front matter and Markdown of a card."""
    empty, matter, body = text.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(matter), body


def table_after(body: str, heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, header and ruler left out."""
    lines = body.split(f"## {heading}\n")[1].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows[2:]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model's directory, with made-up results."""
    config = tiny_model().config
    config.exitnas = {
        "version": "9.9",
        "data": {"data_dir": "/home/me/data"},
        "results": {
            "base_model": "owner/encoder-base",
            "tokens": 12,
            "rows": {"train": 100, "dev": 30, "test": 40},
            "dev": [0.5, 0.75, 0.625],
            "test": [0.25, 0.5, 0.4375],
            "settings": {"objective": "joint", "epochs": 3, "recipe": None, "data_dir": "/home/me", "lr": 5e-05},
        },
    }
    config.save_pretrained(tmp_path)
    write_card(tmp_path)
    return tmp_path


def change(folder: Path, **values: Any) -> str:
    """The card after the config was changed."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    write_card(folder)
    return (folder / "README.md").read_text(encoding="utf-8")


def test_front_matter(folder: Path):
    matter, _ = parts((folder / "README.md").read_text())
    assert matter["library_name"] == "exitnas"
    assert matter["pipeline_tag"] == "text-classification"
    assert matter["base_model"] == "owner/encoder-base"
    assert matter["metrics"] == ["accuracy"]
    (index,) = matter["model-index"]
    (result,) = index["results"]
    assert result["dataset"] == {"name": "tiny", "type": "tiny", "split": "test"}
    named = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert named == {"accuracy, last exit": 0.4375, "accuracy, best exit": 0.5, "accuracy, mean of exits": 0.395833}


def test_the_hub_can_read_it(folder: Path):
    from huggingface_hub import ModelCard

    data = ModelCard.load(folder / "README.md").data
    assert data.model_name == "exitnas tiny"
    assert [result.metric_value for result in data.eval_results] == [0.4375, 0.5, 0.395833]


def test_the_table_of_exits(folder: Path):
    _, body = parts((folder / "README.md").read_text())
    config = MultiExitConfig.from_pretrained(folder)
    costs = exit_costs(config.read_genotype(), 3, 12)
    rows = table_after(body, "Exits")
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [row[5:] for row in rows] == [
        [str(cost["parameters"]), str(cost["macs"]), *scores]
        for cost, scores in zip(costs, (["50.0", "25.0"], ["75.0", "50.0"], ["62.5", "43.8"]), strict=True)
    ]
    assert [row[2] for row in rows] == ["`skip`"] * 3
    assert "on 30 dev rows (which chose the checkpoint) and 40 test rows" in body


def test_settings_are_told_without_files_of_the_machine(folder: Path):
    text = (folder / "README.md").read_text()
    assert table_after(text, "Training") == [["objective", "joint"], ["epochs", "3"], ["lr", "5e-05"]]
    assert "/home/me" not in text


def test_nothing_is_said_that_was_not_recorded(tmp_path: Path):
    tiny_model().config.save_pretrained(tmp_path)
    write_card(tmp_path)
    matter, body = parts((tmp_path / "README.md").read_text())
    assert "model-index" not in matter
    assert "base_model" not in matter
    assert "No scores were recorded." in body
    assert [len(row) for row in table_after(body, "Exits")] == [6, 6, 6]
    assert "## Training" not in body
    assert "None is stored" in body


def test_a_calibrated_policy_with_its_promise(folder: Path):
    record = {
        "goal": "max_drop", "max_drop": 0.01, "confidence": 0.95, "loss": "accuracy lost", "split": "dev", "rows": 30,
        "score": 0.625, "mean_exit": 1.23456, "file": "/home/me/rows", "nested": {"a": 1}, "temperature_rows": None,
    }  # fmt: skip
    policy = {"name": "cobee", "parameters": {"tau": 0.123456789, "patience": 1}, "calibration": record}
    matter, body = parts(change(folder, policy=policy, temperatures=[1.5, 2.0, 0.25]))
    assert "In force by default: `cobee` with `tau` = 0.1235, `patience` = 1." in body
    rows = dict(table_after(body, "Exit policy"))
    assert (rows["mean exit"], rows["rows"], rows["score"]) == ("1.235", "30", "0.625")
    assert not {"file", "nested", "temperature rows"} & rows.keys()
    told = " ".join(body.split())
    assert "with confidence 0.95 over the draw of the calibration rows" in told
    assert "(accuracy lost) against the full model, which is the last exit, is at most 0.01." in told
    assert "first layer first: 1.500, 2.000, 0.250." in told
    metrics = {m["name"]: (r["dataset"]["split"], m["value"]) for r in matter["model-index"][0]["results"]
               for m in r["metrics"]}  # fmt: skip
    assert metrics["accuracy, calibrated exit policy"] == ("dev", 0.625)


def test_a_policy_without_calibration_promises_nothing(folder: Path):
    body = change(folder, policy={"name": "static", "parameters": {"exit": 3}})
    assert "In force by default: `static` with `exit` = 3." in body
    assert "promise:" not in body
    assert "calibration, which recorded" not in body


def test_storing_a_policy_rewrites_the_card(retrained: dict[str, Any], tmp_path: Path):
    shutil.copytree(retrained["model"], tmp_path / "model")
    store_policy(tmp_path / "model", {"name": "patience", "parameters": {"patience": 1}}, None)
    assert "`patience` = 1" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "# x",
        "a|b",
        "`tick`",
        "x\n---\ny",
        "[a](http://b)",
        "<script>",
        "'q\": {",
        "名前",
        "a: b",
        "- c",
        "*b*",
        "\u2028",
    ],
)
def test_no_text_of_the_user_breaks_the_card(folder: Path, name: str):
    task = CLASSES.model_copy(
        update={"name": f"x{name}", "label_column": f"l{name}", "text_columns": (f"t{name}",)}
    ).model_dump(mode="json")
    task["labels"] = [name, "b", "c"]
    text = change(folder, task=task)
    clean, _ = parts((folder / "README.md").read_text())
    matter, body = parts(text)
    assert matter == clean
    assert matter["model-index"][0]["name"] == f"exitnas {one_line('x' + name)}"
    assert len(table_after(body, "Exits")) == 3
    title = next(line for line in body.splitlines() if line.startswith("# "))
    assert title == f"# encoder-base with early exits for {markdown('x' + name)}"
    assert sum(line.startswith("# ") for line in body.split("```")[0].splitlines()) == 1
    assert "<script>" not in title


def test_escaping():
    assert markdown("a_b *c* [d] <e> `f` |g|\n# h") == r"a\_b \*c\* \[d\] \<e\> \`f\` \|g\| \# h"
    assert code("a`b|c\nd") == "`a'b¦c d`"
    assert figures({"a": 1, "b": "dev", "c": "/x", "d": None, "e": [1], "f": "a\\b"}) == {"a": 1, "b": "dev"}
    assert figures("nothing") == {}


def test_a_catalog_task_names_its_data(folder: Path):
    from exitnas.tasks import get_task

    task = get_task("rte")
    labels = {str(index): name for index, name in enumerate(task.labels or ())}
    matter, body = parts(change(folder, task=task.model_dump(mode="json"), id2label=labels))
    assert matter["datasets"] == ["nyu-mll/glue"]
    dataset = matter["model-index"][0]["results"][0]["dataset"]
    assert (dataset["type"], dataset["config"]) == ("nyu-mll/glue", "rte")
    assert 'classify({"text": "...", "text_pair": "..."})' in body


def test_a_model_whose_last_exit_alone_was_trained_says_so(folder: Path):
    exitnas = json.loads((folder / "config.json").read_text())["exitnas"]
    exitnas["results"]["settings"]["objective"] = "last"
    matter, body = parts(change(folder, exitnas=exitnas))
    measured = {metric["name"] for metric in matter["model-index"][0]["results"][0]["metrics"]}
    assert measured == {"accuracy, last exit"}
    assert "Only the last exit was trained" in body


def test_a_policy_is_not_stored_where_the_card_cannot_be_written(retrained: dict[str, Any], tmp_path: Path):
    model = tmp_path / "model"
    shutil.copytree(retrained["model"], model)
    values = json.loads((model / "config.json").read_text())
    values["exitnas"]["results"]["dev"] = [0.5]
    (model / "config.json").write_text(json.dumps(values))
    with pytest.raises(ExitnasError, match="dev and test scores of 3 exits"):
        store_policy(model, {"name": "patience", "parameters": {"patience": 1}}, None)
    assert json.loads((model / "config.json").read_text()) == values


def test_damaged_results_are_one_line(folder: Path):
    for results, reason in (
        ({"tokens": 3}, "exitnas: results: rows: required"),
        ({"tokens": 3, "rows": {}, "dev": [0.1], "test": [0.1]}, "dev and test scores of 3 exits, got 1 and 1"),
        ("good", "exitnas: results"),
    ):
        with pytest.raises(ExitnasError, match=reason) as caught:
            change(folder, exitnas={"results": results})
        assert "\n" not in str(caught.value)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ExitnasError, match="not the config of a model"):
        write_card(folder)


def test_retraining_writes_the_card_of_the_model_it_saves(retrained: dict[str, Any], world: Any):
    text = (Path(retrained["model"]) / "README.md").read_text(encoding="utf-8")
    matter, body = parts(text)
    best = retrained["seeds"][0]
    rows = table_after(body, "Exits")
    assert [row[7] for row in rows] == [f"{100 * score:.1f}" for score in best["dev"]["exits"]]
    assert [row[8] for row in rows] == [f"{100 * score:.1f}" for score in best["test"]["exits"]]
    assert [row[6].replace(",", "") for row in rows] == [str(cost["macs"]) for cost in retrained["costs"]]
    assert "base_model" not in matter
    assert str(world.backbone) not in text
    assert str(world.tasks["single"]) not in text
    assert dict(table_after(body, "Training"))["epochs"] == "4"
