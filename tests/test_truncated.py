"""The truncated baseline: cutting backbones of every family, training the last exit alone, the command."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import torch
import transformers
from test_backbones import E as FAMILY_LAYERS
from test_backbones import batch, every_row, make
from tiny_model import E, tiny_batch, tiny_genotype, tiny_model, tiny_setup

from exitnas.backbones.loading import backbone_from_config
from exitnas.errors import UsageError
from exitnas.inference.session import Session
from exitnas.modeling.saving import load_model
from exitnas.objectives.last import Last
from exitnas.objectives.plan import TrainingPlan
from exitnas.training.fit import stage_optimizer
from exitnas.training.optimizers import optimized
from exitnas.training.runs import Run
from exitnas.training.truncated import first_layers, folders, read_layers, train_truncated


@every_row
def test_the_layers_that_are_kept_work_as_before(family: str, build: Any):
    whole, cut = make(build), make(build)
    layers = 2
    cut.truncate(layers)
    ids, attention = batch(whole.config)
    with torch.no_grad():
        expected, mask = whole(ids, attention)
        states, _ = cut(ids, attention)
    assert (len(states), cut.num_layers, cut.config.num_hidden_layers) == (layers, layers, layers)
    assert whole.num_layers == FAMILY_LAYERS
    last = whole.encoder.final_norm(expected[layers - 1]) if family == "modernbert" else expected[layers - 1]
    torch.testing.assert_close(states[0], expected[0], rtol=0, atol=0)
    torch.testing.assert_close(states[-1][mask], last[mask], rtol=0, atol=0)
    assert sum(p.numel() for p in cut.parameters()) < sum(p.numel() for p in whole.parameters())


@every_row
def test_the_config_of_a_cut_backbone_builds_it_again(family: str, build: Any):
    cut = make(build)
    cut.truncate(2)
    values = {name: value for name, value in cut.config.to_diff_dict().items() if name != "model_type"}
    again = backbone_from_config(transformers.AutoConfig.for_model(family, **values)).eval()
    again.load_state_dict(cut.state_dict())
    ids, attention = batch(cut.config)
    with torch.no_grad():
        torch.testing.assert_close(again(ids, attention)[0][-1], cut(ids, attention)[0][-1], rtol=0, atol=0)


def test_albert_is_cut_where_a_group_ends():
    config = transformers.AlbertConfig(
        vocab_size=9, embedding_size=4, hidden_size=8, num_hidden_layers=4, num_attention_heads=2, intermediate_size=8,
        num_hidden_groups=2,
    )  # fmt: skip
    backbone = backbone_from_config(config)
    with pytest.raises(UsageError, match="can only be cut where a group ends, got 3 layers: give a multiple of 2"):
        backbone.truncate(3)
    assert backbone.num_layers == 4
    config.num_hidden_groups = 1
    shared = backbone_from_config(config)
    size = sum(p.numel() for p in shared.parameters())
    shared.truncate(3)
    assert (shared.num_layers, sum(p.numel() for p in shared.parameters())) == (3, size)


@pytest.mark.parametrize("layers", [0, -1, E + 1])
def test_layers_out_of_range(layers: int):
    with pytest.raises(UsageError, match=rf"expected 1\.\.{E} layers of this bert backbone, got {layers}"):
        tiny_model().backbone.truncate(layers)
    with pytest.raises(UsageError, match=rf"^--layers: expected 1\.\.{E}, the layers of backbone tiny, got {layers}$"):
        first_layers(tiny_genotype(), layers)


def test_the_genotype_of_the_first_layers(world: Any):
    whole = world.genotype()
    cut = first_layers(whole, 2)
    assert (cut.layers, cut.exits, cut.width, cut.hidden_size) == (2, whole.exits[:2], whole.width, whole.hidden_size)
    assert first_layers(whole, whole.layers) == whole


def test_layer_counts_in_words():
    assert read_layers("3") == [3]
    assert read_layers("1, 2,1") == [1, 2]
    with pytest.raises(UsageError, match=r"^--layers: expected whole numbers separated by commas.* got '1-3'$"):
        read_layers("1-3")
    assert folders(Path("o"), [2], nested=False) == {2: Path("o")}
    assert folders(Path("o"), [2], nested=True) == {2: Path("o/layers-2")}
    assert folders(Path("o"), [1, 2], nested=False) == {1: Path("o/layers-1"), 2: Path("o/layers-2")}


def test_the_objective_is_the_last_exits_loss():
    model, given = tiny_model(), tiny_batch()
    logits = model.exit_logits(*model.backbone(given["input_ids"], given["attention_mask"]))
    terms = Last().terms(logits, given["labels"], None)  # type: ignore[arg-type]
    log_p = logits[-1].log_softmax(-1)
    assert terms.total().item() == pytest.approx(-log_p[range(len(log_p)), given["labels"]].mean().item(), rel=1e-6)
    _, settings = tiny_setup()
    (stage,) = TrainingPlan(Last()).objective.stages()
    trained = {id(p) for p in optimized(stage_optimizer(model, stage, settings))}
    assert trained == {id(p) for module in (model.backbone, model.exits[-1]) for p in module.parameters()}


@pytest.fixture(scope="module")
def truncated(world: Any, silent: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = Run.create(tmp_path_factory.mktemp("truncated") / "run")
    return train_truncated(world.retrain(epochs=2, seeds=2), world.genotype(), 2, run, silent)


def test_what_training_returns_and_writes(truncated: dict[str, Any]):
    folder = Path(truncated["run"])
    assert json.loads((folder / "summary.json").read_text()) == truncated
    assert (truncated["layers"], truncated["of_layers"]) == (2, 3)
    scores = [seed["test"] for seed in truncated["seeds"]]
    assert truncated["score"] == pytest.approx(mean(scores))
    assert truncated["std"] == pytest.approx(stdev(scores))
    settings = json.loads((folder / "config.json").read_text())["settings"]
    assert (settings["layers"], settings["objective"]) == (2, "last")


def test_the_model_is_one_of_fewer_layers_that_runs_its_last_exit(truncated: dict[str, Any]):
    model, _ = load_model(truncated["run"])
    assert (model.backbone.num_layers, len(model.exits), len(model.backbone.encoder.encoder.layer)) == (2, 2, 2)
    assert model.config.policy == {"name": "static", "parameters": {"exit": 2}}
    exits = Session.open(truncated["run"]).evaluation().exits("dev")["exits"]
    assert exits[-1] == max(seed["dev"] for seed in truncated["seeds"])


def test_the_exits_below_are_never_trained(world: Any, silent: Any, tmp_path: Path):
    def exits(name: str, **values: Any) -> Any:
        run = Run.create(tmp_path / name)
        return load_model(train_truncated(world.retrain(epochs=1, **values), world.genotype(), 2, run, silent)["run"])[
            0
        ].exits

    fresh, trained = exits("fresh", lr=0.0, exit_lr=1e-30), exits("trained")
    for name, value in trained.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]) == name.startswith("0."), name


def options_of(world: Any) -> list[Any]:
    return ["--task", world.tasks["single"], "--backbone", world.backbone, "--epochs", 1, "--device", "cpu", "--quiet"]


def test_the_command_trains_several(cli: Any, world: Any, tmp_path: Path):
    output = tmp_path / "out"
    arguments = ["baseline", "truncated", "--layers", "1,3", "-o", output, "--exit-lr", 0.005, *options_of(world)]
    found = json.loads(cli(*arguments, "--json").stdout)
    assert (found["task"], found["metric"]) == ("single", "accuracy")
    assert [one["layers"] for one in found["baselines"]] == [1, 3]
    for one in found["baselines"]:
        assert Path(one["run"]) == output / f"layers-{one['layers']}"
        answers = json.loads(cli("predict", one["run"], "--text", "good", "--json").stdout)
        assert answers[0]["exit"] == one["layers"]
    assert "already holds a run" in cli(*arguments, code=2).stderr
    shown = cli("baseline", "truncated", "--layers", 2, "--exits", "mha", "-o", tmp_path / "one", *options_of(world))
    assert f"next: exitnas evaluate MODEL --speed --baseline {tmp_path / 'one'}" in shown.stdout
    assert "1.50x" in shown.stdout


def test_the_exits_of_a_genotype(cli: Any, world: Any, tmp_path: Path):
    world.genotype().save(tmp_path / "genotype.json")
    given = ["--exits", tmp_path / "genotype.json", "--layers", 2, "--epochs", 1, "--quiet", "--json"]
    found = json.loads(cli("baseline", "truncated", *given, "-o", tmp_path / "run").stdout)
    model, _ = load_model(found["baselines"][0]["run"])
    assert model.config.read_genotype().exits == world.genotype().exits[:2]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--layers", "0"], "--layers: expected 1..3, the layers of backbone {backbone}, got 0"),
        (["--layers", "1,4"], "--layers: expected 1..3, the layers of backbone {backbone}, got 4"),
        (["--layers", "two"], "--layers: expected whole numbers separated by commas, such as 1,2,3, got 'two'"),
        (["--layers", "2", "--exits", "leco"], "space leco holds 6400 exits per layer; a search has to choose"),
        (["--layers", "2", "--exits", "liner"], "unknown search space 'liner': did you mean linear?"),
        (["--layers", "2", "--exits", "none.json"], "none.json: no such genotype; expected a genotype.json"),
    ],
)
def test_bad_requests(error_line: Any, world: Any, tmp_path: Path, more: list[str], message: str):
    output = tmp_path / "out"
    line = error_line("baseline", "truncated", *more, "-o", output, *options_of(world), code=2)
    assert line.startswith(message.format(backbone=world.backbone))
    assert not output.exists()
