"""Multiply-accumulates counted by hand, MACs of early exit, and timing."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from exitnas.backbones.bert import BertBackbone
from exitnas.exits.exit import build_exits, exit_costs
from exitnas.inference.costs import model_macs
from exitnas.inference.session import Session
from exitnas.inference.speed import Timing, spread_rows, time_policies
from exitnas.inference.tradeoff import leaving_macs
from exitnas.modeling.saving import load_model
from exitnas.policies.base import make_policy
from exitnas.training.batches import Encoded

D, INTERMEDIATE, WIDTH, CLASSES = 32, 64, 8, 2


def layer_macs(tokens: int) -> int:
    """Query, key, value and output projections; scores and their sum over values; the two feed-forward products."""
    return 4 * tokens * D * D + 2 * tokens * tokens * D + 2 * tokens * D * INTERMEDIATE


@pytest.mark.parametrize("tokens", [1, 5, 17])
def test_macs_of_a_tiny_bert_by_hand(retrained: dict[str, Any], tokens: int):
    model, _ = load_model(retrained["run"])
    layers, exits = model_macs(model, tokens)
    assert layers == [layer_macs(tokens)] * 3
    assert exits == [float(exit_.macs(tokens)) for exit_ in model.exits]


def test_macs_of_an_exit_by_hand(retrained: dict[str, Any], world: Any):
    """The first exit: Linear 32->8 on all tokens, convolution of width 3, mean over tokens, Linear 8->2."""
    model, _ = load_model(retrained["run"])
    tokens = 5
    expected = tokens * D * WIDTH + tokens * 3 * WIDTH * WIDTH + tokens * WIDTH + WIDTH * CLASSES
    assert model_macs(model, tokens)[1][0] == expected
    costs = exit_costs(world.genotype(), CLASSES, tokens)
    assert costs[0] == {
        "macs": expected,
        "parameters": (D * WIDTH + WIDTH) + (3 * WIDTH * WIDTH + WIDTH) + (WIDTH * CLASSES + CLASSES),
    }
    for cost, exit_ in zip(costs, build_exits(world.genotype(), CLASSES), strict=True):
        assert cost["parameters"] == sum(p.numel() for p in exit_.parameters())


def test_the_embedding_counts_into_the_first_layer():
    """ALBERT projects its embedding of size e to D: T * e * D on top of the first layer."""
    import transformers

    from exitnas.backbones.albert import AlbertBackbone

    config = transformers.AlbertConfig(
        vocab_size=30,
        embedding_size=8,
        hidden_size=D,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=INTERMEDIATE,
    )
    backbone = AlbertBackbone.from_config(config).eval()
    layers, exits = model_macs(SimpleNamespace(backbone=backbone, exits=[], parameters=backbone.parameters), 6)
    assert layers == [layer_macs(6) + 6 * 8 * D, layer_macs(6)]
    assert exits == []


def test_counting_does_not_disturb_training_or_gradients(retrained: dict[str, Any]):
    model, _ = load_model(retrained["run"])
    model_macs(model, 4)
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    assert isinstance(model.backbone, BertBackbone)


def test_macs_of_leaving_by_hand():
    every = make_policy("entropy", {"threshold": 0.5})
    assert leaving_macs(every, [10, 20, 30], [1, 2, 3]).tolist() == [11, 33, 66]
    last = make_policy("static", {"exit": 3})
    assert leaving_macs(last, [10, 20, 30], [1, 2, 3]).tolist()[2] == 63  # exits 1 and 2 are never run


def test_timing_by_hand():
    timing = Timing(full=0.3, early=0.1, samples=4, rounds=2)
    assert timing.speedup == pytest.approx(3.0)
    assert timing.reduction == pytest.approx(2 / 3)


def test_timed_rows_are_spread_evenly():
    def data(rows: int) -> Encoded:
        return Encoded([([1], None)] * rows, torch.zeros(rows), 0)

    assert spread_rows(data(9), 3) == [0, 4, 8]
    assert spread_rows(data(3), 64) == [0, 1, 2]
    assert spread_rows(data(5), 1) == [0]


def test_times_are_positive(retrained: dict[str, Any]):
    session = Session.open(retrained["run"])
    evaluation = session.evaluation()
    policies = [make_policy("static", {"exit": 1}), make_policy("cobee", {"tau": 0.1})]
    timings = time_policies(session.model, evaluation.splits["test"][0], policies, samples=3, rounds=2)
    assert len(timings) == 2
    for timing in timings:
        assert (timing.samples, timing.rounds) == (3, 2)
        assert 0 < timing.early < 1
        assert timing.full == timings[0].full > 0
    assert timings[0].speedup == pytest.approx(timings[0].full / timings[0].early)
