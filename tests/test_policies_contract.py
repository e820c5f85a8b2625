"""What every row of the policy registry must hold, old and new."""

import itertools
import json
import subprocess
import sys

import pytest
import torch

from exitnas.errors import UsageError
from exitnas.inference.simulate import simulate
from exitnas.policies import POLICIES
from exitnas.policies.base import Policy, make_policy, select_state
from exitnas.policies.thresholds import cut_points, spread

N, E = 60, 6


def data(classes: int = 3) -> dict[str, torch.Tensor]:
    """Exits that grow surer and agree more with depth; labels partly predictable."""
    generator = torch.Generator().manual_seed(classes)
    target = torch.randn(N, 1, classes, generator=generator)
    depth = torch.linspace(0.3, 2.0, E)[None, :, None]
    logits = 2 * depth * target + torch.randn(N, E, classes, generator=generator)
    labels = (
        logits[:, -1, 0] if classes == 1 else (target + torch.randn(N, 1, classes, generator=generator))[:, 0].argmax(1)
    )
    return {"logits": logits, "certainty": torch.rand(N, E, generator=generator), "labels": labels}


def settings(name: str, classes: int = 3) -> list[Policy]:
    sample = data(classes)
    return POLICIES.get(name).sweep(sample["logits"], 7, certainty=sample["certainty"])


every_policy = pytest.mark.parametrize("name", POLICIES.names())
CASES = [(name, classes) for name in POLICIES for classes in (1, 2, 3) if classes > 1 or POLICIES.get(name).regression]
every_case = pytest.mark.parametrize(("name", "classes"), CASES)


@every_policy
def test_name_and_declarations(name):
    entry = POLICIES.get(name)
    assert entry.name == name
    assert entry.needs <= {"labels", "certainty"}
    assert entry.__doc__


@every_case
def test_parameters_round_trip_through_json(name, classes):
    for policy in settings(name, classes):
        assert make_policy(name, json.loads(json.dumps(policy.parameters(), allow_nan=False))) == policy


@every_case
def test_everybody_gets_an_answer(name, classes):
    sample = data(classes)
    for policy in settings(name, classes):
        outcome = simulate(policy, **sample)
        assert ((outcome.exits >= 1) & (outcome.exits <= E)).all()
        assert outcome.predictions.shape == (N,)
        assert outcome.scores.shape == (N, classes)
        assert outcome.predictions.dtype == (torch.float32 if classes == 1 else torch.int64)
        if classes == 1:
            assert torch.equal(outcome.scores[:, 0], outcome.predictions)
        else:
            assert torch.allclose(outcome.scores.sum(1), torch.ones(N))
            best = outcome.scores.gather(1, outcome.predictions[:, None])[:, 0]
            assert torch.equal(best, outcome.scores.amax(1))


@every_case
def test_any_batch_any_order_same_answers(name, classes):
    sample = data(classes)
    shuffled = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    for policy in settings(name, classes):
        whole = simulate(policy, **sample)
        for rows in [shuffled, *torch.arange(N).split(1), torch.arange(7, 20)]:
            part = simulate(policy, **{key: value[rows] for key, value in sample.items()})
            assert torch.equal(part.exits, whole.exits[rows])
            assert torch.equal(part.predictions, whole.predictions[rows])
            assert torch.equal(part.scores, whole.scores[rows])


@every_case
def test_state_is_per_sample_and_can_be_compacted(name, classes):
    sample = data(classes)
    keep = torch.tensor([3, 0, 41])
    for policy in settings(name, classes):
        state = policy.start(N, E, classes)
        assert all(value.shape[0] == N for value in state.values())
        for index in (index for index in range(E) if policy.needs_exit(index, E)):
            small = select_state(state, keep)
            now = {"certainty": sample["certainty"][:, index], "labels": sample["labels"]}
            leave = policy.step(index, sample["logits"][:, index], state, **now)
            few = {key: value[keep] for key, value in now.items()}
            assert torch.equal(policy.step(index, sample["logits"][keep, index], small, **few), leave[keep])
            assert leave.dtype == torch.bool
            for key, value in select_state(state, keep).items():
                assert torch.equal(value, small[key])


def lazy_and_eager(name: str, classes: int) -> list[Policy]:
    """Settings of the sweep, and those beyond both of its ends."""
    ends = [make_policy(n, p) for n, eager, _, lazy in EXTREMES for p in (eager, lazy) if n == name and classes > 1]
    one = [make_policy("patience", {"patience": 2, "tau": 0.0})] if (name, classes) == ("patience", 1) else []
    return [*settings(name, classes), *ends, *one]


@every_case
def test_nobody_still_running_leaves_where_nobody_can(name, classes):
    sample = data(classes)
    for policy in lazy_and_eager(name, classes):
        state = policy.start(N, E, classes)
        running = torch.ones(N, dtype=torch.bool)
        for index in (index for index in range(E) if policy.needs_exit(index, E)):
            now = {"certainty": sample["certainty"][:, index], "labels": sample["labels"]}
            leave = policy.step(index, sample["logits"][:, index], state, **now)
            assert policy.can_leave(index, E) or not (leave & running).any()
            running &= ~leave


@every_case
def test_exits_not_needed_change_nothing(name, classes):
    """Running every exit and asking everywhere gives the same answers."""
    sample = data(classes)
    for policy in lazy_and_eager(name, classes):
        found = simulate(policy, **sample)
        state = policy.start(N, E, classes)
        exits = torch.zeros(N, dtype=torch.int64)
        for index in range(E):
            now = {"certainty": sample["certainty"][:, index], "labels": sample["labels"]}
            leave = policy.step(index, sample["logits"][:, index], state, **now) | (index == E - 1)
            answers, shares = policy.answer(sample["logits"][:, index], state)
            here = leave & (exits == 0)
            exits[here] = index + 1
            assert torch.equal(found.predictions[here], answers[here])
            assert torch.equal(found.scores[here], shares[here])
        assert torch.equal(found.exits, exits)


@every_policy
def test_one_number_is_served_or_refused(name):
    if POLICIES.get(name).regression:
        assert settings(name, classes=1)
        return
    with pytest.raises(UsageError, match=r"at least 2 classes, this model answers with 1 number .* static, patience"):
        settings(name, classes=1)
    with pytest.raises(UsageError, match="at least 2 classes"):
        simulate(settings(name)[0], **data(classes=1))


@every_case
def test_sweep_settings_differ(name, classes):
    parameters = [json.dumps(policy.parameters()) for policy in settings(name, classes)]
    assert len(set(parameters)) == len(parameters)


@every_policy
def test_sweep_works_for_a_single_layer_and_for_constant_logits(name):
    for logits in (torch.randn(5, 1, 3, generator=torch.Generator().manual_seed(0)), torch.ones(5, 4, 3)):
        for policy in POLICIES.get(name).sweep(logits, certainty=torch.full(logits.shape[:2], 0.5)):
            labels = torch.zeros(5, dtype=torch.int64)
            outcome = simulate(policy, logits, certainty=torch.full(logits.shape[:2], 0.5), labels=labels)
            assert (outcome.exits >= 1).all()


# name, parameters with which everybody leaves as early as the policy can, that layer, parameters that keep everybody
EXTREMES = [
    ("static", {"exit": 1}, 1, {"exit": E}),
    ("entropy", {"threshold": 9.0}, 1, {"threshold": 0.0}),
    ("max_prob", {"threshold": 0.0}, 1, {"threshold": 1.0}),
    ("cobee", {"tau": 1.5}, 2, {"tau": 0.0}),
    ("voting", {"delta": 1.0}, 1, {"delta": 99.0}),
    ("hybrid", {"threshold": 9.0, "delta": 99.0, "switch": 3}, 1, {"threshold": 0.0, "delta": 99.0, "switch": 3}),
    ("hybrid", {"threshold": 0.0, "delta": 0.1, "switch": 3}, 4, {"threshold": 0.0, "delta": 99.0, "switch": E}),
    ("patience", {"patience": 1}, 2, {"patience": E}),
    ("lte", {"threshold": 0.0}, 1, {"threshold": 1.0}),
]


@pytest.mark.parametrize(("name", "eager", "layer", "lazy"), EXTREMES)
def test_extremes(name, eager, layer, lazy):
    sample = data()
    sample["logits"] = sample["logits"][:, :1].expand(-1, E, -1)  # all exits agree, so patience is satisfied at once
    assert simulate(make_policy(name, eager), **sample).exits.unique().tolist() == [layer]
    assert simulate(make_policy(name, lazy), **sample).exits.unique().tolist() == [E]
    last = sample["logits"][:, -1].argmax(1)
    assert torch.equal(simulate(make_policy(name, lazy), **sample).predictions, last)


@pytest.mark.parametrize(("name", "first"), [("entropy", 1.0), ("max_prob", 1.0), ("cobee", 2.0), ("patience", 2.0)])
def test_sweep_spreads_evenly(name, first):
    """25 points from the earliest layer to the last, no gap much wider than the even one."""
    classes = 1 if name == "patience" else 3
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(400, 12, classes, generator=generator).cumsum(1)
    sweep = POLICIES.get(name).sweep(logits)
    means = sorted(float(simulate(policy, logits).exits.double().mean()) for policy in sweep)
    assert len(means) == 25
    assert (means[0], means[-1]) == (first, 12.0)
    even = (12 - first) / 24
    assert max(b - a for a, b in itertools.pairwise(means)) < even + 0.02


def test_voting_sweep_has_twenty_points_and_both_ends():
    logits = torch.randn(400, 12, 3, generator=torch.Generator().manual_seed(5)).cumsum(1)
    sweep = POLICIES.get("voting").sweep(logits)
    means = [float(simulate(policy, logits).exits.double().mean()) for policy in sweep]
    assert len(set(means)) == 25
    assert (min(means), max(means)) == (1.0, 12.0)
    assert {policy.k for policy in POLICIES.get("voting").sweep(logits, k=0.5)} == {0.5}


def test_few_settings_policies_return_them_all():
    logits = data()["logits"]
    assert [policy.exit for policy in POLICIES.get("static").sweep(logits, 2)] == [1, 2, 3, 4, 5, 6]
    assert [policy.patience for policy in POLICIES.get("patience").sweep(logits, 2)] == [1, 2, 3, 4, 5]


def test_cut_points_predict_the_executed_layers():
    logits = torch.randn(9, 4, 2, generator=torch.Generator().manual_seed(2))
    policy = make_policy("entropy", {"threshold": 0.0})
    thresholds, layers = cut_points(policy.signal(logits), 0.0, 1.0)
    executed = [
        int(simulate(make_policy("entropy", {"threshold": t}), logits).exits.sum()) for t in thresholds.tolist()
    ]
    assert executed == layers.tolist()
    assert (executed[0], executed[-1]) == (36, 9)
    assert executed == sorted(set(executed), reverse=True)


def test_spread_fills_gaps_when_values_cluster():
    layers = torch.tensor([9, 1, 1, 2, 3, 9, 4])
    assert layers[spread(layers, 3)].tolist() == [1, 4, 9]
    assert layers[spread(layers, 5)].tolist() == [1, 2, 3, 4, 9]
    assert layers[spread(layers, 50)].tolist() == [1, 2, 3, 4, 9]


def test_listing_policies_imports_nothing_heavy():
    code = "import sys, exitnas.policies, exitnas.inference; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
