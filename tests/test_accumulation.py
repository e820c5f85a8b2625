"""A batch cut into parts: what every objective, rule and weighting makes of the parts is what it makes of the whole."""

from typing import Any

import pytest
import torch
from test_search_steps import start, values
from tiny_model import B, E, tiny_batch, tiny_model

from exitnas import distributed
from exitnas.distributed import cut
from exitnas.errors import UsageError
from exitnas.objectives import OBJECTIVES
from exitnas.objectives.base import Step
from exitnas.objectives.gradient import GRADIENT_RULES
from exitnas.objectives.options import build
from exitnas.objectives.plan import TrainingPlan
from exitnas.objectives.weighting import WEIGHTINGS
from exitnas.search.steps import architecture_step, weight_step
from exitnas.settings import RetrainSettings, make_settings
from exitnas.training.setup import Setup, prepare
from exitnas.training.step import measure, train_step, whole


@pytest.fixture(scope="module")
def setup(world: Any) -> Setup:
    return prepare(world.search(arch_lr=0.1))


@pytest.mark.parametrize(("rows", "count", "accumulate"), [(7, 1, 3), (7, 2, 2), (1, 3, 2), (64, 8, 1), (5, 4, 4)])
def test_parts_make_up_the_whole(monkeypatch: Any, rows: int, count: int, accumulate: int):
    batch = {"labels": torch.arange(rows), "input_ids": torch.arange(rows * 3).view(rows, 3)}
    seen, total = [], 0.0
    monkeypatch.setattr(distributed, "processes", lambda: count)
    for number in range(count):
        monkeypatch.setattr(distributed, "rank", lambda number=number: number)
        parts = cut(batch, accumulate)
        assert 1 <= len(parts) <= accumulate
        for part, share in parts:
            assert torch.equal(part["input_ids"][:, 0], 3 * part["labels"])
            total += share
            seen += part["labels"].tolist() if share else []
    assert sorted(seen) == list(range(rows))
    assert total == pytest.approx(1.0)


def test_one_process_without_parts_keeps_its_batch():
    batch = {"labels": torch.arange(3)}
    ((part, share),) = cut(batch)
    assert part is batch
    assert share == 1.0


@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_terms_are_means_over_rows(name: str, regression: bool):
    """The contract that everything here stands on, of every objective in the registry, with a certainty head."""
    objective = build(OBJECTIVES, name, {})
    if regression and not objective.regression:
        pytest.skip("for classes only")
    lte = objective.trains_every_exit
    model, batch = tiny_model(regression, certainty=lte), tiny_batch(regression)
    parts = TrainingPlan(objective, lte=lte).start(E, 0)
    for number, _ in enumerate(objective.stages()):
        where = Step(1, 1, number)
        with torch.no_grad():
            expected = measure(model, batch, parts, where, "fp32")
            found = whole([(measure(model, part, parts, where, "fp32"), share) for part, share in cut(batch, 4)])
        torch.testing.assert_close(found.losses, expected.losses)
        assert torch.equal(found.coefficients, expected.coefficients)


def gradients(accumulate: int, objective: str, **given: Any) -> list[torch.Tensor]:
    """Gradients of one step without clipping, and the loss weights that it left."""
    settings = RetrainSettings(task="tiny", accumulate=accumulate, clip=1e9, objective=objective, **given)
    model = tiny_model(certainty=settings.lte)
    parts = TrainingPlan.from_settings(settings).start(E, 0)
    trained = list(model.parameters())
    optimizer = torch.optim.SGD([{"params": trained, "name": "all", "lr": 1e-2}])
    other = tiny_batch(seed=9)
    loss = train_step(model, tiny_batch(), lambda: other, parts, optimizer, trained, [], Step(1, 1), settings)
    grads = [p.new_zeros(()) if p.grad is None else p.grad for p in trained]
    return [torch.tensor(loss), parts.weighting.matrix(), *grads]


@pytest.mark.parametrize("accumulate", [2, 4, B, 50])
@pytest.mark.parametrize("objective", ["joint", "diversity", "alternating", "global_past_future"])
def test_accumulated_gradients_are_those_of_the_batch(objective: str, accumulate: int):
    one, several = gradients(1, objective), gradients(accumulate, objective)
    torch.testing.assert_close(several, one, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("scope", ["global", "tensor"])
@pytest.mark.parametrize("rule", [name for name in GRADIENT_RULES.names() if name.startswith("ga_")])
def test_alignment_compares_the_gradients_of_the_whole_batch(rule: str, scope: str):
    given = {"gradient": rule, "gradient_options": {"scope": scope}, "lte": True}
    one, several = gradients(1, "mutual", **given), gradients(4, "mutual", **given)
    torch.testing.assert_close(several, one, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("rule", GRADIENT_RULES.names())
def test_every_rule_gives_the_same_from_parts(rule: str):
    """The contract of `accumulate` and `finish`."""
    one, several = gradients(1, "mutual", gradient=rule), gradients(3, "mutual", gradient=rule)
    torch.testing.assert_close(several, one, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in WEIGHTINGS.names() if name != "uniform"])
def test_loss_weights_learn_from_the_whole_batch(name: str):
    given: dict[str, Any] = {"weighting": name}
    if WEIGHTINGS.get(name).learned:
        given["weighting_options"] = {"lr": 0.3, "optimizer": "sgd"}
    if name == "clo_v2":
        given["weighting_options"]["cycle"] = 1
    one, several = gradients(1, "mutual", **given), gradients(4, "mutual", **given)
    torch.testing.assert_close(several, one, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("scaled", [False, True])
def test_both_steps_of_the_search_accumulate(setup: Setup, scaled: bool):
    batch = setup.train.batch(list(range(7)))
    found = []
    for accumulate in (1, 3):
        state = start(setup)
        state.supernet.eval()
        upper = architecture_step(state, batch, "fp32", scaled, accumulate)
        alphas = [p.grad.clone() for p in state.supernet.architecture.parameters() if p.grad is not None]
        before = values(state, "exits")
        lower = weight_step(state, batch, "fp32", 1.0, 1e9, accumulate)
        weights = [p.grad for p in state.supernet.parameters() if p.grad is not None and p.requires_grad]
        assert any(not torch.equal(before[name], p) for name, p in values(state, "exits").items())
        found.append([torch.tensor(upper), torch.tensor(lower), *alphas, *weights])
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-4)


def test_accumulate_is_checked():
    with pytest.raises(UsageError, match="--accumulate: "):
        make_settings(RetrainSettings, task="tiny", accumulate=0)
