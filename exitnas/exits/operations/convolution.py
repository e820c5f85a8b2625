"""One-dimensional convolution over tokens (LECO section 4, conv_k)."""

from torch import Tensor, nn
from torch.nn import functional

from exitnas.errors import require
from exitnas.exits.operations.base import EncoderOperation, masked


class Convolution(EncoderOperation):
    """Stride 1, same padding, d filters, kernel size k; masked tokens enter as zeros, like the padding itself."""

    def __init__(self, width: int, kernel_size: int):
        super().__init__(width)
        require(kernel_size % 2 == 1, f"kernel_size must be odd for same padding, got {kernel_size}")
        self.kernel_size = kernel_size
        self.token_local = kernel_size == 1
        self.convolution = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return same_convolution(masked(x, mask), self.convolution.weight, self.convolution.bias)

    def kernel(self) -> tuple[Tensor, Tensor]:
        bias = self.convolution.bias
        assert bias is not None
        return self.convolution.weight, bias

    def macs(self, tokens: int) -> int:
        return tokens * self.kernel_size * self.width**2


def same_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve `x [B, T, d]` over T with `weight [d, d, k]`, zero padding of k//2 on both sides."""
    return functional.conv1d(x.transpose(1, 2), weight, bias, padding=weight.shape[-1] // 2).transpose(1, 2)
