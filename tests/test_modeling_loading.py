"""Loading and uploading as transformers does it: precision, device maps, missing weights, tampered files, the hub."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import B, E, tiny_batch, tiny_model
from transformers import AutoTokenizer

from exitnas.backbones.loading import quiet
from exitnas.errors import ExitnasError, UsageError
from exitnas.modeling import MultiExitForSequenceClassification
from exitnas.modeling.saving import load_model

Model = MultiExitForSequenceClassification


@pytest.fixture(scope="module")
def folder(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a certainty head, and some tokenizer."""
    path = tmp_path_factory.mktemp("tiny") / "model"
    tiny_model(certainty=True).save_pretrained(path)
    AutoTokenizer.from_pretrained(world.backbone).save_pretrained(path)
    return path


@pytest.fixture
def tampered(folder: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], Any]], Path]:
    """A copy of the model whose config was changed in place."""

    def change(edit: Callable[[dict[str, Any]], Any]) -> Path:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        config = json.loads((copy / "config.json").read_text())
        edit(config)
        (copy / "config.json").write_text(json.dumps(config))
        return copy

    return change


def inputs() -> dict[str, torch.Tensor]:
    return {name: value for name, value in tiny_batch().items() if name != "labels"}


def exit_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**inputs(), output_exits=True).exit_logits


def test_exits_stay_in_full_precision_beside_a_bf16_encoder(folder: Path):
    model = Model.from_pretrained(folder, dtype=torch.bfloat16).eval()
    assert {p.dtype for p in model.backbone.parameters()} == {torch.bfloat16}
    assert {p.dtype for part in (model.exits, model.certainty) for p in part.parameters()} == {torch.float32}
    full = exit_logits(Model.from_pretrained(folder))
    assert exit_logits(model).dtype == torch.float32
    torch.testing.assert_close(exit_logits(model), full, atol=0.05, rtol=0.05)
    for name, parameters in (("patience", {"patience": 1}), ("lte", {"threshold": 0.5}), ("voting", {"delta": 1.2})):
        model.set_policy(name, **parameters)
        out = model(**inputs())
        assert out.logits.dtype == torch.float32
        assert bool(out.logits.isfinite().all())
        assert out.exit_layer.min() >= 1


def test_a_model_turned_into_bf16_as_a_whole_answers_too(folder: Path):
    model = Model.from_pretrained(folder).bfloat16().eval()
    model.set_policy("entropy", threshold=1.05)
    assert bool(model(**inputs()).logits.isfinite().all())


def test_a_bf16_model_is_opened_in_fp32_by_exitnas(folder: Path, tmp_path: Path):
    Model.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "half")
    model, _ = load_model(tmp_path / "half")
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_device_map_gives_the_same_model(folder: Path):
    mapped = Model.from_pretrained(folder, device_map="cpu")
    assert torch.equal(exit_logits(mapped), exit_logits(Model.from_pretrained(folder)))
    assert {"Exit", "CertaintyHead", "BertLayer"} <= set(mapped._no_split_modules or ())


def test_word_embeddings_are_found(folder: Path):
    model = Model.from_pretrained(folder)
    assert model.get_input_embeddings() is model.backbone.encoder.embeddings.word_embeddings


def test_weights_that_a_checkpoint_lacks_are_drawn_as_a_new_exit_draws_them(folder: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    lacking = ["exits.1.classifier.weight", "certainty.linear.bias"]
    save_file({k: v for k, v in weights.items() if k not in lacking}, copy / "model.safetensors", {"format": "pt"})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        with quiet():
            model = Model.from_pretrained(copy)
    drawn = model.exits[1].classifier.weight.detach()
    assert bool(drawn.isfinite().all())
    assert 0 < float(drawn.abs().max()) <= 16**-0.5  # uniform within 1/sqrt(D), as torch draws a linear layer
    kept = {name: value for name, value in model.state_dict().items() if name not in lacking}
    assert all(torch.equal(value, weights[name]) for name, value in kept.items())
    with pytest.raises(ExitnasError, match=r"lacks 2 weights \(certainty.linear.bias, exits.1.classifier.weight\)"):
        load_model(copy)


def set_at(*path: Any) -> Callable[[dict[str, Any]], Any]:
    """An edit that puts the last argument at the place the others name."""
    *keys, last, value = path

    def edit(config: dict[str, Any]) -> None:
        for key in keys:
            config = config[key]
        config[last] = value

    return edit


def fewer_layers(config: dict[str, Any]) -> None:
    config["backbone"]["num_hidden_layers"] = config["genotype"]["layers"] = 2
    config["genotype"]["exits"] = config["genotype"]["exits"][:2]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (set_at("backbone", "num_hidden_layers", 10**9), "the genotype is for 3 layers of hidden size 16"),
        (set_at("backbone", "num_hidden_layers", "x"), "num_hidden_layers"),
        (set_at("backbone", "model_type", "bret"), "expected a model_type among bert, .*, got 'bret'"),
        (set_at("backbone", None), "expected a model_type among bert, .*, got None"),
        (set_at("backbone", "intermediate_size", 23), "cannot be read"),
        (set_at("genotype", "layers", 4), r"exits: expected one per layer \(4\), got 3"),
        (fewer_layers, "has, beyond what config.json describes, .* weights"),
        (set_at("genotype", "exits", 0, "pooling", "maxx"), "genotype: exits.0.pooling: .*did you mean max"),
        (set_at("genotype", "exits", 0, "encoder", ["conv_3", "null"]), "lacks 2 weights"),
        (set_at("genotype", None), "config.json: genotype"),
        (set_at("task", "labels", ["a", "b"]), r"id2label: expected names for the 2 label\(s\)"),
        (set_at("task", None), "config.json: task"),
        (set_at("policy", {"name": "patienc", "parameters": {}}), "policy: unknown policy 'patienc': did you mean"),
        (set_at("policy", {"name": "patience", "parameters": {"patience": 0}}), "config.json: policy: .*at least 1"),
        (set_at("policy", {"name": "static", "parameters": {"exit": 9}}), "config.json: policy: .*exit must be 1..3"),
        (set_at("policy", {"name": "oracle", "parameters": {}}), "config.json: policy: .*needs labels"),
        (set_at("policy", {"parameters": {}}), "config.json: policy: expected a name"),
        (set_at("policy", "patience"), "policy"),
        (set_at("temperatures", [1.0, 2.0]), "temperatures: expected 3 numbers above 0"),
        (set_at("temperatures", [1.0, 2.0, 0.0]), "temperatures: expected 3 numbers above 0"),
        (set_at("temperatures", ["a", "b", "c"]), "temperatures"),
        (set_at("exitnas", {"max_length": "128"}), "config.json: exitnas: max_length"),
        (set_at("exitnas", {"max_length": 1}), "config.json: exitnas: max_length"),
        (set_at("exitnas", {"data": "x"}), "config.json: exitnas: data"),
        (set_at("exitnas", {"data": {"split_seed": -1}}), "config.json: exitnas: data.split_seed"),
        (set_at("certainty", False), "beyond what config.json describes"),
    ],
)
def test_a_tampered_config_is_one_line(tampered: Any, edit: Callable[[dict[str, Any]], Any], reason: str):
    copy = tampered(edit)
    with pytest.raises(ExitnasError, match=reason) as caught:
        load_model(copy)
    assert not isinstance(caught.value, UsageError)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(copy))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("text", ["[1, 2]", "{", '"config"', "null", ""])
def test_a_config_that_is_no_config(folder: Path, tmp_path: Path, text: str):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "config.json").write_text(text)
    with pytest.raises(ExitnasError) as caught:
        load_model(tmp_path / "copy")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 7, 4000])
def test_truncated_weights(folder: Path, tmp_path: Path, keep: int):
    shutil.copytree(folder, tmp_path / "copy")
    weights = tmp_path / "copy" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(ExitnasError, match="the model cannot be read") as caught:
        load_model(tmp_path / "copy")
    assert "\n" not in str(caught.value)


class Hub:
    """What `HfApi` is asked for, with the files of the upload."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.files: dict[str, bytes] = {}

    def create_repo(self, repo_id: str, **options: Any) -> Any:
        self.asked.append(("create_repo", options))
        return SimpleNamespace(repo_id=f"someone/{repo_id}")

    def create_branch(self, repo_id: str, **options: Any) -> None:
        self.asked.append(("create_branch", options))

    def upload_folder(self, *, folder_path: str, **options: Any) -> str:
        self.asked.append(("upload_folder", options))
        self.files = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        return "https://hub/commit"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda **options: hub)
    return hub


def test_pushing_uploads_the_model_with_its_card(folder: Path, hub: Hub, tmp_path: Path):
    model = Model.from_pretrained(folder)
    model.config.exitnas = {"data": {"data_dir": "/home/me/data", "split_seed": 1}}
    model.config.genotype["backbone"] = "/home/me/bert"
    model.config.task |= {"base_dir": "/home/me/task", "description": "own data described by /home/me/task.yaml"}
    assert model.push_to_hub("tiny", private=True, revision="try", tags=["mine"]) == "https://hub/commit"
    assert [what for what, _ in hub.asked] == ["create_repo", "create_branch", "upload_folder"]
    assert hub.asked[0][1]["private"] is True
    assert hub.asked[2][1]["repo_id"] == "someone/tiny"
    assert hub.asked[2][1]["revision"] == "try"
    assert set(hub.files) == {"README.md", "config.json", "model.safetensors"}
    assert b"- mine\n" in hub.files["README.md"]
    assert not [name for name, content in hub.files.items() if b"/home/me" in content]
    for name, content in hub.files.items():
        (tmp_path / name).write_bytes(content)
    assert torch.equal(exit_logits(Model.from_pretrained(tmp_path)), exit_logits(model))
    assert model.config.exitnas["data"]["data_dir"] == "/home/me/data"


def test_saving_and_pushing_in_one_call(folder: Path, hub: Hub, tmp_path: Path):
    Model.from_pretrained(folder).save_pretrained(tmp_path / "named", push_to_hub=True, commit_message="hello")
    assert hub.asked[-1][1]["repo_id"] == "someone/named"
    assert hub.asked[-1][1]["commit_message"] == "hello"
    assert (tmp_path / "named" / "README.md").read_bytes() == hub.files["README.md"]


def test_a_policy_that_was_set_is_not_saved(folder: Path, tmp_path: Path):
    model = Model.from_pretrained(folder)
    model.set_policy("static", exit=E)
    model.save_pretrained(tmp_path)
    assert Model.from_pretrained(tmp_path).policy is None
    assert exit_logits(model).shape == (E, B, 3)
