"""The two contracts for operations with inputs of several tokens."""

import torch
from torch import Tensor, nn


class EncoderOperation(nn.Module):
    """Maps the cell's input to its output, both `[B, T, d]`.

    A masked position must influence no real one; what an operation puts at masked positions is never read.

    Attributes:
        token_local: True when the output at a token depends on the input at that token alone; an exit that
            pools the first token then computes only that token.
    """

    token_local = False

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode `x [B, T, d]`; `mask [B, T]` is True at real tokens."""
        raise NotImplementedError

    def kernel(self) -> tuple[Tensor, Tensor] | None:
        """`(weight [d, d, k], bias [d])` with odd k when the operation is a same-padded convolution of masked input.

        The supernet sums such operations into one convolution. None for every other operation.
        """
        return None

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates for one sample of `tokens` tokens."""
        raise NotImplementedError


class Pooling(nn.Module):
    """Maps `[B, T, d]` to `[B, d]`; masked tokens have no weight."""

    #: True when only the first token is read.
    first_token_only = False

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Pool `x [B, T, d]` over real tokens of `mask [B, T]`."""
        raise NotImplementedError

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates for one sample of `tokens` tokens."""
        return 0


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """`x [B, T, d]` with exact zeros where `mask [B, T]` is False."""
    return x.masked_fill(~mask.unsqueeze(-1), 0.0)


def lowest(dtype: torch.dtype) -> float:
    """The most negative finite number of `dtype`, used to hide scores from a maximum or a softmax."""
    return torch.finfo(dtype).min
