"""Loss weightings: what they start from, what an update is, and the contract of every row."""

import json

import pytest
import torch
from tiny_model import E, tiny_batch, tiny_model

from exitnas.errors import UsageError
from exitnas.objectives.base import Step, Terms
from exitnas.objectives.mutual import Mutual
from exitnas.objectives.options import build
from exitnas.objectives.plan import TrainingPlan
from exitnas.objectives.weighting import WEIGHTINGS
from exitnas.settings import RetrainSettings
from exitnas.training.checkpoint import load_state, save_state
from exitnas.training.optimizers import weight_optimizer
from exitnas.training.step import train_step

every_weighting = pytest.mark.parametrize("name", WEIGHTINGS.names())
LEARNED = [name for name in WEIGHTINGS if WEIGHTINGS.get(name).learned]
USED = torch.tensor([[1.0, 0.0, 0.1, 0.1], [1.0, 0.1, 0.0, 0.1], [1.0, 0.1, 0.1, 0.0]])


def started(name, seed=0, **options):
    weighting = build(WEIGHTINGS, name, options)
    weighting.start(3, 4, torch.Generator().manual_seed(seed))
    return weighting


def terms(seed=0) -> Terms:
    return Terms(torch.rand(3, 4, generator=torch.Generator().manual_seed(seed)), USED)


def no_more():
    raise AssertionError("this weighting should not ask for another forward")


@every_weighting
def test_rows_sum_to_one_over_the_terms_in_use(name):
    weighting = started(name)
    weighting.apply(terms())
    for seed in range(3):
        weighting.update(terms(seed), lambda: terms(5), lambda: terms(6))
    if name == "uniform":
        return
    matrix = weighting.matrix()
    assert torch.allclose(matrix.sum(1), torch.ones(3))
    assert torch.equal(matrix > 0, USED > 0)


@every_weighting
def test_a_saved_state_continues_bit_for_bit(name, tmp_path):
    """Whatever an update changes is in `state_dict`: optimizer moments, counters, the terms in use."""
    straight, resumed = started(name), started(name, seed=7)

    def update(weighting, seed):
        weighting.apply(terms(seed))
        weighting.update(terms(seed), lambda: terms(seed + 10), lambda: terms(seed + 20))

    for seed in range(3):
        update(straight, seed)
    save_state(tmp_path / "state", straight.state_dict())
    resumed.load_state_dict(load_state(tmp_path / "state"))
    assert torch.equal(straight.matrix(), resumed.matrix())
    for seed in range(3, 8):
        update(straight, seed)
        update(resumed, seed)
        assert torch.equal(straight.matrix(), resumed.matrix())


@every_weighting
def test_options_round_trip_and_unknown_ones_are_refused(name):
    weighting = build(WEIGHTINGS, name, {})
    assert weighting.name == name
    assert build(WEIGHTINGS, name, json.loads(json.dumps(weighting.options()))).options() == weighting.options()
    with pytest.raises(UsageError, match="has no option 'speed'"):
        build(WEIGHTINGS, name, {"speed": 1})


@pytest.mark.parametrize("name", ["uniform", *LEARNED])
def test_learned_weights_start_as_the_objective_is(name):
    weighted = started(name).apply(terms())
    assert torch.allclose(weighted.coefficients, USED)
    assert not weighted.coefficients.requires_grad


@every_weighting
def test_split_covers_all_rows_once(name):
    weighting = started(name)
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    first, second = weighting.split(list(range(11)), generator)
    assert sorted(first + second) == list(range(11))
    assert len(first) == weighting.first_rows(11) == (6 if weighting.splits else 11)
    assert torch.equal(generator.get_state(), before) != weighting.splits
    if weighting.splits:
        assert set(weighting.split(list(range(11)), generator)[0]) != set(first)


def test_random_weights_are_whole_numbers_up_to_50_before_normalizing():
    weighting = started("random", seed=4)
    weighting.apply(Terms(torch.ones(3, 4), torch.ones(3, 4)))
    drawn = torch.randint(1, 51, (3, 4), generator=torch.Generator().manual_seed(4)).float()
    assert torch.allclose(weighting.matrix(), drawn / drawn.sum(1, keepdim=True))
    weighted = weighting.apply(terms()).coefficients
    kept = drawn * (USED > 0)
    assert torch.allclose(weighted, USED * 3 * kept / kept.sum(1, keepdim=True), atol=1e-6)


def gradient_by_hand(logits: torch.Tensor, losses: Terms) -> torch.Tensor:
    """d/do of sum over k of n w_k c_k l_k, with w = softmax(o) over the used terms: n w_k (c_k l_k - mean)."""
    result = torch.zeros_like(logits)
    for m in range(len(logits)):
        used = (losses.coefficients[m] != 0).nonzero().flatten()
        w = torch.softmax(logits[m, used], 0)
        value = losses.coefficients[m, used] * losses.losses[m, used]
        result[m, used] = len(used) * w * (value - (w * value).sum())
    return result


@pytest.mark.parametrize("name", LEARNED)
def test_updates_are_the_papers_equations(name):
    """Three updates with plain gradient descent, against the equations with a gradient worked out by hand."""
    options = {"lr": 0.5, "optimizer": "sgd"}
    if name.startswith("clo"):
        options["lr_d1"] = 0.2
    if name == "clo_v2":
        options["cycle"] = 2
    weighting = started(name, **options)
    logits = torch.zeros(3, 4)
    for step in range(1, 4):
        seen, again, other = terms(step), terms(10 + step), terms(20 + step)
        weighting.apply(seen)
        weighting.update(seen, lambda again=again: again, lambda other=other: other)
        if name == "slo":
            logits = logits - 0.5 * gradient_by_hand(logits, seen)
        elif name == "blo":
            logits = logits - 0.5 * gradient_by_hand(logits, other)
        elif name == "clo_v1" or step % 2 == 0:
            logits = logits - 0.2 * gradient_by_hand(logits, again) - 0.5 * gradient_by_hand(logits, other)
        else:
            logits = logits - 0.2 * gradient_by_hand(logits, seen)
        hidden = logits.masked_fill(USED == 0, float("-inf"))
        assert torch.allclose(weighting.matrix(), torch.softmax(hidden, 1), atol=1e-6)


def test_slo_asks_for_no_further_forward_and_clo_v2_for_two_in_every_cycle():
    slo = started("slo")
    slo.update(terms(), no_more, no_more)
    asked = []
    clo = started("clo_v2", cycle=4)
    for step in range(1, 9):
        clo.update(
            terms(step),
            lambda step=step: asked.append(("D1", step)) or terms(),
            lambda step=step: asked.append(("D2", step)) or terms(),
        )
    assert asked == [("D1", 4), ("D2", 4), ("D1", 8), ("D2", 8)]


def train(name, steps=4, **options):
    """Weights and the model's last exit after some steps of mutual learning on the tiny BERT."""
    model = tiny_model()
    parts = TrainingPlan(Mutual(), name, {"lr": 0.1, **options}).start(E, 0)
    optimizer = weight_optimizer(model.backbone, model.exits, lr=1e-2, exit_lr=1e-2, weight_decay=0.0)
    for step in range(steps):
        train_step(
            model,
            tiny_batch(seed=step),
            lambda step=step: tiny_batch(seed=50 + step),
            parts,
            optimizer,
            list(model.parameters()),
            [],
            Step(step, 0),
            RetrainSettings(task="tiny"),
        )
    return parts.weighting.matrix(), model.exits[-1].classifier.weight.detach()


def test_clo_v1_is_clo_v2_with_a_cycle_of_one():
    for one, other in zip(train("clo_v1"), train("clo_v2", cycle=1), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(train("clo_v1")[0], train("clo_v2", cycle=2)[0])


def test_loss_weights_use_the_updated_model_on_both_halves():
    """One step of CLO-v1 against algorithm 1 written out with a plain SGD-like replay of the same model update."""
    model = tiny_model()
    plan = TrainingPlan(Mutual(), "clo_v1", {"lr": 0.3, "lr_d1": 0.1, "optimizer": "sgd"})
    parts = plan.start(E, 0)
    optimizer = weight_optimizer(model.backbone, model.exits, lr=1e-2, exit_lr=1e-2, weight_decay=0.0)
    first, second = tiny_batch(seed=1), tiny_batch(seed=2)
    settings = RetrainSettings(task="tiny")
    train_step(model, first, lambda: second, parts, optimizer, list(model.parameters()), [], Step(0, 0), settings)
    steps = []
    for batch in (first, second):  # the model as the step left it
        with torch.no_grad():
            states, mask = model.backbone(batch["input_ids"], batch["attention_mask"])
            steps.append(Mutual().terms(model.exit_logits(states, mask), batch["labels"], Step(0, 0)))
    zero = torch.zeros(E, 1 + E)
    logits = -0.1 * gradient_by_hand(zero, steps[0]) - 0.3 * gradient_by_hand(zero, steps[1])
    expected = torch.softmax(logits.masked_fill(steps[0].coefficients == 0, float("-inf")), 1)
    assert torch.allclose(parts.weighting.matrix(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("slo", {"lr": 0.0}, "weighting 'slo': lr must be a number above 0, got 0.0"),
        ("blo", {"optimizer": "lion"}, "weighting 'blo': optimizer must be one of adam, sgd"),
        ("clo_v1", {"lr_d1": -1.0}, "weighting 'clo_v1': lr_d1 must be a number above 0"),
        ("clo_v1", {"cycle": 2}, "weighting 'clo_v1' has no option 'cycle'"),
        ("clo_v2", {"cycle": 0}, "weighting 'clo_v2': cycle must be a whole number of at least 1, got 0"),
        ("clo_v2", {"cycle": 2.5}, "cycle must be a whole number"),
        ("random", {"lr": 0.1}, "weighting 'random' has no option 'lr': it takes none"),
    ],
)
def test_bad_options_are_refused_in_one_line(name, options, message):
    with pytest.raises(UsageError) as caught:
        build(WEIGHTINGS, name, options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
