"""Relaxations: values by hand, and the contract of every row."""

from math import log
from typing import Any

import pytest
import torch
from torch import Tensor

from exitnas.exits.genotype import Origin
from exitnas.exits.operations import EDGES
from exitnas.supernet.architecture import Architecture
from exitnas.supernet.discretize import decisions, discretize
from exitnas.supernet.relaxations import RELAXATIONS
from exitnas.supernet.space import load_space
from exitnas.training.device import seeded
from exitnas.training.schedules import geometric

LECO = load_space("leco")
every_relaxation = pytest.mark.parametrize("name", RELAXATIONS.names())
ALPHA = [[0.3, -0.2, 0.1, 0.25], [0.0, 0.4, -0.1, 0.2]]


def alpha() -> Tensor:
    return torch.tensor(ALPHA, requires_grad=True)


# ---- by hand ----


def test_softmax_by_hand():
    rule = RELAXATIONS.create("softmax")
    z = torch.tensor([[log(5.0), 0.0, 0.0, log(2.0)]])
    assert rule.weights(z, 1.0)[0].tolist() == pytest.approx([5 / 9, 1 / 9, 1 / 9, 2 / 9])
    assert rule.weights(z, 0.5)[0].tolist() == pytest.approx([25 / 31, 1 / 31, 1 / 31, 4 / 31])
    assert torch.equal(rule.weights(alpha(), 1.0), alpha().softmax(-1))  # bit for bit what DARTS writes


def test_sigmoid_by_hand():
    """1 / (1 + 1/3) and so on; shares over their sum 2.25."""
    rule = RELAXATIONS.create("sigmoid")
    z = torch.tensor([[log(3.0), 0.0, -log(3.0), log(3.0)]])
    assert rule.weights(z, 1.0)[0].tolist() == pytest.approx([3 / 4, 1 / 2, 1 / 4, 3 / 4])
    assert rule.weights(z, 0.5)[0].tolist() == pytest.approx([9 / 10, 1 / 2, 1 / 10, 9 / 10])
    assert rule.probabilities(z, 1.0)[0].tolist() == pytest.approx([1 / 3, 2 / 9, 1 / 9, 1 / 3])


@pytest.mark.parametrize(("z", "expected"), [
    ([0.0, 0.0, 0.0, 0.0], [0.25] * 4),
    ([1.5, 1.0, 0.0, -3.0], [0.75, 0.25, 0.0, 0.0]),  # threshold (1.5 + 1 - 1) / 2
    ([2.5, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]),
    ([0.4, 0.5, 0.3, 0.0], [1 / 3, 1.3 / 3, 0.7 / 3, 0.0]),  # threshold (1.2 - 1) / 3
])  # fmt: skip
def test_sparsemax_by_hand(z: list[float], expected: list[float]):
    rule = RELAXATIONS.create("sparsemax")
    assert rule.weights(torch.tensor([z]), 1.0)[0].tolist() == pytest.approx(expected, abs=1e-6)
    assert rule.weights(torch.tensor([z]) * 2, 2.0)[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_gumbel_softmax_is_the_softmax_of_alpha_and_noise():
    """Gumbel noise is -log of exponential noise; the winner's frequency is softmax(alpha) at any temperature."""
    rule = RELAXATIONS.create("gumbel_softmax")
    with seeded(5):
        noise = -torch.empty(2, 4).exponential_().log()
    with seeded(5):
        sample = rule.sample(alpha(), 0.7)
    torch.testing.assert_close(sample, ((torch.tensor(ALPHA) + noise) / 0.7).softmax(-1))
    many = torch.tensor(ALPHA[:1]).expand(20_000, 4)
    with seeded(1):
        winners = rule.sample(many, 3.0).argmax(-1).bincount(minlength=4) / len(many)
    torch.testing.assert_close(winners, torch.tensor(ALPHA[0]).softmax(-1), atol=0.012, rtol=0)
    assert torch.equal(rule.weights(alpha(), 0.1), alpha().softmax(-1))


def test_geometric_by_hand():
    assert [geometric(step, 4, 8.0, 0.5) for step in range(5)] == pytest.approx([8.0, 4.0, 2.0, 1.0, 0.5])
    assert [geometric(step, 7, 1.0, 1.0) for step in range(8)] == [1.0] * 8


# ---- the contract of every row ----


@every_relaxation
def test_weights_are_shares_and_probabilities_sum_to_one(name: str):
    rule = RELAXATIONS.create(name)
    for temperature in (0.01, 1.0, 100.0):
        for z in (alpha(), 40 * alpha(), torch.zeros(3, 8)):
            for weights in (rule.weights(z, temperature), rule.sample(z, temperature)):
                assert weights.shape == z.shape
                assert bool(((weights >= 0) & (weights <= 1)).all())
            probabilities = rule.probabilities(z, temperature)
            torch.testing.assert_close(probabilities.sum(-1), torch.ones(len(z)))
            assert bool((probabilities >= 0).all())


@every_relaxation
def test_all_candidates_start_equal(name: str):
    rule = RELAXATIONS.create(name)
    weights = rule.weights(torch.zeros(2, 5), 1.0)
    assert torch.equal(weights, weights[:1, :1].expand(2, 5))
    assert bool((weights > 0).all())
    assert rule.probabilities(torch.zeros(1, 5), 1.0)[0].tolist() == pytest.approx([0.2] * 5)


@every_relaxation
def test_a_larger_alpha_never_weighs_less(name: str):
    rule = RELAXATIONS.create(name)
    for z in ALPHA:
        order = sorted(range(4), key=lambda i: z[i])
        for values in (rule.weights(torch.tensor([z]), 0.3), rule.probabilities(torch.tensor([z]), 0.3)):
            ordered = values[0, order].tolist()
            assert ordered == sorted(ordered)
            assert int(values.argmax()) == order[-1]


@every_relaxation
def test_gradients_reach_every_alpha(name: str):
    """At the start of a search, in a step and in evaluation, and the two agree with finite differences."""
    rule = RELAXATIONS.create(name)
    direction = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.3, 0.2, -1.0, 2.0]], dtype=torch.float64)
    for compute in (rule.weights, rule.sample):
        z = alpha().detach().double().mul(0.5).requires_grad_()

        def value(at: Tensor, compute: Any = compute) -> Tensor:
            with seeded(3):
                return (compute(at, 1.0) * direction).sum()

        (gradient,) = torch.autograd.grad(value(z), z)
        assert bool((gradient != 0).all())
        for layer, column in ((0, 0), (1, 3), (0, 2)):
            step = torch.zeros_like(z)
            step[layer, column] = 1e-5
            by_difference = (value(z + step) - value(z - step)) / 2e-5
            assert float(gradient[layer, column]) == pytest.approx(float(by_difference.detach()), rel=1e-4)


@every_relaxation
def test_a_low_temperature_chooses(name: str):
    """In the limit a step's weights are 0 or 1; where candidates compete, one of them is 1."""
    rule = RELAXATIONS.create(name)
    with seeded(2):
        weights = rule.sample(torch.tensor([[1.0, -2.0, 0.5, -0.3]]), 1e-5)[0]
    assert bool(((weights < 1e-3) | (weights > 1 - 1e-3)).all())
    assert int((weights > 0.5).sum()) == (2 if name == "sigmoid" else 1)


@every_relaxation
def test_evaluation_is_deterministic_and_draws_nothing(name: str):
    made = Architecture(LECO, 2, name)
    made.temperature = 0.5
    made.alphas["pooling"].data.copy_(torch.tensor(ALPHA))
    made.eval()
    before = torch.get_rng_state()
    first, second = made.weights(), made.weights()
    table = made.train().probabilities()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[edge], second[edge]) for edge in EDGES)
    assert made.probabilities() == table
    rule = RELAXATIONS.create(name)
    assert torch.equal(first["pooling"], rule.weights(torch.tensor(ALPHA), 0.5))
    assert list(table[1]["pooling"].values()) == pytest.approx(
        rule.probabilities(torch.tensor(ALPHA), 0.5)[1].tolist(), abs=1e-6
    )


def test_training_draws_noise_for_gumbel_alone():
    for name in RELAXATIONS:
        made = Architecture(LECO, 1, name).train()
        with seeded(0):
            noisy = not torch.equal(made.weights()["pooling"], made.weights()["pooling"])
        assert noisy == (name == "gumbel_softmax")


@every_relaxation
def test_discretizing_takes_the_largest_alpha(name: str):
    made = Architecture(LECO, 1, name)
    for edge, choice in zip(EDGES, ("gelu", "mha_8", "skip", "sa", "tanh"), strict=True):
        made.alphas[edge].data[0, LECO.candidates(edge).index(choice)] = 0.2
    genotype = discretize(made, "tiny", 12, Origin())
    assert [genotype.exits[0].operation(edge) for edge in EDGES] == ["gelu", "mha_8", "skip", "sa", "tanh"]
    assert all(0 <= row["entropy"] <= 1 + 1e-6 and row["margin"] > 0 for row in decisions(genotype))


@every_relaxation
@pytest.mark.parametrize(("z", "temperature", "chosen"), [
    ((0.9, 1.0, 1.9, 0.1), 0.05, 2),  # in fp32 the sigmoids of the first three are 1
    ((-1.5, -1.5, -1.5, -1.5), 0.01, 0),  # and these are 0, whose shares are 0/0
    ((-1.5, -1.5, -1.5, -1.4), 0.01, 3),
])  # fmt: skip
def test_an_annealed_search_still_takes_the_largest_alpha(
    name: str, z: tuple[float, ...], temperature: float, chosen: int
):
    made = Architecture(LECO, 1, name)
    made.temperature = temperature
    made.alphas["pooling"].data.copy_(torch.tensor([z]))
    genotype = discretize(made, "tiny", 12, Origin())
    assert genotype.exits[0].pooling == LECO.pooling[chosen]
    assert genotype.probabilities is not None
    shares = genotype.probabilities[0]["pooling"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
