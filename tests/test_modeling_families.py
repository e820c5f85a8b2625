"""Every backbone family as a multi-exit model: saved, read back, the engine against simulation, the supernet."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from test_backbones import batch, every_row, make

from exitnas.exits.genotype import ExitGenotype, Genotype, Origin
from exitnas.inference.engine import run
from exitnas.inference.simulate import simulate
from exitnas.modeling.model import MultiExitForSequenceClassification
from exitnas.policies.base import make_policy
from exitnas.supernet.discretize import discretize
from exitnas.supernet.space import load_space
from exitnas.supernet.supernet import Supernet
from exitnas.tasks import get_task


def multi_exit(build: Callable[[], Any]) -> MultiExitForSequenceClassification:
    """A multi-exit model around a tiny random backbone."""
    backbone = make(build)
    exit_ = ExitGenotype(activation_in="gelu", encoder=("mha_2", "conv_3"), pooling="avg", activation_out="tanh")
    genotype = Genotype(
        backbone="tiny",
        layers=backbone.num_layers,
        hidden_size=backbone.hidden_size,
        width=8,
        exits=(exit_,) * backbone.num_layers,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return MultiExitForSequenceClassification.assemble(
            backbone, genotype, get_task("rte"), {"max_length": 16}
        ).eval()


@every_row
def test_saved_and_read_back(family: str, build: Callable[[], Any], tmp_path: Path):
    model = multi_exit(build)
    ids, mask = batch(model.backbone.config)
    model.save_pretrained(tmp_path)
    again = MultiExitForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        before, after = (each(ids, mask, output_exits=True).exit_logits for each in (model, again))
    assert torch.equal(before, after)


@every_row
def test_leaving_one_by_one_gives_the_answers_of_the_whole_pass(family: str, build: Callable[[], Any]):
    model = multi_exit(build)
    ids, mask = batch(model.backbone.config)
    with torch.no_grad():
        logits = model(ids, mask, output_exits=True).exit_logits.transpose(0, 1)
    policy = make_policy("cobee", {"tau": float((logits.softmax(-1)[:, 1] - logits.softmax(-1)[:, 0]).abs().median())})
    expected = simulate(policy, logits)
    outcome = run(model, {"input_ids": ids, "attention_mask": mask}, policy)
    assert torch.equal(outcome.exits, expected.exits)
    assert torch.equal(outcome.predictions, expected.predictions)
    assert torch.allclose(outcome.scores, expected.scores, atol=1e-5)


@every_row
def test_a_supernet_gives_a_genotype(family: str, build: Callable[[], Any]):
    backbone = make(build)
    supernet = Supernet(backbone, load_space("leco"), 2)
    ids, mask = batch(backbone.config)
    logits = supernet.exit_logits(*backbone(ids, mask))
    torch.stack(logits).square().sum().backward()
    assert all(alpha.grad is not None and alpha.grad.abs().sum() > 0 for alpha in supernet.architecture.alphas.values())
    genotype = discretize(supernet.architecture, "tiny", backbone.hidden_size, Origin())
    assert len(genotype.exits) == backbone.num_layers
