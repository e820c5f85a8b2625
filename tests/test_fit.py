"""The training loop on a tiny model: stages, halves, certainty, and what a run leaves in its directory."""

import json

import pytest
import torch
from tiny_model import E, tiny_model, tiny_setup

from exitnas.drawing.heatmap import draw_loss_weights
from exitnas.errors import ExitnasError
from exitnas.objectives.base import Stage
from exitnas.objectives.plan import TrainingPlan
from exitnas.reporting.progress import Reporter
from exitnas.reporting.tensorboard import Scalars
from exitnas.training.batches import shuffled
from exitnas.training.device import seeded
from exitnas.training.evaluation import all_outputs
from exitnas.training.fit import epochs_per_stage, fit
from exitnas.training.runs import Run


def trained(folder, seed=1, regression=False, dropout=0.1, rows=20, layers=E, **values):
    """Model, run and the last thing the plan's parts told."""
    setup, settings = tiny_setup(rows, regression, **values)
    plan = TrainingPlan.from_settings(settings)
    model = tiny_model(regression, plan.lte, dropout, layers)
    run = Run.create(folder, overwrite=False) if not folder.exists() else Run(folder)
    scalars = Scalars(folder / "tb")
    with seeded(seed):
        told = fit(model, setup, settings, plan, seed, run, scalars, Reporter(quiet=True))
    scalars.close()
    return model, run, told


def test_joint_is_the_plain_loop(tmp_path):
    """Two epochs of joint training are the loop anybody would write, dropout included."""
    model, run, told = trained(tmp_path / "run")
    setup, _ = tiny_setup()
    plain, generator, total = tiny_model(dropout=0.1), torch.Generator().manual_seed(1), 10
    no_decay = ("bias", "norm", "LayerNorm", "layer_norm")
    groups = []
    for part, rate in ((plain.backbone, 1e-3), (plain.exits, 1e-2)):
        for decay in (0.01, 0.0):
            chosen = [p for n, p in part.named_parameters() if any(k in n for k in no_decay) == (decay == 0.0)]
            groups.append({"params": chosen, "lr": rate, "weight_decay": decay, "base": rate})
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]])
    step, losses, snapshots = 0, [], []
    with seeded(1):
        for _ in range(2):
            plain.train()
            for rows in shuffled(setup.train, list(range(20)), 4, generator):
                for group in optimizer.param_groups:
                    group["lr"] = group["base"] * (1.0 if step < 1 else (total - step) / (total - 1))
                batch = setup.train.batch(rows)
                loss = plain(**batch).loss
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
                optimizer.step()
                losses.append(loss.item())
                step += 1
            snapshots.append([p.detach().clone() for p in plain.parameters()])
    assert [line["loss"] for line in run.history] == pytest.approx([sum(losses[:5]) / 5, sum(losses[5:]) / 5])
    assert run.history[-1]["step"] == 10
    assert told == {}
    best = 0 if run.history[0]["avg"] >= run.history[1]["avg"] else 1
    for one, other in zip(model.parameters(), snapshots[best], strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("objective", ["two_stage", "self_distillation"])
def test_the_second_stage_leaves_backbone_and_last_exit_alone(tmp_path, objective):
    model, run, _ = trained(tmp_path / "run", objective=objective, epochs=1, dropout=0.0)
    assert run.history[0]["stage"] == "backbone and last exit"
    assert len(run.history) == 2
    first = run.history[0]["exits"][-1]
    assert run.history[1]["exits"][-1] == first  # same backbone, same last exit
    start = tiny_model()
    moved = [
        not torch.equal(a.classifier.weight, b.classifier.weight) for a, b in zip(model.exits, start.exits, strict=True)
    ]
    assert moved == [True] * E
    assert not torch.equal(next(model.backbone.parameters()), next(start.backbone.parameters()))


def test_epochs_are_shared_by_the_stages():
    stages = (Stage("a", 0.5), Stage("b", 0.5))
    assert epochs_per_stage(stages, 5) == [2, 3]
    assert epochs_per_stage(stages, 1) == [1, 1]
    assert epochs_per_stage((Stage("a"),), 7) == [7]


def test_learned_weights_are_trained_on_halves_and_saved_as_a_matrix(tmp_path):
    values = {"objective": "mutual", "weighting": "clo_v2", "weighting_options": {"cycle": 2, "lr": 0.1}}
    _, run, told = trained(tmp_path / "run", seed=1, **values)
    assert run.history[-1]["step"] == 2 * 3  # 10 of 20 rows an epoch, 4 at a time
    _, _, other = trained(tmp_path / "run", seed=2, **values)
    saved = json.loads((run.path / "loss_weights.json").read_text())
    assert saved["weighting"] == "clo_v2"
    assert saved["terms"] == ["task", "from exit 1", "from exit 2", "from exit 3"]
    assert saved["seeds"] == {"1": told["loss_weights"], "2": other["loss_weights"]}
    matrix = torch.tensor(saved["seeds"]["1"])
    assert torch.allclose(matrix.sum(1), torch.ones(E))
    assert matrix[0, 1] == matrix[1, 2] == matrix[2, 3] == 0.0
    assert run.history[-1]["loss_weights"] == told["loss_weights"]
    assert (matrix[matrix > 0] - 1 / 3).abs().max() > 0.01
    for suffix in ("png", "svg"):
        draw_loss_weights(run.path / "loss_weights.json", tmp_path / f"weights.{suffix}")
    assert (tmp_path / "weights.png").read_bytes().startswith(b"\x89PNG")
    picture = (tmp_path / "weights.svg").read_text()
    assert "from exit 2" in picture
    assert "seed 2" in picture


def test_a_damaged_weights_file_is_one_line(tmp_path):
    (tmp_path / "w.json").write_text("[1]")
    with pytest.raises(ExitnasError, match="expected weighting, terms and seeds"):
        draw_loss_weights(tmp_path / "w.json", tmp_path / "w.png")


def test_gradient_alignment_writes_an_angle_for_every_step(tmp_path):
    _, run, told = trained(tmp_path / "run", objective="mutual", gradient="ga_soft")
    saved = json.loads((run.path / "gradient_angles.json").read_text())
    angles = saved["seeds"]["1"]
    assert len(angles) == run.history[-1]["step"] == 10
    assert all(0 <= angle <= 180 for angle in angles)
    assert told["angles_above_90"] == sum(angle > 90 for angle in angles) / 10


@pytest.mark.parametrize("regression", [False, True])
def test_alternating_with_certainty_learns(tmp_path, regression):
    values = {"objective": "alternating", "lte": True, "epochs": 10, "rows": 24}
    model, run, _ = trained(tmp_path / "run", regression=regression, dropout=0.0, **values)
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    setup, _ = tiny_setup(24, regression)
    _, certainty = all_outputs(model, setup.test, 8, setup.device)
    start = tiny_model(regression, certainty=True)
    assert certainty.shape == (24, E)
    assert not torch.equal(model.certainty.linear.weight, start.certainty.linear.weight)


def test_overwriting_a_run_removes_the_traces(tmp_path):
    trained(tmp_path / "run", objective="mutual", weighting="slo", gradient="ga_hard", epochs=1)
    assert (tmp_path / "run" / "loss_weights.json").exists()
    Run.create(tmp_path / "run", overwrite=True).start("retrain", {}, {})
    assert not (tmp_path / "run" / "loss_weights.json").exists()
    assert not (tmp_path / "run" / "gradient_angles.json").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"objective": "weighted"},
        {"objective": "diversity", "weighting": "random"},
        {"objective": "global_past_future", "weighting": "blo"},
        {"objective": "joint", "gradient": "equilibrium"},
        {"objective": "mutual", "weighting": "clo_v1", "gradient": "ga_hard", "gradient_options": {"scope": "tensor"}},
    ],
    ids=lambda values: "+".join(str(value) for value in values.values()),
)
def test_other_plans_run_through(tmp_path, values):
    _, run, _ = trained(tmp_path / "run", **values)
    assert [line["epoch"] for line in run.history] == [1, 2]
    assert all(line["loss"] == line["loss"] for line in run.history)


@pytest.mark.parametrize("objective", ["joint", "two_stage", "self_distillation", "alternating", "mutual"])
def test_one_layer_is_enough(tmp_path, objective):
    """Without early exits, the stages that would train them fall away."""
    _, run, _ = trained(tmp_path / "run", layers=1, objective=objective)
    assert [line["epoch"] for line in run.history] == [1, 2]


def test_halves_need_two_rows(tmp_path):
    with pytest.raises(ExitnasError, match="'clo_v1' halves the training rows: expected at least 2, got 1"):
        trained(tmp_path / "run", rows=1, objective="mutual", weighting="clo_v1")
