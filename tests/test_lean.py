"""The lean BERT layer is the stock layer, bit for bit, and steps aside where it would not be."""

from typing import Any

import pytest
import torch
from test_backbones import ROWS, batch, make

from exitnas.backbones.lean import bert_layer, can_be_lean

ALIKE = ("bert", "roberta", "xlm-roberta", "electra")
every_alike = pytest.mark.parametrize("build", [row[2] for row in ROWS if row[0] in ALIKE], ids=ALIKE)


def first_block(build: Any) -> tuple[Any, Any, torch.Tensor, Any]:
    backbone = make(build)
    ids, mask = batch(backbone.config)
    with torch.no_grad():
        hidden, context = backbone.embed(ids, mask)
    return backbone, backbone.stack()[0], hidden, context


@every_alike
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("autocast", [False, True])
def test_bit_for_bit(build: Any, padded: bool, autocast: bool):
    backbone, block, hidden, context = first_block(build)
    attention = context.per_sample["attention"] if padded else None
    assert can_be_lean(block)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected = block(hidden, attention)
        assert torch.equal(bert_layer(block, hidden, attention), expected)
        if padded:
            assert torch.equal(backbone.layer(0, hidden, context), expected)


@every_alike
def test_the_gradient_is_the_same(build: Any):
    _, block, hidden, context = first_block(build)
    attention = context.per_sample["attention"]
    found = []
    for call in (block, lambda *given: bert_layer(block, *given)):
        start = hidden.clone().requires_grad_()
        found.append(torch.autograd.grad(call(start, attention).square().sum(), start)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-6)


@every_alike
def test_where_the_stock_layer_does_more_it_is_called(build: Any):
    backbone, block, hidden, context = first_block(build)
    for module in (
        block,
        block.attention,
        block.attention.self,
        block.attention.output,
        block.intermediate,
        block.output,
    ):
        seen: list[int] = []
        handle = module.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        assert not can_be_lean(block)
        with torch.no_grad():
            backbone.layer(0, hidden, context)
        assert seen == [1]
        handle.remove()
        assert can_be_lean(block)
    assert not can_be_lean(block.train())
    block.eval().chunk_size_feed_forward = 1
    assert not can_be_lean(block)
    block.chunk_size_feed_forward = 0
    backbone.config._attn_implementation = "eager"
    assert not can_be_lean(block)
