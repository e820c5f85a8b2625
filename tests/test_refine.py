"""Refinement after the search: candidate exits trained alone on cached hidden states."""

from pathlib import Path
from typing import Any

import pytest
import torch

from exitnas.exits.exit import Exit
from exitnas.exits.genotype import ExitGenotype, Genotype, Origin
from exitnas.objectives.base import exit_loss
from exitnas.search.bilevel import search
from exitnas.search.refine import Cached, Contender, cache, compete, draw, held_out_loss, refine
from exitnas.search.state import SearchState
from exitnas.settings import SearchSettings
from exitnas.supernet.discretize import discretize
from exitnas.supernet.space import load_space
from exitnas.training.device import seeded
from exitnas.training.runs import Run
from exitnas.training.setup import prepare

FIRST = ExitGenotype(activation_in="null", encoder=("skip", "null"), pooling="cls", activation_out="null")
MEAN = FIRST.model_copy(update={"pooling": "avg"})


def batches(count: int, seed: int) -> list[Cached]:
    """Rows whose class is the sign of the last token's first feature; the first token knows nothing."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        states = torch.randn(16, 3, 8, generator=generator)
        labels = (states[:, 2, 0] > 0).long()
        states[:, 2, 0] *= 4
        made.append(Cached([states.to(torch.bfloat16)], torch.ones(16, 3, dtype=torch.bool), labels))
    return made


def contender(genotype: ExitGenotype) -> Contender:
    with seeded(0):
        module = Exit(genotype, 8, 4, 2)
    return Contender(genotype, module, torch.optim.AdamW(module.parameters(), lr=1e-2))


@pytest.fixture(scope="module")
def ended(world: Any) -> tuple[Any, SearchState, SearchSettings, Genotype]:
    """Set-up, state, settings and arg-max genotype of a search that took no step."""
    settings = world.search(refine=6, refine_steps=2)
    setup = prepare(settings)
    with seeded(1):
        state = SearchState.start(setup, settings, load_space("leco"))
    genotype = discretize(state.supernet.architecture, "tiny", setup.backbone.hidden_size, Origin())
    return setup, state, settings, genotype


@pytest.mark.parametrize("order", [(FIRST, MEAN), (MEAN, FIRST)])
def test_the_exit_that_can_see_the_signal_wins(order: tuple[ExitGenotype, ...]):
    settings = SearchSettings(task="rte", refine_steps=60)
    assert compete([contender(g) for g in order], 0, batches(4, 1), batches(4, 2), settings) == MEAN


def test_ties_go_to_the_first(monkeypatch: Any):
    settings = SearchSettings(task="rte", refine_steps=1)
    monkeypatch.setattr("exitnas.search.refine.held_out_loss", lambda *_: 1.0)
    assert compete([contender(FIRST), contender(MEAN)], 0, batches(1, 1), batches(1, 2), settings) == FIRST


def test_the_held_out_loss_is_the_mean_over_rows_at_the_best_temperature():
    """21 rows in batches of 16 and 5, every fourth answer wrong; a scale three times as large changes nothing."""
    exit_, uneven = contender(MEAN).exit, batches(2, 3)
    uneven[1] = Cached([uneven[1].states[0][:5]], uneven[1].mask[:5], uneven[1].labels[:5])
    states = torch.cat([batch.states[0].float() for batch in uneven])
    with torch.no_grad():
        exit_.classifier.weight.mul_(3.0)
        logits = exit_(states, torch.ones(21, 3, dtype=torch.bool))
    labels = logits.argmax(-1)
    labels[::4] = 1 - labels[::4]
    uneven = [Cached(b.states, b.mask, part) for b, part in zip(uneven, (labels[:16], labels[16:]), strict=True)]
    expected = min(exit_loss(logits / t, labels).item() for t in torch.logspace(-1.3, 1.3, 2000).tolist())
    assert expected < exit_loss(logits, labels).item() - 1e-3
    assert held_out_loss(exit_, 0, uneven) == pytest.approx(expected, abs=1e-5)
    with torch.no_grad():
        exit_.classifier.weight.mul_(3.0)
        exit_.classifier.bias.mul_(3.0)
    assert held_out_loss(exit_, 0, uneven) == pytest.approx(expected, abs=1e-5)
    torch.nn.init.constant_(exit_.classifier.weight, float("nan"))
    assert held_out_loss(exit_, 0, uneven) == float("inf")


def test_candidates_are_distinct_and_mean_something(ended: Any):
    _, state, _, genotype = ended
    drawn = draw(genotype, 0, 200, state)
    assert len(drawn) == len(set(drawn)) == 200
    assert genotype.exits[0] not in drawn
    assert not any(exit_.encoder in (("null", "null"), ("skip", "skip")) for exit_ in drawn)


def test_a_small_space_gives_what_it_has(ended: Any):
    _, state, _, genotype = ended
    small = state.supernet.space.model_copy(
        update={
            "activation_in": ("tanh",),
            "encoder_1": ("mha_4",),
            "encoder_2": ("null",),
            "pooling": ("cls", "avg"),
            "activation_out": ("tanh",),
        }
    )
    state.supernet.space, before = small, state.supernet.space
    try:
        poolings = {exit_.pooling for exit_ in draw(genotype.model_copy(update={"probabilities": None}), 0, 9, state)}
    finally:
        state.supernet.space = before
    assert poolings == {"cls", "avg"}


def test_the_cache_holds_what_the_backbone_gives(ended: Any):
    setup, state, settings, _ = ended
    cached = cache(state, setup, settings)
    assert sum(len(batch.labels) for batch in cached) == len(setup.train)
    assert all(len(batch.states) == state.supernet.backbone.num_layers for batch in cached)
    assert cached[0].states[0].shape[:2] == cached[0].mask.shape
    assert state.supernet.backbone.training


def test_refining_trains_nothing_of_the_search(ended: Any, silent: Any):
    setup, state, settings, genotype = ended
    before = {name: tensor.clone() for name, tensor in state.supernet.state_dict().items()}
    refined = refine(genotype, state, setup, settings, silent)
    assert all(torch.equal(before[name], tensor) for name, tensor in state.supernet.state_dict().items())
    assert refined.probabilities == genotype.probabilities
    for old, new in zip(genotype.exits, refined.exits, strict=True):
        assert new.refined == (new.model_copy(update={"refined": False}) != old)
    assert Genotype.model_validate_json(refined.to_json()) == refined


def test_zero_candidates_leave_the_arg_max(world: Any, silent: Any, tmp_path: Path):
    summary = search(world.search(refine=0), Run.create(tmp_path / "run"), silent)
    assert summary["refined"] == []
    assert not any(exit_.refined for exit_ in Genotype.load(summary["genotype"]).exits)
