"""The two steps of the search: what each changes, the architecture's gradient, the exits' scales."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from exitnas.exits.operations import EDGES
from exitnas.objectives.base import task_losses
from exitnas.search.state import SearchState
from exitnas.search.steps import architecture_step, weight_step
from exitnas.supernet.space import load_space
from exitnas.training.device import seeded
from exitnas.training.evaluation import forward
from exitnas.training.setup import Setup, prepare


@pytest.fixture(scope="module")
def setup(world: Any) -> Setup:
    return prepare(world.search(arch_lr=0.1))


def start(setup: Setup, seed: int = 1) -> SearchState:
    """A fresh state whose weights are those of `seed` and whose alphas are not all equal."""
    with seeded(seed):
        state = SearchState.start(setup, setup.settings, load_space("leco"))
        with torch.no_grad():
            for alpha in state.supernet.architecture.parameters():
                alpha.copy_(0.3 * torch.randn_like(alpha))
    return state


def values(state: SearchState, part: str) -> dict[str, Tensor]:
    """Copies of the parameters of `backbone`, `exits` or `architecture`."""
    return {name: p.detach().clone() for name, p in getattr(state.supernet, part).named_parameters()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_architecture_step_changes_alphas_alone(setup: Setup):
    state = start(setup)
    before = {part: values(state, part) for part in ("backbone", "exits", "architecture")}
    loss = architecture_step(state, setup.train.batch([0, 1, 2, 3]), "fp32")
    assert loss > 0
    assert same(before["backbone"], values(state, "backbone"))
    assert same(before["exits"], values(state, "exits"))
    after = values(state, "architecture")
    assert all(not torch.equal(before["architecture"][name], after[name]) for name in after)
    assert len(after) == len(EDGES)
    assert state.step == 0
    weights = [*state.supernet.backbone.parameters(), *state.supernet.exits.parameters()]
    assert all(p.grad is None and p.requires_grad for p in weights)


def test_the_weight_step_changes_weights_alone(setup: Setup):
    state = start(setup)
    before = {part: values(state, part) for part in ("backbone", "exits", "architecture")}
    weight_step(state, setup.train.batch([0, 1, 2, 3]), "fp32", 1.0, 1.0)
    assert same(before["architecture"], values(state, "architecture"))
    assert all(p.grad is None and p.requires_grad for p in state.supernet.architecture.parameters())
    for part in ("backbone", "exits"):
        after = values(state, part)
        unchanged = {name for name in after if torch.equal(before[part][name], after[name])}
        # No token has the second segment, and most words do not occur; their rows get no gradient but decay.
        assert {name for name in unchanged if "embeddings" not in name and "key.bias" not in name} == set(), part
    assert state.step == 1


def test_the_weight_step_clips_and_follows_the_schedule(setup: Setup):
    state = start(setup)
    weight_step(state, setup.train.batch([0, 1, 2, 3]), "fp32", 0.5, 0.01)
    weights = [*state.supernet.backbone.parameters(), *state.supernet.exits.parameters()]
    norms = torch.stack([p.grad.norm() for p in weights if p.grad is not None])
    assert norms.norm().item() == pytest.approx(0.01, rel=1e-3)
    assert {group["lr"] for group in state.weights.param_groups} == {0.5e-3, 2.5e-3}


def test_the_architecture_gradient_is_that_of_the_textbook(setup: Setup):
    """The backbone without gradient and frozen weights against everything differentiated, DARTS first order."""
    state = start(setup)
    for module in state.supernet.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batch = setup.train.batch(list(range(8)))
    textbook = deepcopy(state.supernet).eval()
    states, mask = textbook.backbone(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
    task_losses(textbook.exit_logits(states, mask), batch["labels"]).sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in textbook.backbone.parameters())

    state.supernet.eval()
    architecture_step(state, batch, "fp32")
    expected = dict(textbook.architecture.named_parameters())
    for name, alpha in state.supernet.architecture.named_parameters():
        assert expected[name].grad.abs().max() > 1e-4
        torch.testing.assert_close(alpha.grad, expected[name].grad, atol=1e-6, rtol=0)


def test_scales_are_learned_on_d2_and_leave_the_weights_alone(setup: Setup):
    """The gradient of log s is the sum of z * (p - y) at scale 1: by hand from the logits."""
    state = start(setup)
    state.supernet.eval()
    batch = setup.train.batch([0, 1, 2, 3])
    with torch.no_grad():
        logits = forward(state.supernet, batch, "fp32")
    target = torch.nn.functional.one_hot(batch["labels"], logits[0].shape[-1])
    expected = torch.stack([(z * (z.softmax(-1) - target)).sum(-1).mean() for z in logits])
    before = {part: values(state, part) for part in ("backbone", "exits", "architecture")}
    architecture_step(state, batch, "fp32", scaled=True)
    torch.testing.assert_close(state.supernet.log_scales.grad, expected, atol=1e-6, rtol=1e-4)
    assert bool((state.supernet.log_scales != 0).all())
    assert same(before["backbone"], values(state, "backbone"))
    assert same(before["exits"], values(state, "exits"))
    weight_step(state, batch, "fp32", 1.0, 1.0)
    scales = state.supernet.log_scales.detach().clone()
    architecture_step(state, batch, "fp32", scaled=False)
    assert torch.equal(state.supernet.log_scales, scales)


def test_an_overconfident_exit_is_scaled_down(setup: Setup):
    """Where every answer is sure and half of them are wrong, the scale falls step after step."""
    state = start(setup)
    batch = setup.train.batch(list(range(16)))
    with torch.no_grad():
        for exit_ in state.supernet.exits:
            exit_.classifier.weight.mul_(200)
    for _ in range(5):
        architecture_step(state, batch, "fp32", scaled=True)
    assert bool((state.supernet.log_scales < -0.1).all())
