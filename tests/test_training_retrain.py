"""Retraining: which checkpoint is kept, seeds, what is written, and the tasks it takes."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import torch

from exitnas.cli.genotypes import recorded
from exitnas.errors import ExitnasError, UsageError
from exitnas.exits.genotype import Genotype
from exitnas.inference.session import Session
from exitnas.modeling.saving import load_model
from exitnas.search.bilevel import search
from exitnas.settings import RetrainSettings, make_settings
from exitnas.training import fit as fit_module
from exitnas.training.evaluation import exit_scores, summarize
from exitnas.training.retrain import retrain
from exitnas.training.runs import Run


def history_of(run: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(run) / "history.jsonl").read_text().splitlines()]


def dev_scores(run: str) -> dict[str, Any]:
    """Scores of the saved model on dev, computed anew."""
    return Session.open(run).evaluation().exits("dev")


def test_defaults_come_from_the_genotype(world: Any):
    settings = make_settings(RetrainSettings, **recorded(world.genotype(), RetrainSettings))
    assert (settings.task, settings.backbone) == (str(world.tasks["single"]), str(world.backbone))
    assert (settings.epochs, settings.batch_size, settings.exit_lr, settings.seed) == (2, 8, 5e-3, 7)
    assert settings.lr == RetrainSettings(task="rte").lr


def test_settings_of_the_search_that_retraining_has_not_are_left_out(searched: dict[str, Any]):
    genotype = Genotype.load(searched["genotype"])
    assert "arch_lr" in genotype.origin.settings
    values = recorded(genotype, RetrainSettings)
    assert "arch_lr" not in values
    assert make_settings(RetrainSettings, **values).exit_lr == 5e-3


def test_a_genotype_without_a_task_needs_one(world: Any):
    genotype = world.genotype().model_copy(update={"origin": Genotype.model_fields["origin"].default})
    with pytest.raises(UsageError, match=r"^--task: required, but not given$"):
        make_settings(RetrainSettings, **recorded(genotype, RetrainSettings))


def test_what_retraining_returns_and_writes(retrained: dict[str, Any]):
    folder = Path(retrained["run"])
    assert {"run", "model", "task", "metric", "split", "exits", "avg", "best", "seconds"} <= set(retrained)
    assert json.loads((folder / "summary.json").read_text()) == retrained
    assert (retrained["task"], retrained["metric"], retrained["split"]) == ("single", "accuracy", "test")
    assert (len(retrained["exits"]), retrained["std"]) == (3, None)
    assert retrained["avg"] == pytest.approx(mean(retrained["exits"]))
    assert retrained["best"] == max(retrained["exits"]) > 0.6
    history = history_of(folder)
    assert [(line["epoch"], line["step"]) for line in history] == [(1, 8), (2, 16), (3, 24), (4, 32)]
    assert history[-1]["loss"] < history[0]["loss"]
    assert {"config.json", "genotype.json", "history.jsonl", "tb", "model", "summary.json"} == {
        path.name for path in folder.iterdir()
    }


def test_the_best_epoch_on_dev_is_the_model_saved(retrained: dict[str, Any]):
    best = max(history_of(retrained["run"]), key=lambda line: line["avg"])
    assert dev_scores(retrained["run"])["exits"] == best["exits"]
    assert retrained["seeds"][0]["dev"]["exits"] == best["exits"]


def test_the_checkpoint_is_chosen_by_avg_even_when_an_early_epoch_wins(
    world: Any, silent: Any, tmp_path: Path, monkeypatch: Any
):
    """Scores are made up so that epoch 2 of 3 has the best AVG, though not the best single exit."""
    made_up = iter([[0.1, 0.1, 0.9], [0.5, 0.5, 0.5], [0.0, 0.0, 1.0]])
    real: list[list[float]] = []

    def scores(logits: Any, split: Any, spec: Any) -> list[float]:
        real.append(exit_scores(logits, split, spec))
        return next(made_up)

    monkeypatch.setattr(fit_module, "exit_scores", scores)
    summary = retrain(world.retrain(epochs=3), world.genotype(), Run.create(tmp_path / "run"), silent)
    assert len({tuple(row) for row in real}) > 1
    assert [line["avg"] for line in history_of(summary["run"])] == pytest.approx([1.1 / 3, 0.5, 1 / 3])
    assert dev_scores(summary["run"])["exits"] == real[1]


def test_seeds_give_mean_and_deviation_and_the_best_model(world: Any, silent: Any, tmp_path: Path):
    settings = world.retrain(seeds=2, seed=11)
    summary = retrain(settings, world.genotype(), Run.create(tmp_path / "both"), silent)
    first, second = summary["seeds"]
    assert (first["seed"], second["seed"]) == (11, 12)
    assert first["test"]["exits"] != second["test"]["exits"]
    assert summary["exits"] == pytest.approx(
        [mean(pair) for pair in zip(first["test"]["exits"], second["test"]["exits"], strict=True)]
    )
    for key in ("avg", "best"):
        assert summary[key] == pytest.approx(mean([first["test"][key], second["test"][key]]))
        assert summary["std"][key] == pytest.approx(stdev([first["test"][key], second["test"][key]]))
    better = max(summary["seeds"], key=lambda seed: seed["dev"]["avg"])
    assert dev_scores(summary["run"]) == better["dev"]
    assert {path.name for path in (tmp_path / "both" / "tb").iterdir()} == {"seed_11", "seed_12"}

    alone = retrain(world.retrain(seed=12), world.genotype(), Run.create(tmp_path / "alone"), silent)
    assert alone["seeds"] == [second]  # a seed's result does not depend on those before it


def test_retraining_leaves_torchs_generator_alone(world: Any, silent: Any, tmp_path: Path):
    state = torch.get_rng_state()
    retrain(world.retrain(epochs=1), world.genotype(), Run.create(tmp_path / "run"), silent)
    assert torch.equal(torch.get_rng_state(), state)


def test_training_starts_from_the_backbones_weights(world: Any, silent: Any, tmp_path: Path):
    from exitnas.backbones.loading import load_backbone

    settings = world.retrain(epochs=1, lr=0.0, weight_decay=0.0)
    summary = retrain(settings, world.genotype(), Run.create(tmp_path / "run"), silent)
    trained = load_model(summary["run"])[0].backbone.state_dict()
    pretrained = load_backbone(str(world.backbone)).state_dict()
    assert trained.keys() == pretrained.keys()
    assert all(torch.equal(trained[name], pretrained[name]) for name in trained)


def test_regression_from_search_to_scores(world: Any, silent: Any, tmp_path: Path):
    found = search(world.search("regression"), Run.create(tmp_path / "search"), silent)
    genotype = Genotype.load(found["genotype"])
    settings = make_settings(RetrainSettings, **{**recorded(genotype, RetrainSettings), "epochs": 3})
    summary = retrain(settings, genotype, Run.create(tmp_path / "retrain"), silent)
    assert (summary["metric"], len(summary["exits"])) == ("pearson_spearman", 3)
    model, _ = load_model(summary["run"])
    assert all(exit_.classifier.out_features == 1 for exit_ in model.exits)
    assert model.config.problem_type == "regression"


def test_a_genotype_for_another_encoder_is_refused(world: Any, silent: Any, tmp_path: Path):
    genotype = world.genotype()
    other = genotype.model_copy(update={"layers": 2, "exits": genotype.exits[:2]})
    with pytest.raises(UsageError) as caught:
        retrain(world.retrain(), other, Run.create(tmp_path / "layers"), silent)
    assert "is for 2 layers of hidden size 32" in str(caught.value)
    assert "has 3 layers of hidden size 32" in str(caught.value)
    wide = genotype.model_copy(update={"hidden_size": 48})
    with pytest.raises(UsageError, match="for 3 layers of hidden size 48"):
        retrain(world.retrain(), wide, Run.create(tmp_path / "hidden"), silent)
    assert list((tmp_path / "layers").iterdir()) == []


def test_diverged_training_names_the_step(world: Any, silent: Any, tmp_path: Path):
    settings = world.retrain(lr=1e30, exit_lr=1e30, warmup=0.0)
    with pytest.raises(ExitnasError, match=r"^step 1: the loss is nan at exits 1, 2, 3; training diverged under "):
        retrain(settings, world.genotype(), Run.create(tmp_path / "run"), silent)
    assert not (tmp_path / "run" / "summary.json").exists()


def test_summarize_by_hand():
    result = summarize([0.5, 0.75, 0.25, 0.75])
    assert result == {"exits": [0.5, 0.75, 0.25, 0.75], "avg": 0.5625, "best": 0.75, "best_exit": 2}
