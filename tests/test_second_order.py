"""The second-order architecture step: its gradient against autograd through the weight step, what it leaves alone."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from test_search_steps import same, start, values
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.stateless import _reparametrize_module

from exitnas.errors import UsageError
from exitnas.exits.genotype import Genotype
from exitnas.files import read_json
from exitnas.objectives.base import task_losses
from exitnas.search import second_order
from exitnas.search.second_order import second_order_step, virtual_step
from exitnas.search.state import SearchState
from exitnas.search.steps import architecture_step, weight_step
from exitnas.settings import SearchSettings, make_settings
from exitnas.training.device import seeded
from exitnas.training.evaluation import forward
from exitnas.training.optimizers import optimized, set_learning_rate
from exitnas.training.runs import Run
from exitnas.training.setup import Setup, prepare

UPPER, LOWER = [0, 1, 2, 3], [4, 5, 6, 7]


@pytest.fixture(scope="module")
def setup(world: Any) -> Setup:
    return prepare(world.search(arch_lr=0.1))


def trained(setup: Setup, steps: int = 2, dropout: bool = False) -> SearchState:
    """A state some weight steps after its start, in double precision."""
    state = start(setup)
    state.supernet.double().train(dropout)
    with seeded(2):
        for step in range(steps):
            weight_step(state, setup.train.batch(range(8 * step, 8 * step + 8)), "fp32", 1.0, 1.0)
    return state


def second_order_gradient(setup: Setup) -> list[float]:
    """Of the architecture parameters; `test_distributed.py` compares it between processes."""
    state = trained(setup)
    second_order_step(state, setup.train.batch(UPPER), setup.train.batch(LOWER), 1.0, 1.0, True)
    return [value for alpha in optimized(state.architecture) for value in alpha.grad.flatten().tolist()]


@pytest.mark.parametrize(("steps", "clip"), [(0, 1e9), (2, 1e9), (2, 0.05)], ids=["first", "later", "clipped"])
def test_the_virtual_step_is_the_optimizers_own(setup: Setup, steps: int, clip: float):
    state = trained(setup, steps)
    weights = optimized(state.weights)
    gradients = [torch.randn_like(weight) for weight in weights]
    before, moments = [weight.detach().clone() for weight in weights], deepcopy(state.weights.state_dict())
    virtual_step(state.weights, gradients, clip)
    reached = [weight.detach().clone() for weight in weights]
    for weight, value in zip(weights, before, strict=True):
        weight.data.copy_(value)
    state.weights.load_state_dict(moments)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient.clone()
    clip_grad_norm_(weights, clip)
    state.weights.step()
    for mine, weight, value in zip(reached, weights, before, strict=True):
        assert not torch.equal(mine, value)
        torch.testing.assert_close(mine, weight.detach(), rtol=1e-10, atol=1e-12)


def through_the_step(state: SearchState, setup: Setup, clip: float, scaled: bool) -> list[torch.Tensor]:
    """grad_alpha L_D2(w'(alpha), alpha) by autograd; AdamW's second moment and the clipping are constants."""
    alphas, named = optimized(state.architecture), dict(state.supernet.named_parameters())
    weights = {name: p for name, p in named.items() if not any(p is alpha for alpha in alphas)}
    lower, upper = setup.train.batch(LOWER), setup.train.batch(UPPER)
    gradients = torch.autograd.grad(
        task_losses(forward(state.supernet, lower, "fp32"), lower["labels"]).sum(),
        list(weights.values()),
        create_graph=True,
    )
    norm = float(torch.cat([g.detach().flatten() for g in gradients]).norm())
    shrink = min(1.0, clip / (norm + 1e-6))
    groups = {id(p): group for group in state.weights.param_groups for p in group["params"]}
    moved = {}
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        group, own = groups[id(weight)], state.weights.state[weight]
        (b1, b2), t, g = group["betas"], float(own["step"]) + 1, shrink * gradient
        mean = (b1 * own["exp_avg"] + (1 - b1) * g) / (1 - b1**t)
        second = ((b2 * own["exp_avg_sq"] + (1 - b2) * g**2) / (1 - b2**t)).sqrt().detach() + group["eps"]
        moved[name] = weight * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * mean / second
    with _reparametrize_module(state.supernet, moved):
        logits = forward(state.supernet, upper, "fp32")
        logits = state.supernet.scaled(logits) if scaled else logits
        loss = task_losses(logits, upper["labels"]).sum()
        return list(torch.autograd.grad(loss, alphas, allow_unused=True))


@pytest.mark.parametrize(("clip", "scaled"), [(1e9, False), (0.5, True)])
def test_the_gradient_is_that_through_the_weight_step(setup: Setup, clip: float, scaled: bool, monkeypatch: Any):
    """DARTS eq. 6 by autograd against eq. 7 with the difference of eq. 8; rates large enough that eq. 7 counts.

    The difference is a small one: this encoder is so small that few units switching would count.
    """
    monkeypatch.setattr(second_order, "LENGTH", 1e-5)
    state = trained(setup)
    for group in state.weights.param_groups:
        group["base_lr"] = 3e-3
    set_learning_rate(state.weights, 1.0)
    with sdpa_kernel(SDPBackend.MATH):
        expected = through_the_step(state, setup, clip, scaled)
    first = deepcopy(state)
    architecture_step(first, setup.train.batch(UPPER), "fp32", scaled)
    second_order_step(state, setup.train.batch(UPPER), setup.train.batch(LOWER), 1.0, clip, scaled)
    found = [alpha.grad for alpha in optimized(state.architecture)]
    wanted = [torch.zeros_like(mine) if exact is None else exact for mine, exact in zip(found, expected, strict=True)]
    largest = max(float(value.abs().max()) for value in wanted)
    for mine, exact in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, exact, rtol=0, atol=1e-6 * largest)
    plain = [alpha.grad for alpha in optimized(first.architecture)]
    apart = max(float((a - b).abs().max()) for a, b in zip(found, plain, strict=True) if b is not None)
    assert apart > 0.05 * largest, "the first-order gradient would have passed"


def test_words_that_d1_has_not_do_not_drown_the_others(setup: Setup):
    """Their embeddings have a slope of 1 / eps; in fp32 the difference would be rounded away beside them."""
    state = start(setup)
    state.supernet.eval()
    lower = [row for row in range(60) if len(setup.train.rows[row][0]) < 8][:4]
    upper = [row for row in range(60) if row not in lower][:8]
    words = [set(setup.train.batch(rows)["input_ids"].flatten().tolist()) for rows in (lower, upper)]
    assert words[1] - words[0]
    for group in state.weights.param_groups:
        group["base_lr"] = 1e-3
    exact = deepcopy(state)
    exact.supernet.double()
    sums = []
    for chosen in (state, exact):
        first = deepcopy(chosen)
        architecture_step(first, setup.train.batch(upper), "fp32")
        plain = {name: p.grad for name, p in first.supernet.named_parameters()}
        second_order_step(chosen, setup.train.batch(upper), setup.train.batch(lower), 1.0, 1.0)
        named = dict(chosen.supernet.named_parameters())
        sums.append({name: named[name].grad - grad for name, grad in plain.items() if "alphas" in name})
    size = max(float(value.abs().max()) for value in sums[1].values())
    for name, value in sums[1].items():
        torch.testing.assert_close(sums[0][name].double(), value, rtol=0, atol=0.02 * size)


def test_it_changes_alphas_alone(setup: Setup):
    state = trained(setup, dropout=True)
    before = {part: values(state, part) for part in ("backbone", "exits", "architecture")}
    moments = deepcopy(state.weights.state_dict()["state"])
    loss = second_order_step(state, setup.train.batch(UPPER), setup.train.batch(LOWER), 1.0, 1.0)
    assert loss > 0
    assert same(before["backbone"], values(state, "backbone"))
    assert same(before["exits"], values(state, "exits"))
    assert not same(before["architecture"], values(state, "architecture"))
    after = state.weights.state_dict()["state"]
    assert all(torch.equal(moments[i][name], after[i][name]) for i in moments for name in moments[i])
    assert state.step == 2
    assert all(p.grad is None or p.requires_grad for p in state.supernet.parameters())


def test_both_sides_of_the_difference_see_the_same_noise(setup: Setup):
    """With noise of their own, what the noise changes would be divided by a small e."""
    state = trained(setup, dropout=True)
    with seeded(4):
        second_order_step(state, setup.train.batch(UPPER), setup.train.batch(LOWER), 1.0, 1.0)
    assert max(float(alpha.grad.abs().max()) for alpha in optimized(state.architecture)) < 0.5


def test_micro_batches_change_nothing(setup: Setup):
    one, several = trained(setup), trained(setup)
    for state, parts in ((one, 1), (several, 3)):
        second_order_step(state, setup.train.batch(UPPER), setup.train.batch(LOWER), 1.0, 1.0, True, parts)
    for first, second in zip(optimized(one.architecture), optimized(several.architecture), strict=True):
        torch.testing.assert_close(first.grad, second.grad, rtol=1e-6, atol=1e-9)


def test_frozen_weights_leave_the_first_order(setup: Setup):
    """At rate 0, w' = w up to the decay, which is 0 then too."""
    state = trained(setup)
    first = deepcopy(state)
    second_order_step(state, setup.train.batch(UPPER), setup.train.batch(LOWER), 0.0, 1.0)
    architecture_step(first, setup.train.batch(UPPER), "fp32")
    for mine, other in zip(optimized(state.architecture), optimized(first.architecture), strict=True):
        expected = torch.zeros_like(mine) if other.grad is None else other.grad
        torch.testing.assert_close(mine.grad, expected, rtol=1e-8, atol=1e-12)


def test_a_second_order_search(world: Any, silent: Any, tmp_path: Path, searched: dict[str, Any]):
    summary = search_twice(world, silent, tmp_path)
    genotype = Genotype.load(summary["genotype"])
    assert genotype.probabilities != Genotype.load(searched["genotype"]).probabilities
    assert genotype.origin.settings["second_order"] is True
    assert read_json(Path(summary["run"]) / "config.json")["settings"]["second_order"] is True


def search_twice(world: Any, silent: Any, folder: Path) -> dict[str, Any]:
    """The summary of a search; a second one with the same settings gives the same genotype."""
    from exitnas.search.bilevel import search

    first, again = (search(world.search(second_order=True), Run.create(folder / n), silent) for n in ("one", "two"))
    assert Path(first["genotype"]).read_bytes() == Path(again["genotype"]).read_bytes()
    return first


def test_bf16_is_refused():
    with pytest.raises(UsageError, match="--second-order: takes differences of gradients, which bf16 rounds away"):
        make_settings(SearchSettings, task="rte", second_order=True, precision="bf16")
    assert make_settings(SearchSettings, task="rte", precision="bf16").second_order is False
