"""Learning to exit: the certainty head, its loss, saving it, and the policy that reads it."""

import math

import pytest
import torch
from tiny_model import B, E, tiny_batch, tiny_model, tiny_setup

from exitnas.errors import UsageError
from exitnas.inference.engine import run
from exitnas.inference.simulate import simulate
from exitnas.modeling.model import MultiExitForSequenceClassification
from exitnas.objectives.alternating import Alternating
from exitnas.objectives.base import Step
from exitnas.objectives.certainty import CertaintyHead, certainty_loss, certainty_targets
from exitnas.objectives.joint import Joint
from exitnas.objectives.plan import TrainingPlan
from exitnas.objectives.weighted import Weighted
from exitnas.policies.base import make_policy
from exitnas.training.evaluation import all_logits, all_outputs
from exitnas.training.step import measure


def test_head_is_a_sigmoid_of_the_first_token():
    head = CertaintyHead(3)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
        head.linear.bias.fill_(0.25)
    hidden = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = [1 / (1 + math.exp(-(a - 2 * b + 0.5 * c + 0.25))) for a, b, c in hidden[:, 0].tolist()]
    assert head(hidden, None).tolist() == pytest.approx(expected, rel=1e-5)


def test_targets_and_loss_by_hand():
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    assert certainty_targets(logits, torch.tensor([0, 0, 0])).tolist() == [1.0, 0.0, 1.0]
    values, labels = torch.tensor([[1.0], [2.5]]), torch.tensor([1.0, 2.0])
    assert certainty_targets(values, labels).tolist() == pytest.approx([1.0, 1 - math.tanh(0.5)])
    loss = certainty_loss(torch.tensor([0.9, 0.2, 0.4]), logits, torch.tensor([0, 0, 0]))
    assert loss.item() == pytest.approx((0.01 + 0.04 + 0.36) / 3, rel=1e-5)


def test_the_target_is_a_constant():
    values = torch.tensor([[1.0], [2.5]], requires_grad=True)
    assert not certainty_targets(values, torch.tensor([1.0, 2.0])).requires_grad


@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize(("objective", "weights"), [(Joint(), [1, 1, 1]), (Weighted(), [1 / 6, 2 / 6, 3 / 6])])
def test_every_loss_gets_its_certainty_loss(objective, weights, regression):
    model, batch = tiny_model(regression, certainty=True), tiny_batch(regression)
    with torch.no_grad():
        with_head = measure(model, batch, TrainingPlan(objective, lte=True).start(E, 0), Step(0, 0), "fp32")
        states, mask = model.backbone(batch["input_ids"], batch["attention_mask"])
        logits = model.exit_logits(states, mask)
        plain = objective.terms(logits, batch["labels"], Step(0, 0)).total()
        added = 0.0
        for weight, hidden, values in zip(weights, states, logits, strict=True):
            certainty = torch.sigmoid(hidden[:, 0] @ model.certainty.linear.weight[0] + model.certainty.linear.bias)
            if regression:
                target = 1 - torch.tanh((values[:, 0] - batch["labels"]).abs())
            else:
                target = (values.argmax(1) == batch["labels"]).float()
            added += weight * ((certainty - target) ** 2).mean()
    assert with_head.total().item() == pytest.approx((plain + added).item(), rel=1e-5)


def test_alternating_trains_the_head_on_the_exits_of_the_turn():
    batch = tiny_batch()
    for step, layers in ((0, [E - 1]), (1, [0, 1, 2])):
        model = tiny_model(certainty=True)
        terms = measure(model, batch, TrainingPlan(Alternating(), lte=True).start(E, 0), Step(step, 0), "fp32")
        terms.total().backward()
        assert model.certainty.linear.weight.grad.abs().max() > 0
        trained = [m for m in range(E) if model.exits[m].classifier.weight.grad is not None]
        assert trained == layers


def test_the_head_is_saved_with_the_model(tmp_path):
    model = tiny_model(certainty=True)
    model.save_pretrained(tmp_path / "with")
    loaded = MultiExitForSequenceClassification.from_pretrained(tmp_path / "with")
    assert torch.equal(loaded.certainty.linear.weight, model.certainty.linear.weight)
    tiny_model().save_pretrained(tmp_path / "without")
    assert MultiExitForSequenceClassification.from_pretrained(tmp_path / "without").certainty is None


def test_the_head_does_not_change_the_exits_start():
    for one, other in zip(tiny_model().exits.parameters(), tiny_model(certainty=True).exits.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("regression", [False, True])
def test_engine_and_simulation_leave_where_certainty_passes_the_threshold(regression):
    model = tiny_model(regression, certainty=True).eval()
    setup, _ = tiny_setup(B, regression)
    logits, certainty = all_outputs(model, setup.test, 4, setup.device)
    assert torch.equal(logits, all_logits(model, setup.test, 4, setup.device))
    assert certainty.shape == (B, E)
    threshold = float(certainty[:, :-1].median())
    expected = [next((m + 1 for m in range(E) if row[m] > threshold), E) for row in certainty.tolist()]
    policy = make_policy("lte", {"threshold": threshold})
    assert simulate(policy, logits, certainty=certainty).exits.tolist() == expected
    assert run(model, setup.test.batch(list(range(B))), policy).exits.tolist() == expected
    assert len(set(expected)) > 1


def test_a_model_without_the_head_refuses_the_policy_in_one_line():
    policy = make_policy("lte", {"threshold": 0.5})
    model = tiny_model().eval()
    setup, _ = tiny_setup(B)
    assert all_outputs(model, setup.test, 4, setup.device)[1] is None
    with pytest.raises(UsageError, match="needs a certainty head"):
        run(model, setup.test.batch([0, 1]), policy)
    with pytest.raises(UsageError, match="needs a certainty head, and this model has none"):
        simulate(policy, torch.randn(2, E, 3))


def test_policy_extremes_sweep_and_range():
    certainty = torch.rand(50, 6, generator=torch.Generator().manual_seed(0)) * 0.98 + 0.01
    logits = torch.randn(50, 6, 3, generator=torch.Generator().manual_seed(1))
    everybody, nobody = (make_policy("lte", {"threshold": t}) for t in (0.0, 1.0))
    assert simulate(everybody, logits, certainty=certainty).exits.unique().tolist() == [1]
    assert simulate(nobody, logits, certainty=certainty).exits.unique().tolist() == [6]
    curve = type(everybody).sweep(logits, 20, certainty=certainty)
    means = [simulate(policy, logits, certainty=certainty).exits.double().mean().item() for policy in curve]
    assert len(set(means)) == 20
    assert (min(means), max(means)) == (1.0, 6.0)
    with pytest.raises(UsageError, match=r"threshold must be a number, 0 to 1, got 1\.5"):
        make_policy("lte", {"threshold": 1.5})
