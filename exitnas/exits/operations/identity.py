"""Skip-connection and the null encoder operation (LECO section 4)."""

import torch
from torch import Tensor

from exitnas.exits.operations.base import EncoderOperation


class Skip(EncoderOperation):
    """Passes the input on."""

    reach = 0

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x

    def macs(self, tokens: int) -> int:
        return 0


class Null(EncoderOperation):
    """Multiplies the input by zero: choosing it means one operation fewer in the cell (LECO footnote 2)."""

    reach = 0

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return torch.zeros_like(x)

    def macs(self, tokens: int) -> int:
        return 0
