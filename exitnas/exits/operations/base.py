"""The two contracts for operations with inputs of several tokens."""

import torch
from torch import Tensor, nn


class EncoderOperation(nn.Module):
    """Maps the cell's input to its output, both `[B, T, d]`.

    A masked position must influence no real one; what an operation puts at masked positions is never read. A mask of
    None says that no token is padding, and gives what a mask that is True everywhere gives.

    Attributes:
        reach: how many tokens to each side the output at a token depends on; 0 when on that token alone, None when on
            all. An exit that pools the first token feeds its operations the tokens within reach of it, no others.
    """

    reach: int | None = None

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Encode `x [B, T, d]`; `mask [B, T]` is True at real tokens, None when all are."""
        raise NotImplementedError

    def first_token(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """What `forward` puts at the first token, `[B, d]`, and nothing else.

        `x [B, n, d]` and `mask [B, n]` hold the first n tokens, all within reach of the first among them. The default
        encodes those within reach; override it, and `first_token_macs`, where one output takes less work.
        """
        if self.reach is not None:
            x, mask = first_tokens(x, mask, self.reach + 1)
        return self(x, mask)[:, 0]

    def kernel(self) -> tuple[Tensor, Tensor] | None:
        """`(weight [d, d, k], bias [d])` with odd k when the operation is a same-padded convolution of masked input.

        The supernet sums such operations into one convolution. None for every other operation.
        """
        return None

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates for one sample of `tokens` tokens."""
        raise NotImplementedError

    def first_token_macs(self, tokens: int) -> int:
        """Multiply-accumulates of `first_token` for one sample of `tokens` tokens."""
        return self.macs(tokens if self.reach is None else min(tokens, self.reach + 1))


class Pooling(nn.Module):
    """Maps `[B, T, d]` to `[B, d]`; masked tokens have no weight. A mask of None says that no token is padding."""

    #: True when the result is the first token itself; an exit then computes that token alone.
    first_token_only = False

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Pool `x [B, T, d]` over real tokens of `mask [B, T]`."""
        raise NotImplementedError

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates for one sample of `tokens` tokens."""
        return 0


def masked(x: Tensor, mask: Tensor | None, value: float = 0.0) -> Tensor:
    """`x [B, T, d]` with exactly `value` where `mask [B, T]` is False; `x` itself where the mask is None."""
    return x if mask is None else x.masked_fill(~mask.unsqueeze(-1), value)


def first_tokens(x: Tensor, mask: Tensor | None, count: int) -> tuple[Tensor, Tensor | None]:
    """The first `count` tokens of `x [B, T, d]` and of `mask [B, T]`, if there is one."""
    return x[:, :count], None if mask is None else mask[:, :count]


def lowest(dtype: torch.dtype) -> float:
    """The most negative finite number of `dtype`, used to hide scores from a maximum or a softmax."""
    return torch.finfo(dtype).min
