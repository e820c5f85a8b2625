"""Every policy against tables worked out by hand."""

import itertools
import math

import pytest
import torch

from exitnas.errors import UsageError
from exitnas.inference.simulate import simulate
from exitnas.policies.base import make_policy
from exitnas.policies.entropy import entropy
from exitnas.policies.patience import windowed
from exitnas.policies.voting import needed_votes


def voting_logits(*rows: list[int], classes: int = 3) -> torch.Tensor:
    """[N, E, C] logits whose arg-max at each exit is the class given."""
    return torch.nn.functional.one_hot(torch.tensor(rows), classes).float() * 3


def from_probabilities(*exits: list[float]) -> torch.Tensor:
    """One sample, [1, E, C], whose exits have these distributions."""
    return torch.tensor([exits], dtype=torch.float64).log().float()


def leaves(name: str, logits: torch.Tensor, labels: torch.Tensor | None = None, **parameters: object) -> list[int]:
    return simulate(make_policy(name, parameters), logits, labels=labels).exits.tolist()


def test_entropy_in_nats_and_divided_by_log_c():
    logits = from_probabilities([0.5, 0.5], [0.8, 0.2], [0.99, 0.01])
    expected = [
        math.log(2),
        -(0.8 * math.log(0.8) + 0.2 * math.log(0.2)),
        -(0.99 * math.log(0.99) + 0.01 * math.log(0.01)),
    ]
    assert entropy(logits)[0].tolist() == pytest.approx(expected, abs=1e-6)
    assert leaves("entropy", logits, threshold=0.7) == [1]
    assert leaves("entropy", logits, threshold=0.6) == [2]
    assert leaves("entropy", logits, threshold=0.1) == [3]
    assert leaves("entropy", logits, threshold=0.73, normalized=True) == [2]  # 0.5004 / 0.6931 = 0.722
    assert leaves("entropy", logits, threshold=0.71, normalized=True) == [3]


@pytest.mark.parametrize("gap", [20.0, 104.0, 200.0, 1e4, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_most_confident_input_leaves(gap, dtype):
    logits = torch.tensor([[[gap, 0.0], [0.0, 0.0]]], dtype=dtype)
    if math.isinf(gap):
        logits = torch.tensor([[[0.0, -math.inf], [0.0, 0.0]]], dtype=dtype)
    assert leaves("entropy", logits, threshold=1e-6) == [1]
    assert leaves("max_prob", logits, threshold=0.999) == [1]


def test_thresholds_are_strict():
    certain = torch.tensor([[[200.0, 0.0], [200.0, 0.0], [0.0, 1.0]]])
    assert leaves("entropy", certain, threshold=0.0) == [3]
    assert leaves("max_prob", certain, threshold=1.0) == [3]
    assert leaves("cobee", certain, tau=0.0) == [3]
    assert leaves("patience", torch.tensor([[[1.0], [1.5], [1.5], [3.0]]]), patience=1, tau=0.5) == [3]


def test_max_prob():
    logits = from_probabilities([0.6, 0.4], [0.2, 0.8], [0.9, 0.1])
    assert leaves("max_prob", logits, threshold=0.55) == [1]
    outcome = simulate(make_policy("max_prob", {"threshold": 0.7}), logits)
    assert (outcome.exits.tolist(), outcome.predictions.tolist()) == ([2], [1])
    assert outcome.scores[0].tolist() == pytest.approx([0.2, 0.8])
    assert leaves("max_prob", logits, threshold=0.95) == [3]


@pytest.mark.parametrize(("patience", "layer"), [(1, 2), (2, 5), (3, 6), (4, 6), (99, 6)])
def test_patience_counts_agreements_and_starts_again_on_change(patience, layer):
    outcome = simulate(make_policy("patience", {"patience": patience}), voting_logits([0, 0, 1, 1, 1, 1]))
    assert outcome.exits.tolist() == [layer]
    assert outcome.predictions.tolist() == [0 if layer == 2 else 1]


@pytest.mark.parametrize(
    ("patience", "tau", "layer", "value"),
    [(1, 0.4, 2, 1.3), (1, 0.1, 3, 1.35), (1, 0.04, 4, 1.36), (2, 0.1, 4, 1.36), (2, 0.4, 3, 1.35), (1, 0.0, 5, 2.0)],
)
def test_patience_on_regression(patience, tau, layer, value):
    values = torch.tensor([[1.0, 1.3, 1.35, 1.36, 2.0]])[..., None]
    outcome = simulate(make_policy("patience", {"patience": patience, "tau": tau}), values)
    assert outcome.exits.tolist() == [layer]
    assert outcome.predictions.dtype == torch.float32
    assert outcome.predictions.tolist() == pytest.approx([value])
    assert outcome.scores[0].tolist() == pytest.approx([value])


@pytest.mark.parametrize(
    ("tau", "patience", "layer", "prediction"),
    [
        (0.01, 1, 4, 1),
        (0.1, 1, 4, 1),  # disagreements: none, |0.9 - 0.6| = 0.3, |0.8 - 0.1| = 0.7, |0.75 - 0.8| = 0.05
        (0.35, 1, 2, 0),
        (0.35, 2, 4, 1),  # counter 0 1 0 1
        (0.75, 2, 3, 1),  # counter 0 1 2
        (0.75, 3, 4, 1),
        (1.0, 1, 2, 0),  # never at layer 1
    ],
)
def test_cobee(tau, patience, layer, prediction):
    logits = from_probabilities([0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.25, 0.75])
    outcome = simulate(make_policy("cobee", {"tau": tau, "patience": patience}), logits)
    assert (outcome.exits.tolist(), outcome.predictions.tolist()) == ([layer], [prediction])


def test_cobee_starts_again_after_a_disagreement():
    # disagreements 0.3, 0.7, 0.05, 0.35: with tau 0.32 the counter reads 0 1 0 1 0
    logits = from_probabilities([0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.25, 0.75], [0.6, 0.4])
    assert leaves("cobee", logits, tau=0.32, patience=2) == [5]


def test_cobee_compares_the_later_exits_favourite():
    # favourite of exit 2 is class 1: |0.6 - 0.3| = 0.3; class 0 differs by 0.4, class 2 by 0.1
    logits = from_probabilities([0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [1 / 3, 1 / 3, 1 / 3])
    assert leaves("cobee", logits, tau=0.31) == [2]
    assert leaves("cobee", logits, tau=0.29) == [3]


@pytest.mark.parametrize(
    ("votes", "delta", "k", "layer", "prediction"),
    [
        ([0, 1, 1, 0], 1.0, 0.0, 1, 0),
        ([0, 1, 1, 0], 2.0, 0.0, 3, 1),
        ([0, 1, 1, 0], 3.0, 0.0, 4, 0),  # tie 2:2, the last exit's own class is tied
        ([0, 1, 1, 0, 2], 3.0, 0.0, 5, 0),  # tie without the last exit's class: 0 got its vote at layer 4
        ([0, 0, 1, 1, 2], 3.0, 0.0, 5, 1),
        ([1, 0, 0, 1, 2], 3.0, 0.0, 5, 1),
        ([0, 0, 1], 9.0, 0.0, 3, 0),  # nobody let it go: the vote still answers, not the last exit
        ([0, 0, 0, 1], 1.5, 0.5, 3, 0),  # V: 1, 2/sqrt 2 = 1.41, 3/sqrt 3 = 1.73
        ([0, 0, 0, 0, 1], 2.0, 0.5, 4, 0),  # V = 4 / sqrt 4 is reached exactly
        ([0, 1, 0, 0, 1], 1.51, 0.5, 5, 0),  # V: 1, 0.71, 1.15, 1.5, 1.34
    ],
)
def test_voting(votes, delta, k, layer, prediction):
    outcome = simulate(make_policy("voting", {"delta": delta, "k": k}), voting_logits(votes))
    assert (outcome.exits.tolist(), outcome.predictions.tolist()) == ([layer], [prediction])


def test_voting_scores_are_shares_of_the_votes():
    outcome = simulate(make_policy("voting", {"delta": 9.0, "k": 0.0}), voting_logits([0, 1, 1, 2]))
    assert outcome.scores.tolist() == [[0.25, 0.5, 0.25]]


@pytest.mark.parametrize("k", [0.0, 0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("delta", [1.1, 1.5, 2.0, 2.3, 4.0])
def test_voting_can_leave_exactly_where_some_sequence_of_votes_leaves(delta, k):
    layers = 5
    every = list(itertools.product(range(4), repeat=layers))
    policy = make_policy("voting", {"delta": delta, "k": k})
    exits = simulate(policy, voting_logits(*every, classes=4)).exits
    found = [bool((exits == layer).any()) for layer in range(1, layers)]
    assert [policy.can_leave(index, layers) for index in range(layers - 1)] == found


def test_needed_votes():
    assert [needed_votes(layer, 1.5, 0.5) for layer in (1, 2, 3, 4, 5)] == [2, 3, 3, 3, 4]
    assert [needed_votes(layer, 2.0, 0.5) for layer in (3, 4, 9)] == [4, 4, 6]  # V = 4 / 2 and 6 / 3: reached exactly


# entropies in nats: 0.69, 0.50, 0.33, 0.06 by probability 0.5, 0.8, 0.9, 0.99
@pytest.mark.parametrize(
    ("threshold", "delta", "switch", "layer", "prediction", "score"),
    [
        (0.6, 9.0, 2, 2, 1, 0.8),  # entropy: the exit's own answer
        (0.6, 9.0, 1, 5, 0, 0.6),  # entropy asks at layer 1 only, votes 3:2 answer at the end
        (0.1, 9.0, 4, 4, 1, 0.99),
        (
            0.1,
            2.0,
            3,
            4,
            1,
            0.5,
        ),  # votes 0 1 0 1: two for each, the latest wins; layer 4 is not asked for entropy
        (0.1, 3.0, 3, 5, 0, 0.6),
        (0.0, 1.0, 0, 1, 0, 1.0),  # voting alone: V = 1 at layer 1
        (0.0, 1.0, 5, 5, 0, 0.7),  # entropy alone: the last exit answers
    ],
)
def test_hybrid(threshold, delta, switch, layer, prediction, score):
    logits = from_probabilities([0.52, 0.48], [0.2, 0.8], [0.9, 0.1], [0.01, 0.99], [0.7, 0.3])
    policy = make_policy("hybrid", {"threshold": threshold, "delta": delta, "switch": switch, "k": 0.0})
    outcome = simulate(policy, logits)
    assert (outcome.exits.tolist(), outcome.predictions.tolist()) == ([layer], [prediction])
    assert outcome.scores[0, prediction].item() == pytest.approx(score)


def test_hybrid_is_voting_at_one_end_and_entropy_at_the_other():
    logits = torch.randn(50, 6, 3, generator=torch.Generator().manual_seed(0))
    for switch, other in ((0, ("voting", {"delta": 1.2})), (6, ("entropy", {"threshold": 0.7}))):
        found = simulate(make_policy("hybrid", {"threshold": 0.7, "delta": 1.2, "switch": switch}), logits)
        expected = simulate(make_policy(*other), logits)
        assert 1 < expected.exits.double().mean() < 6
        assert torch.equal(found.exits, expected.exits)
        assert torch.equal(found.predictions, expected.predictions)
        assert torch.equal(found.scores, expected.scores)


def test_static_and_oracle():
    logits = voting_logits([0, 1, 2], [1, 1, 1])
    outcome = simulate(make_policy("static", {"exit": 2}), logits)
    assert (outcome.exits.tolist(), outcome.predictions.tolist()) == ([2, 2], [1, 1])
    assert leaves("oracle", logits, labels=torch.tensor([2, 1])) == [3, 1]
    assert leaves("oracle", logits, labels=torch.tensor([1, 0])) == [2, 3]  # never right: runs to the end


def test_windowed_maximum():
    difference = torch.tensor([[math.inf, 3.0, 1.0, 2.0]])
    assert windowed(difference, 1).tolist() == difference.tolist()
    assert windowed(difference, 2).tolist() == [[math.inf, math.inf, 3.0, 2.0]]
    assert windowed(difference, 3).tolist() == [[math.inf, math.inf, math.inf, 3.0]]


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("entropi", {}, "did you mean entropy"),
        ("entropy", {}, "needs a value for threshold"),
        ("entropy", {"treshold": 1.0}, "did you mean threshold"),
        ("entropy", {"threshold": -0.1}, "threshold must be a number of at least 0, got -0.1"),
        ("entropy", {"threshold": math.nan}, "got nan"),
        ("entropy", {"threshold": "0.1"}, "got '0.1'"),
        ("entropy", {"threshold": 0.1, "normalized": 1}, "true or false, got 1"),
        ("max_prob", {"threshold": 1.5}, "a probability, 0 to 1, got 1.5"),
        ("patience", {"patience": 0}, "at least 1, got 0"),
        ("patience", {"patience": 1.5}, "whole number"),
        ("patience", {"patience": True}, "got True"),
        ("patience", {"patience": 1, "tau": -1.0}, "tau must be"),
        ("cobee", {"tau": 0.1, "patience": 0}, "patience must be"),
        ("voting", {"delta": 0.0}, "above 0, got 0.0"),
        ("voting", {"delta": 1.0, "k": 1.0}, "below 1, got 1.0"),
        ("static", {"exit": 0}, "at least 1"),
        ("hybrid", {"threshold": 0.1, "delta": 1.0}, "needs a value for switch"),
        ("hybrid", {"threshold": -0.1, "delta": 1.0, "switch": 1}, "'hybrid': threshold must be"),
        ("hybrid", {"threshold": 0.1, "delta": 0.0, "switch": 1}, "'hybrid': delta must be a number above 0"),
        (
            "hybrid",
            {"threshold": 0.1, "delta": 1.0, "switch": -1},
            "whole number of at least 0, got -1",
        ),
        ("oracle", {"exit": 1}, "it takes none"),
    ],
)
def test_bad_parameters_are_named(name, parameters, words):
    with pytest.raises(UsageError) as caught:
        make_policy(name, parameters)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_policies_that_do_not_fit_the_model():
    classes, values = torch.zeros(2, 3, 2), torch.zeros(2, 3, 1)
    with pytest.raises(UsageError, match=r"needs tau"):
        simulate(make_policy("patience", {"patience": 1}), values)
    with pytest.raises(UsageError, match=r"this model is a classifier"):
        simulate(make_policy("patience", {"patience": 1, "tau": 0.1}), classes)
    with pytest.raises(UsageError, match=r"exit must be 1\.\.3 here, got 4"):
        simulate(make_policy("static", {"exit": 4}), classes)
    with pytest.raises(UsageError, match=r"switch must be 0\.\.3 here, got 4"):
        simulate(make_policy("hybrid", {"threshold": 0.1, "delta": 1.0, "switch": 4}), classes)
    with pytest.raises(UsageError, match=r"needs labels"):
        simulate(make_policy("oracle", {}), classes)
