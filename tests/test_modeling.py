"""The multi-exit model in Hugging Face form: saving, loading, Auto classes, pipeline."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from exitnas.backbones.loading import load_backbone
from exitnas.errors import ExitnasError, UsageError
from exitnas.exits.exit import build_exits
from exitnas.modeling import MultiExitConfig, MultiExitForSequenceClassification
from exitnas.modeling.saving import load_model, save_model
from exitnas.objectives.base import task_losses
from exitnas.tasks import get_task
from exitnas.tasks.loading import load_task


@pytest.fixture(scope="module")
def assembled(world: Any) -> MultiExitForSequenceClassification:
    """A model with random exits; nothing was trained."""
    spec = load_task(get_task(str(world.tasks["single"]))).spec
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = MultiExitForSequenceClassification.assemble(
            load_backbone(str(world.backbone)), world.genotype(), spec, {"max_length": 16}
        )
    return model.eval()


def batch_of(classes: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
    return {
        "input_ids": torch.randint(5, 50, (2, 6), generator=generator),
        "attention_mask": mask,
        "labels": torch.tensor([0, classes - 1]),
    }


def test_forward_gives_every_exit_the_last_and_the_joint_loss(assembled: MultiExitForSequenceClassification):
    batch = batch_of()
    with torch.no_grad():
        out = assembled(**batch)
        states, mask = assembled.backbone(batch["input_ids"], batch["attention_mask"])
        by_hand = [exit_(hidden, mask) for exit_, hidden in zip(assembled.exits, states, strict=True)]
    assert out.exit_logits.shape == (3, 2, 2)
    torch.testing.assert_close(out.exit_logits, torch.stack(by_hand))
    assert torch.equal(out.logits, out.exit_logits[-1])
    expected = sum(torch.nn.functional.cross_entropy(logits, batch["labels"]) for logits in by_hand)
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(out.loss, task_losses(by_hand, batch["labels"]).sum())
    assert assembled(input_ids=batch["input_ids"]).loss is None


def test_a_samples_logits_do_not_depend_on_padding(assembled: MultiExitForSequenceClassification):
    batch = batch_of()
    with torch.no_grad():
        together = assembled(**batch).exit_logits[:, 1]
        alone = assembled(batch["input_ids"][1:, :3], output_exits=True).exit_logits[:, 0]
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_weights_survive_saving_bit_for_bit(assembled: MultiExitForSequenceClassification, tmp_path: Path):
    before = {name: tensor.clone() for name, tensor in assembled.state_dict().items()}
    assembled.save_pretrained(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert load_file(tmp_path / "model" / "model.safetensors").keys() == before.keys()
    torch.manual_seed(1)  # another state than the one the exits were drawn from
    after = MultiExitForSequenceClassification.from_pretrained(tmp_path / "model").state_dict()
    assert before.keys() == after.keys()
    assert any(name.startswith("exits.") for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_assembling_keeps_the_initialization_of_encoder_and_exits(
    assembled: MultiExitForSequenceClassification, world: Any
):
    """transformers' default would draw every linear layer anew, with its own deviation."""
    backbone = load_backbone(str(world.backbone))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        load_backbone(str(world.backbone))
        exits = build_exits(world.genotype(), 2)
    for part, expected in ((assembled.backbone, backbone), (assembled.exits, exits)):
        now, then = part.state_dict(), expected.state_dict()
        assert now.keys() == then.keys()
        assert all(torch.equal(now[name], then[name]) for name in now)


def test_the_config_says_what_the_model_is(assembled: MultiExitForSequenceClassification, world: Any, tmp_path: Path):
    assembled.save_pretrained(tmp_path)
    config = MultiExitConfig.from_pretrained(tmp_path)
    assert config.model_type == "exitnas"
    assert config.read_genotype() == world.genotype()
    assert config.read_task().labels == ("down", "up")
    assert (config.id2label, config.label2id) == ({0: "down", 1: "up"}, {"down": 0, "up": 1})
    assert config.read_backbone().num_hidden_layers == 3
    assert config.exitnas == {"max_length": 16}


def test_the_saved_model_answers_like_the_one_in_memory(assembled: MultiExitForSequenceClassification, tmp_path: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(assembled.config.read_genotype().backbone)
    save_model(assembled, tokenizer, tmp_path / "model")
    loaded, again = load_model(tmp_path / "model")
    assert not loaded.training
    assert again("good bad")["input_ids"] == tokenizer("good bad")["input_ids"]
    with torch.no_grad():
        assert torch.equal(loaded(**batch_of()).exit_logits, assembled(**batch_of()).exit_logits)


def test_auto_classes(retrained: dict[str, Any]):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(retrained["model"])
    assert type(model) is MultiExitForSequenceClassification
    assert type(AutoConfig.from_pretrained(retrained["model"])) is MultiExitConfig
    ours, _ = load_model(retrained["run"])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), ours.parameters(), strict=True))


def test_pipeline(retrained: dict[str, Any]):
    from transformers import pipeline

    classify = pipeline("text-classification", model=retrained["model"], tokenizer=retrained["model"], device="cpu")
    texts = ["bal good bim", "poor dut fen"]
    answers = classify(texts)
    model, tokenizer = load_model(retrained["run"])
    for text, answer in zip(texts, answers, strict=True):
        with torch.no_grad():
            expected = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
        assert answer["label"] == ["down", "up"][int(expected.argmax())]
        assert answer["score"] == pytest.approx(float(expected.max()), abs=1e-5)


def test_a_model_directory_holds_safetensors_and_no_pickles(retrained: dict[str, Any]):
    names = {path.name for path in Path(retrained["model"]).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert not list(Path(retrained["run"]).glob(".*"))  # no temporary folder stays


def test_saving_replaces_the_folder_as_a_whole(
    assembled: MultiExitForSequenceClassification, world: Any, tmp_path: Path
):
    from transformers import AutoTokenizer

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "stale.txt").write_text("")
    save_model(assembled, AutoTokenizer.from_pretrained(world.backbone), tmp_path / "model")
    assert not (tmp_path / "model" / "stale.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_save_that_fails_leaves_the_old_model(assembled: MultiExitForSequenceClassification, tmp_path: Path):
    class Broken:
        model_max_length = 64

        def save_pretrained(self, folder: Path) -> None:
            raise OSError("disk full")

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old.txt").write_text("old")
    with pytest.raises(OSError, match="disk full"):
        save_model(assembled, Broken(), tmp_path / "model")
    assert (tmp_path / "model" / "old.txt").read_text() == "old"


def test_a_genotype_that_does_not_fit_is_refused(world: Any):
    genotype = world.genotype()
    short = genotype.model_copy(update={"layers": 2, "exits": genotype.exits[:2]})
    spec = load_task(get_task(str(world.tasks["single"]))).spec
    with pytest.raises(UsageError, match="for 2 layers of hidden size 32"):
        MultiExitForSequenceClassification.assemble(load_backbone(str(world.backbone)), short, spec, {})


def test_regression_models_answer_with_one_number(retrained_regression: dict[str, Any]):
    model, tokenizer = load_model(retrained_regression["run"])
    batch = tokenizer(["good great", "bal"], padding=True, return_tensors="pt")
    with torch.no_grad():
        out = model(**batch, labels=torch.tensor([2.0, 0.0]))
    assert out.exit_logits.shape == (3, 2, 1)
    by_hand = sum(((logits[:, 0] - torch.tensor([2.0, 0.0])) ** 2).mean() for logits in out.exit_logits)
    torch.testing.assert_close(out.loss, by_hand)


def damaged(model: str, folder: Path, **files: str | None) -> Path:
    """A copy of a model directory with files replaced, or removed where None."""
    shutil.copytree(model, folder)
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.unlink()
        if text is not None:
            path.write_text(text)
    return folder


def test_damaged_models_are_one_line(retrained: dict[str, Any], world: Any, tmp_path: Path):
    config = json.loads((Path(retrained["model"]) / "config.json").read_text())
    del config["genotype"]["exits"][0]["pooling"]
    cases = [
        damaged(retrained["model"], tmp_path / "weights", model__safetensors="nothing"),
        damaged(retrained["model"], tmp_path / "json", config__json="{"),
        damaged(retrained["model"], tmp_path / "genotype", config__json=json.dumps(config)),
        world.backbone,  # a plain BERT
    ]
    for folder in cases:
        with pytest.raises(ExitnasError) as caught:
            load_model(folder)
        assert "\n" not in str(caught.value)
    with pytest.raises(ExitnasError, match=r"genotype: exits.0.pooling: required, but not given"):
        load_model(tmp_path / "genotype")


def test_missing_weights_are_not_drawn_at_random(retrained: dict[str, Any], tmp_path: Path):
    from safetensors.torch import save_file

    folder = damaged(retrained["model"], tmp_path / "short")
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if k != "exits.1.classifier.weight"}, folder / "model.safetensors")
    with pytest.raises(ExitnasError, match=r"exits\.1\.classifier\.weight"):
        load_model(folder)
