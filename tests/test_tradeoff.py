"""Trade-off points against hand-computed numbers, and the choice of a point."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from exitnas.errors import UsageError
from exitnas.inference.tradeoff import Point, choose, leaving_macs, measure, trade_off
from exitnas.policies import POLICIES
from exitnas.policies.base import make_policy


def two_samples() -> torch.Tensor:
    """[2, 3, 2]: the first sample predicts 0 1 1, the second 1 1 0."""
    return torch.nn.functional.one_hot(torch.tensor([[0, 1, 1], [1, 1, 0]]), 2).float() * 4


def test_one_point_by_hand():
    # patience 1: sample 1 leaves at layer 3 (answer 1), sample 2 at layer 2 (answer 1)
    costs = {"layer_macs": [10.0, 20.0, 30.0], "exit_macs": [1.0, 2.0, 3.0]}
    point = measure(make_policy("patience", {"patience": 1}), two_samples(), np.array([1, 0]), "accuracy", **costs)
    assert (point.policy, point.parameters) == ("patience", {"patience": 1, "tau": None})
    assert point.exit_histogram == [0, 1, 1]
    assert point.mean_exit == 2.5
    assert point.layer_speedup == pytest.approx(1.2)
    assert point.score == 0.5
    assert point.macs == (33 + 66) / 2
    json.dumps(asdict(point), allow_nan=False)


def test_static_pays_for_its_own_exit_only():
    costs = leaving_macs(make_policy("static", {"exit": 2}), [10.0, 20.0, 30.0], [1.0, 2.0, 3.0])
    assert costs[1] == 32.0
    curve = trade_off("static", two_samples(), [1, 0], "accuracy", layer_macs=[10, 20, 30], exit_macs=[1, 2, 3])
    assert [point.macs for point in curve] == [11.0, 32.0, 63.0]
    assert [point.score for point in curve] == [0.0, 0.5, 1.0]


def test_exits_without_cost_and_costs_without_layers():
    assert trade_off("static", two_samples(), [1, 0], "accuracy")[0].macs is None
    assert trade_off("static", two_samples(), [1, 0], "accuracy", layer_macs=[10, 20, 30])[2].macs == 60.0
    with pytest.raises(UsageError, match="without layer_macs"):
        trade_off("static", two_samples(), [1, 0], "accuracy", exit_macs=[1, 2, 3])
    with pytest.raises(UsageError, match="differ in length: 3 and 1"):
        trade_off("static", two_samples(), [1, 0], "accuracy", layer_macs=[10, 20, 30], exit_macs=[1])


@pytest.mark.parametrize("name", POLICIES.names())
def test_curve_of_every_policy(name):
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 2, (120,), generator=generator)
    signal = torch.nn.functional.one_hot(labels, 2)[:, None] * torch.linspace(0.2, 3, 12)[None, :, None]
    logits = signal + torch.randn(120, 12, 2, generator=generator)
    curve = trade_off(name, logits, labels, "accuracy", certainty=torch.rand(120, 12, generator=generator))
    assert [point.mean_exit for point in curve] == sorted(point.mean_exit for point in curve)
    assert all(sum(point.exit_histogram) == 120 for point in curve)
    assert len(curve) >= {"static": 12, "patience": 11, "oracle": 1}.get(name, 20)


def test_regression_parts_and_fixed_parameters():
    values = torch.tensor([[1.0, 2.0, 2.1], [3.0, 3.1, 1.0], [5.0, 4.0, 5.1], [0.0, 0.5, 0.4]])[..., None]
    curve = trade_off("patience", values, [2.0, 1.0, 5.0, 0.5], "pearson_spearman", fixed={"patience": 1})
    assert curve[-1].mean_exit == 3.0
    expected = np.corrcoef(values[:, -1, 0].numpy(), [2.0, 1.0, 5.0, 0.5])[0, 1]
    assert curve[-1].score == pytest.approx((expected + 1.0) / 2, abs=1e-6)  # the ranks agree: Spearman 1
    parts = ["matched", "matched", "matched", "mismatched"]
    logits = torch.nn.functional.one_hot(torch.tensor([[0], [0], [1], [1]]), 2).float()
    one = measure(make_policy("static", {"exit": 1}), logits, [0, 1, 1, 0], "accuracy", parts)
    assert one.score == pytest.approx((2 / 3 + 0.0) / 2)


def test_choose_takes_the_fastest_point_that_is_good_enough():
    slow = Point("entropy", {"threshold": 0.1}, 0.90, 10.0, 1.2, None, [])
    middle = replace(slow, score=0.89, mean_exit=6.0)
    twin = replace(middle, score=0.895)
    fast = replace(slow, score=0.80, mean_exit=2.0)
    points = [slow, middle, twin, fast]
    assert choose(points, 0.90, 0.0) is slow
    assert choose(points, 0.90, 0.01) is twin
    assert choose(points, 0.90, 0.1) is fast
    assert choose(points, 0.99, 0.05) is None
    with pytest.raises(UsageError, match="at least 0"):
        choose(points, 0.9, -0.1)
