"""Gradient rules: the formulas, how many passes they cost, and the contract of every row."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_model import E, tiny_batch, tiny_model
from torch import nn

from exitnas.errors import UsageError
from exitnas.objectives.base import Step, Terms, task_losses
from exitnas.objectives.gradient import GRADIENT_RULES
from exitnas.objectives.gradient.alignment import angle, share_above_90
from exitnas.objectives.mutual import Mutual
from exitnas.objectives.options import build
from exitnas.objectives.plan import TrainingPlan
from exitnas.training.checkpoint import load_state, save_state
from exitnas.training.step import measure

every_rule = pytest.mark.parametrize("name", GRADIENT_RULES.names())


def backward(rule: Any, terms: Any, total: Any, parameters: Any) -> None:
    """Set `.grad` from the terms of a whole step, in one process."""
    rule.accumulate(terms, total, parameters)
    rule.finish(parameters, lambda tensors: None)


def two_terms(x: nn.Parameter, y: nn.Parameter, kd: list[float], ce: list[float]) -> Terms:
    """One exit whose CE and KD gradients with respect to (x, y) are `ce` and `kd`, whatever x and y are."""
    losses = torch.stack([x * ce[0] + y * ce[1], x * kd[0] + y * kd[1]]).unsqueeze(0)
    return Terms(losses, torch.ones_like(losses))


def aligned(name: str, kd: list[float], ce: list[float], **options) -> tuple[list[float], float | None]:
    x, y = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(-1.0))
    rule = build(GRADIENT_RULES, name, options)
    terms = two_terms(x, y, kd, ce)
    backward(rule, terms, terms.total(), [x, y])
    return [0.0 if p.grad is None else p.grad.item() for p in (x, y)], rule.angles[-1]


def test_ga_by_hand_below_90_degrees():
    """g_CE = (2, 0), g_KD = (1, 1): the projection is (1, 0), the angle 45 degrees."""
    for name in ("ga_soft", "ga_hard"):
        gradient, degrees = aligned(name, [1.0, 1.0], [2.0, 0.0], alpha=0.25)
        assert gradient == pytest.approx([0.75 * 2 + 0.25 * 1, 0.0])
        assert degrees == pytest.approx(45.0)


def test_ga_by_hand_above_90_degrees():
    """g_CE = (2, 0), g_KD = (-1, 1): GA-soft takes the projection (-1, 0) along, GA-hard drops it and keeps g_CE."""
    soft, degrees = aligned("ga_soft", [-1.0, 1.0], [2.0, 0.0], alpha=0.25)
    assert soft == pytest.approx([0.75 * 2 - 0.25 * 1, 0.0])
    assert degrees == pytest.approx(135.0)
    assert aligned("ga_hard", [-1.0, 1.0], [2.0, 0.0], alpha=0.25)[0] == pytest.approx([2.0, 0.0])


def test_ga_per_tensor_projects_every_tensor_by_itself():
    """Two tensors of one element: the projection of each is its own g_KD where g_CE is not zero."""
    soft, degrees = aligned("ga_soft", [3.0, -4.0], [1.0, 2.0], alpha=0.5, scope="tensor")
    assert soft == pytest.approx([0.5 * 1 + 0.5 * 3, 0.5 * 2 - 0.5 * 4])
    assert degrees == pytest.approx(math.degrees(math.acos((3 - 8) / (5 * math.sqrt(5)))), rel=1e-4)
    hard, _ = aligned("ga_hard", [3.0, -4.0], [1.0, 2.0], alpha=0.5, scope="tensor")
    assert hard == pytest.approx([2.0, 2.0])
    untouched, _ = aligned("ga_soft", [3.0, -4.0], [1.0, 0.0], alpha=0.5, scope="tensor")
    assert untouched == pytest.approx([2.0, 0.0])


def test_angles_that_do_not_exist_are_none():
    assert aligned("ga_soft", [0.0, 0.0], [1.0, 0.0])[1] is None
    assert angle(1.0, 1.0, 0.0) is None
    assert angle(1.0000001, 1.0, 1.0) == 0.0
    assert share_above_90([None, 45.0, 91.0, 90.0, 180.0]) == 0.5
    assert share_above_90([None]) is None


def gradients_of(name: str, objective=None, **options):
    model, plan = tiny_model(), TrainingPlan(objective or Mutual(), gradient=name, gradient_options=options)
    parts = plan.start(E, 0)
    terms = measure(model, tiny_batch(), parts, Step(0, 0), "fp32")
    backward(parts.gradient, terms, terms.total(), list(model.parameters()))
    return model, parts.gradient


def flat(model) -> torch.Tensor:
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters()])


def test_ga_on_a_model_against_separate_models():
    """g_CE and g_KD from two models of their own; then eq. 5 and 6 on the flattened vectors."""
    vectors = []
    for part in (Terms.task_part, Terms.auxiliary_part):
        model = tiny_model()
        part(measure(model, tiny_batch(), TrainingPlan(Mutual()).start(E, 0), Step(0, 0), "fp32")).backward()
        vectors.append(flat(model))
    ce, kd = vectors
    cosine = (kd @ ce) / (kd.norm() * ce.norm())
    projected = kd.norm() * cosine / ce.norm() * ce
    model, rule = gradients_of("ga_soft", alpha=0.3)
    assert torch.allclose(flat(model), 0.7 * ce + 0.3 * projected, atol=1e-6)
    assert rule.angles == [pytest.approx(math.degrees(math.acos(cosine.item())), rel=1e-3)]
    hard = flat(gradients_of("ga_hard", alpha=0.3)[0])
    assert torch.equal(hard, flat(model)) == (rule.angles[0] < 90)


def test_ga_costs_one_forward_and_two_backwards(monkeypatch):
    calls = []
    original = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: calls.append("backward") or original(*a, **k))
    model, parts = tiny_model(), TrainingPlan(Mutual(), gradient="ga_soft").start(E, 0)
    model.backbone.register_forward_hook(lambda *ignored: calls.append("forward"))
    terms = measure(model, tiny_batch(), parts, Step(0, 0), "fp32")
    backward(parts.gradient, terms, terms.total(), list(model.parameters()))
    assert calls == ["forward", "backward", "backward"]


def test_equilibrium_gives_each_layer_the_mean_of_the_exits_above():
    """Layer i gets 1 / (E - i + 1) of the sum over exits j >= i of the gradient of L_j; exits get their own."""
    model, _ = gradients_of("equilibrium", Mutual(teachers="last"))
    objective = Mutual(teachers="last")
    plain = tiny_model()
    states, mask = plain.backbone(*(tiny_batch()[key] for key in ("input_ids", "attention_mask")))
    logits = plain.exit_logits(states, mask)
    terms = objective.terms(logits, tiny_batch()["labels"], Step(0, 0))
    per_exit = (terms.coefficients * terms.losses).sum(1)
    for i in range(E):
        for (name, scaled), parameter in zip(
            model.backbone.encoder.encoder.layer[i].named_parameters(),
            plain.backbone.encoder.encoder.layer[i].parameters(),
            strict=True,
        ):
            shares = [torch.autograd.grad(per_exit[j], parameter, retain_graph=True)[0] for j in range(i, E)]
            assert torch.allclose(scaled.grad, sum(shares) / (E - i), atol=1e-6), name
        own = torch.autograd.grad(per_exit[i], plain.exits[i].classifier.weight, retain_graph=True)[0]
        assert torch.allclose(model.exits[i].classifier.weight.grad, own, atol=1e-6)


def test_equilibrium_changes_no_value():
    plain = measure(tiny_model(), tiny_batch(), TrainingPlan(Mutual()).start(E, 0), Step(0, 0), "fp32")
    plan = TrainingPlan(Mutual(), gradient="equilibrium")
    assert torch.equal(measure(tiny_model(), tiny_batch(), plan.start(E, 0), Step(0, 0), "fp32").losses, plain.losses)
    with torch.no_grad():
        terms = measure(tiny_model(), tiny_batch(), plan.start(E, 0), Step(0, 0), "fp32")
    assert torch.equal(terms.losses, plain.losses)


def test_sum_is_plain_backpropagation():
    model, _ = gradients_of("sum")
    plain, batch = tiny_model(), tiny_batch()
    states, mask = plain.backbone(batch["input_ids"], batch["attention_mask"])
    logits = plain.exit_logits(states, mask)
    distilled = Mutual().terms(logits, batch["labels"], Step(0, 0)).auxiliary_part()
    (task_losses(logits, batch["labels"]).sum() + distilled).backward()
    assert torch.allclose(flat(model), flat(plain), atol=1e-6)


@every_rule
def test_a_saved_state_continues_bit_for_bit(name, tmp_path):
    """Whatever a rule keeps from step to step is in `state_dict`."""
    straight = gradients_of(name)[1]
    plan = TrainingPlan(Mutual(), gradient=name)
    resumed = plan.new_gradient()
    save_state(tmp_path / "state", straight.state_dict())
    resumed.load_state_dict(load_state(tmp_path / "state"))
    ends = []
    for rule in (straight, resumed):
        model, parts = tiny_model(), replace(plan.start(E, 0), gradient=rule)
        for seed in (1, 2, 3):
            terms = measure(model, tiny_batch(seed=seed), parts, Step(seed, 0), "fp32")
            backward(rule, terms, terms.total(), list(model.parameters()))
        ends.append(flat(model))
    assert torch.equal(*ends)
    assert straight.angles == resumed.angles


@every_rule
def test_gradients_reach_every_part_and_options_round_trip(name):
    model, rule = gradients_of(name)
    for part in (model.backbone, *model.exits):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
    options = {key: value for key, value in json.loads(json.dumps(rule.options())).items() if key != "hard"}
    assert build(GRADIENT_RULES, name, options).options() == rule.options()
    assert len(rule.angles) == (1 if name.startswith("ga") else 0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ga_soft", {"alpha": 1.0}, "gradient rule 'ga_soft': alpha must be a number above 0 and below 1, got 1.0"),
        ("ga_hard", {"alpha": "half"}, "gradient rule 'ga_hard': alpha must be a number"),
        ("ga_soft", {"scope": "layer"}, "scope must be one of global, tensor, got 'layer'"),
        ("ga_soft", {"hard": True}, "gradient rule 'ga_soft' has no option 'hard': known: alpha, scope"),
        ("sum", {"alpha": 0.1}, "gradient rule 'sum' has no option 'alpha': it takes none"),
    ],
)
def test_bad_options_are_refused_in_one_line(name, options, message):
    with pytest.raises(UsageError) as caught:
        build(GRADIENT_RULES, name, options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
