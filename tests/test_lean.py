"""The lean BERT layer is the stock layer, bit for bit, and steps aside where it would not be."""

from typing import Any

import pytest
import torch
from test_backbones import ROWS, batch, make
from transformers.activations import ACT2FN

from exitnas.backbones.lean import gather, lean_layer

ALIKE = ("bert", "roberta", "xlm-roberta", "electra")
every_alike = pytest.mark.parametrize("build", [row[2] for row in ROWS if row[0] in ALIKE], ids=ALIKE)


def first_block(build: Any, activation: str = "gelu") -> tuple[Any, Any, torch.Tensor, Any]:
    backbone = make(build)
    for block in backbone.stack():
        block.intermediate.intermediate_act_fn = ACT2FN[activation]
    ids, mask = batch(backbone.config)
    with torch.no_grad():
        hidden, context = backbone.embed(ids, mask)
    return backbone, backbone.stack()[0], hidden, context


@every_alike
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_bit_for_bit(build: Any, padded: bool, autocast: bool, activation: str):
    backbone, block, hidden, context = first_block(build, activation)
    attention = context.per_sample["attention"] if padded else None
    before = hidden.clone()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected = block(hidden, attention)
        gathered = gather(block)
        assert gathered is not None
        assert torch.equal(lean_layer(gathered, hidden, attention), expected)
        assert torch.equal(hidden, before)
        if padded:
            assert torch.equal(backbone.layer(0, hidden, context), expected)


@every_alike
def test_with_gradient_the_stock_layer_is_called(build: Any):
    backbone, block, hidden, context = first_block(build)
    assert gather(block) is None
    start = hidden.clone().requires_grad_()
    output = backbone.layer(0, start, context)
    assert torch.autograd.grad(output.square().sum(), start)[0].abs().max() > 0


@every_alike
def test_where_the_stock_layer_does_more_it_is_called(build: Any):
    backbone, block, hidden, _ = first_block(build)
    ids, mask = batch(backbone.config)
    attend, attended, outer = block.attention.self, block.attention.output, block.output
    wrappers = (block, block.attention, attend, attended, block.intermediate, outer)
    for module in (*wrappers, attend.query, attend.key, attend.value, attended.dense, attended.LayerNorm, outer.dense):
        seen: list[int] = []
        handle = module.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        with torch.no_grad():
            assert gather(block) is None
            _, context = backbone.embed(ids, mask)
            backbone.layer(0, hidden, context)
            assert seen == [1]
            handle.remove()
            assert gather(block) is not None
    with torch.no_grad():
        assert gather(block.train()) is None
        block.eval().chunk_size_feed_forward = 1
        assert gather(block) is None
        block.chunk_size_feed_forward = 0
        kept, attend.query = attend.query, torch.nn.Sequential(attend.query)
        assert gather(block) is None
        attend.query = kept
        assert gather(block) is not None
        backbone.config._attn_implementation = "eager"
        assert gather(block) is None


@every_alike
def test_it_can_be_switched_off(build: Any, monkeypatch: Any):
    backbone, _, hidden, context = first_block(build)
    asked: list[Any] = []
    monkeypatch.setattr("exitnas.backbones.bert.gather", lambda block: asked.append(block))
    with torch.no_grad():
        backbone.layer(0, hidden, context)
        assert len(asked) == 1
        backbone.lean = False
        backbone.layer(0, hidden, context)
        assert len(asked) == 1
