"""Streams: survivors pooled across batches, little waiting, outcomes in order; equality with the engine everywhere."""

import itertools
import json
from typing import Any

import pytest
import torch
from test_engine import StubModel, stub
from test_engine_synchronizations import SynchronizationCounter
from tiny_model import tiny_model

from exitnas.errors import UsageError
from exitnas.inference.engine import Plan, run
from exitnas.inference.simulate import Outcome
from exitnas.inference.stream import _Pools, run_stream
from exitnas.policies import POLICIES
from exitnas.policies.base import Policy, make_policy

E = 6


@pytest.fixture(scope="module")
def model() -> Any:
    """A tiny BERT of E layers whose exits are random enough to disagree."""
    model = tiny_model(certainty=True, layers=E).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def batches(count: int = 10, size: int = 8, longest: int = 9, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """Batches of `size` rows, each padded to its own length."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        tokens = int(torch.randint(3, longest + 1, (1,), generator=generator))
        lengths = torch.randint(2, tokens + 1, (size,), generator=generator)
        made.append(
            {
                "input_ids": torch.randint(1, 30, (size, tokens), generator=generator),
                "attention_mask": (torch.arange(tokens)[None] < lengths[:, None]).long(),
                "labels": torch.randint(0, 3, (size,), generator=generator),
            }
        )
    return made


def policy_for(model: Any, name: str = "entropy", which: int = 3) -> Policy:
    """A setting from the middle of the policy's curve."""
    given = batches(2, 20, seed=5)
    with torch.no_grad():
        outputs = [model.backbone(batch["input_ids"], batch["attention_mask"]) for batch in given]
        logits = torch.cat([torch.stack(model.exit_logits(*out), 1) for out in outputs])
        certainty = torch.cat([torch.stack([model.certainty(s, mask) for s in states], 1) for states, mask in outputs])
    settings = POLICIES.get(name).sweep(logits, 7, certainty=certainty)
    return settings[min(which, len(settings) - 1)]


def calls(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Layer and rows of every layer call from now on."""
    seen: list[tuple[int, int]] = []
    layer = type(model.backbone).layer

    def counting(self: Any, index: int, hidden: torch.Tensor, context: Any) -> torch.Tensor:
        assert len(context.mask) == len(hidden)
        seen.append((index, len(hidden)))
        return layer(self, index, hidden, context)

    monkeypatch.setattr(type(model.backbone), "layer", counting)
    return seen


def same(found: Outcome, expected: Outcome) -> None:
    assert torch.equal(found.exits, expected.exits)
    assert found.predictions.dtype == expected.predictions.dtype
    torch.testing.assert_close(found.predictions, expected.predictions)
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", POLICIES.names())
def test_outcomes_are_the_engines_batch_by_batch(model: Any, name: str):
    given, policy = batches(), policy_for(model, name)
    found = list(run_stream(model, given, policy, 8))
    assert len(found) == len(given)
    for batch, outcome in zip(given, found, strict=True):
        same(outcome, run(model, batch, policy))


@pytest.mark.parametrize("size", [1, 3, 8, 50, 500])
def test_batches_are_pooled_and_cut_to_any_size(model: Any, size: int, monkeypatch: pytest.MonkeyPatch):
    given, policy = [*batches(5, 8), *batches(2, 1, seed=3), *batches(1, 30, seed=4)], policy_for(model)
    expected = [run(model, batch, policy) for batch in given]
    seen = calls(model, monkeypatch)
    for outcome, other in zip(run_stream(model, given, policy, size), expected, strict=True):
        same(outcome, other)
    assert max(rows for _, rows in seen) <= size
    assert sum(rows for _, rows in seen) == sum(int(outcome.exits.sum()) for outcome in expected)


def test_deep_layers_run_on_full_batches(model: Any, monkeypatch: pytest.MonkeyPatch):
    given, policy = batches(40), policy_for(model)
    seen = calls(model, monkeypatch)
    for batch in given:
        run(model, batch, policy)
    one_by_one = [rows for index, rows in seen if index == E - 1]
    assert sum(one_by_one) / len(one_by_one) < 6
    seen.clear()
    list(run_stream(model, given, policy, 8))
    for layer in range(E):
        pooled = [rows for index, rows in seen if index == layer]
        assert len([rows for rows in pooled if rows < 8]) <= 1  # at most one short batch, at the end
    assert sum(rows for index, rows in seen if index == E - 1) == sum(one_by_one)


def test_few_wait_before_each_layer(model: Any):
    pools = _Pools(model, policy_for(model), 8)
    waited = 0
    with torch.inference_mode():
        for batch in batches(30, 11):
            pools.add(batch)
            pools.work()
            waiting = [pools.count(layer) for layer in range(E)]
            assert max(waiting) < 8
            waited = max(waited, sum(waiting))
        assert waited > 8
        pools.work(flush=True)
    assert [pools.count(layer) for layer in range(E)] == [0] * E


@pytest.mark.parametrize("lag", [1, 4])
def test_outcomes_lag_behind_by_so_many_batches(model: Any, lag: int):
    taken = 0

    def counted() -> Any:
        nonlocal taken
        for batch in batches(12):
            taken += 1
            yield batch

    policy = policy_for(model, which=6)  # the slowest: everybody runs to the end
    behind = [taken - done for done, _ in enumerate(run_stream(model, counted(), policy, 64, lag=lag), start=1)]
    assert len(behind) == 12
    assert max(behind) == lag


def test_synchronizations_only_where_somebody_can_leave():
    model, _ = stub()
    for name, parameters in (("patience", {"patience": 3}), ("static", {"exit": 2}), ("entropy", {"threshold": 1e-9})):
        policy, batch = make_policy(name, parameters), stub()[1]
        asks = Plan.of(model, policy).asks
        with SynchronizationCounter() as counter:
            outcome = next(run_stream(model, [batch], policy, len(batch["input_ids"])))
        assert int(outcome.exits.max()) == (2 if name == "static" else 5)
        assert counter.count == sum(asks) + 1  # one more fetches the last answers


def test_no_layer_without_a_question_interrupts_a_batch(model: Any, monkeypatch: pytest.MonkeyPatch):
    seen = calls(model, monkeypatch)
    list(run_stream(model, batches(3, 8), make_policy("static", {"exit": 4}), 8))
    assert seen == [(layer, 8) for _ in range(3) for layer in range(4)]


def test_empty_streams_and_batches(model: Any):
    policy = policy_for(model)
    assert list(run_stream(model, [], policy)) == []
    full = batches(1)[0]
    nothing = {name: value[:0] for name, value in full.items()}
    first, second, third = run_stream(model, [nothing, full, nothing], policy, 4)
    assert len(first.exits) == len(first.predictions) == len(third.scores) == 0
    same(second, run(model, full, policy))


def test_requests_that_cannot_be_served_are_refused_at_once(model: Any):
    policy = make_policy("entropy", {"threshold": 0.1})
    with pytest.raises(UsageError, match="batch_size: expected at least 1, got 0"):
        run_stream(model, [], policy, 0)
    with pytest.raises(UsageError, match="lag: expected at least 1, got 0"):
        run_stream(model, [], policy, lag=0)
    with pytest.raises(UsageError, match=r"exit must be 1\.\.6 here, got 7"):
        run_stream(model, [], make_policy("static", {"exit": 7}))
    with pytest.raises(UsageError, match="'oracle' needs labels"):
        list(run_stream(model, [{k: v for k, v in batches(1)[0].items() if k != "labels"}], make_policy("oracle", {})))
    untrained: StubModel = stub()[0].train()
    with pytest.raises(ValueError, match="eval mode"):
        run_stream(untrained, itertools.repeat({}), policy)


def test_predicting_as_a_stream_changes_no_answer(retrained: dict[str, Any]):
    from exitnas.inference.predict import predict
    from exitnas.inference.session import open_model

    model, tokenizer, _ = open_model(retrained["model"], device="cpu")
    rows = [(" ".join(["good", "bad", "fine"][: n % 3 + 1] * (n % 4 + 1)), None) for n in range(20)]
    policy = make_policy("patience", {"patience": 1})
    plain = predict(model, tokenizer, rows, policy, batch_size=4)
    pooled = predict(model, tokenizer, rows, policy, batch_size=4, stream=True)
    assert [(a["label"], a["exit"]) for a in pooled] == [(a["label"], a["exit"]) for a in plain]
    for one, other in zip(plain, pooled, strict=True):
        assert other["scores"] == pytest.approx(one["scores"], abs=1e-5)


def test_the_command_streams(cli: Any, retrained: dict[str, Any]):
    texts = [word for text in ("bal good", "poor dut", "fine", "bad bad kal", "great") for word in ("--text", text)]
    policy = ["--policy", "hybrid", "--threshold", 0.6, "--delta", 1.2, "--switch", 1, "--batch-size", 2, "--json"]
    plain = json.loads(cli("predict", retrained["run"], *texts, *policy).stdout)
    pooled = json.loads(cli("predict", retrained["run"], *texts, *policy, "--stream").stdout)
    assert [(a["label"], a["exit"]) for a in pooled] == [(a["label"], a["exit"]) for a in plain]
    assert len(pooled) == 5
