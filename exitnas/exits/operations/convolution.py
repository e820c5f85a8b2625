"""One-dimensional convolution over tokens (LECO section 4, conv_k)."""

from torch import Tensor, nn
from torch.nn import functional

from exitnas.errors import require
from exitnas.exits.operations.base import EncoderOperation, first_tokens, masked


class Convolution(EncoderOperation):
    """Stride 1, same padding, d filters, kernel size k; masked tokens enter as zeros, like the padding itself."""

    reach: int

    def __init__(self, width: int, kernel_size: int):
        super().__init__(width)
        require(kernel_size % 2 == 1, f"kernel_size must be odd for same padding, got {kernel_size}")
        self.kernel_size = kernel_size
        self.reach = kernel_size // 2
        self.convolution = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return same_convolution(masked(x, mask), self.convolution.weight, self.convolution.bias)

    def first_token(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.reach == 0:  # the first token is real, so there is nothing to hide
            return functional.linear(x[:, 0], self.convolution.weight.squeeze(-1), self.convolution.bias)
        near = masked(*first_tokens(x, mask, self.reach + 1))  # [B, n, d]; what lies left of it is padding
        weight = self.convolution.weight[:, :, self.reach : self.reach + near.shape[1]]
        return functional.linear(near.transpose(1, 2).flatten(1), weight.flatten(1), self.convolution.bias)

    def kernel(self) -> tuple[Tensor, Tensor]:
        bias = self.convolution.bias
        assert bias is not None
        return self.convolution.weight, bias

    def macs(self, tokens: int) -> int:
        return tokens * self.kernel_size * self.width**2

    def first_token_macs(self, tokens: int) -> int:
        return min(tokens, self.reach + 1) * self.width**2


def same_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve `x [B, T, d]` over T with `weight [d, d, k]`, zero padding of k//2 on both sides."""
    if weight.shape[-1] == 1:
        return functional.linear(x, weight.squeeze(-1), bias)  # the same products, in about half the time
    return functional.conv1d(x.transpose(1, 2), weight, bias, padding=weight.shape[-1] // 2).transpose(1, 2)
