"""What every row of the objective registry must hold, old and new."""

import json
import subprocess
import sys

import pytest
import torch
from tiny_model import E, tiny_batch, tiny_model

from exitnas.errors import UsageError
from exitnas.objectives import OBJECTIVES
from exitnas.objectives.base import Stage, Step
from exitnas.objectives.options import build
from exitnas.objectives.plan import TrainingPlan
from exitnas.training.optimizers import differentiating
from exitnas.training.step import measure

CASES = [(name, False) for name in OBJECTIVES] + [
    (name, True) for name in OBJECTIVES if OBJECTIVES.get(name).regression
]
every_objective = pytest.mark.parametrize("name", OBJECTIVES.names())
every_case = pytest.mark.parametrize(("name", "regression"), CASES)


def parts_of(model, stage: Stage) -> dict[str, list]:
    """Parameters the stage trains, by part, and those it leaves alone."""
    exits = {"all": range(E), "last": [E - 1], "early": range(E - 1)}[stage.exits]
    chosen = {f"exit {m + 1}": list(model.exits[m].parameters()) for m in exits}
    if stage.backbone:
        chosen["backbone"] = list(model.backbone.parameters())
    ids = {id(p) for group in chosen.values() for p in group}
    return {**chosen, "frozen": [p for p in model.parameters() if id(p) not in ids]}


@every_objective
def test_declarations(name):
    objective = build(OBJECTIVES, name, {})
    assert objective.name == name
    assert type(objective).__doc__
    assert sum(stage.share for stage in objective.stages()) == pytest.approx(1.0)
    assert build(OBJECTIVES, name, json.loads(json.dumps(objective.options()))) == objective


@every_case
def test_terms_have_their_shape_and_are_finite(name, regression):
    model, batch = tiny_model(regression), tiny_batch(regression)
    plan = TrainingPlan(build(OBJECTIVES, name, {}))
    for number, _ in enumerate(plan.objective.stages()):
        terms = measure(model, batch, plan.start(E, 0), Step(0, 0, number), "fp32")
        assert terms.losses.shape == terms.coefficients.shape == (E, len(plan.objective.columns(E)))
        assert torch.isfinite(terms.losses).all()
        assert not terms.coefficients.requires_grad
        total = terms.task_part() + terms.auxiliary_part()
        assert terms.total().item() == pytest.approx(total.item(), rel=1e-6)


@every_case
def test_gradients_reach_what_the_stage_trains_and_nothing_else(name, regression):
    """Over two steps and two epochs, since an objective may take turns."""
    model, batch = tiny_model(regression), tiny_batch(regression)
    plan = TrainingPlan(build(OBJECTIVES, name, {}))
    for number, stage in enumerate(plan.objective.stages()):
        parts = parts_of(model, stage)
        frozen = parts.pop("frozen")
        trained = [p for group in parts.values() for p in group]
        model.zero_grad(set_to_none=True)
        for step in (Step(0, 0, number), Step(1, 1, number)):
            with differentiating(trained, frozen):
                measure(model, batch, plan.start(E, 0), step, "fp32").total().backward()
        for part, parameters in parts.items():
            assert any(p.grad is not None and p.grad.abs().max() > 0 for p in parameters), part
        assert all(p.grad is None for p in frozen)


@every_objective
def test_regression_is_served_or_refused(name):
    plan = TrainingPlan(build(OBJECTIVES, name, {}))
    plan.check_task(regression=False)
    if OBJECTIVES.get(name).regression:
        plan.check_task(regression=True)
        return
    with pytest.raises(UsageError, match=r"this task predicts a number: use one of joint, weighted"):
        plan.check_task(regression=True)


@every_objective
def test_one_exit_is_enough(name):
    model, batch = tiny_model(), tiny_batch()
    with torch.no_grad():
        states, mask = model.backbone(batch["input_ids"], batch["attention_mask"])
        logits = model.exit_logits(states, mask)[-1:]
        terms = build(OBJECTIVES, name, {}).terms(logits, batch["labels"], Step(0, 0, 0), states[-1:])
    assert terms.total().item() > 0


def test_listing_imports_nothing_heavy():
    code = (
        "import sys, exitnas.objectives, exitnas.objectives.weighting, exitnas.objectives.gradient; "
        "sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
