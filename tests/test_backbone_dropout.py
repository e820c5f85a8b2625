"""Dropout of an encoder can be set, in every family."""

from collections.abc import Callable
from typing import Any

import torch
from test_backbones import batch, every_row, make
from torch import Tensor


@every_row
def test_dropout_can_be_set(family: str, build: Callable[[], Any]):
    backbone = make(build).train()
    ids, attention = batch(backbone.config)

    def twice() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return backbone(ids, attention)[0][-1], backbone(ids, attention)[0][-1]

    backbone.set_dropout(0.0)
    assert torch.equal(*twice())
    backbone.set_dropout(0.5)
    assert not torch.equal(*twice())
