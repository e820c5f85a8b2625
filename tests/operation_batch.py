"""A batch with padding and scrambled parameters, for the tests of operations."""

import torch
from torch import Tensor, nn

B, T, D = 3, 7, 16
LENGTHS = [7, 3, 5]


def batch(width: int = D) -> tuple[Tensor, Tensor]:
    """x [B, T, width] and the mask [B, T] of `LENGTHS`."""
    x = torch.randn(B, T, width, generator=torch.Generator().manual_seed(5))
    return x, torch.arange(T) < torch.tensor(LENGTHS)[:, None]


def scramble(module: nn.Module) -> nn.Module:
    """`module` with parameters that are all different, zero-initialized ones too."""
    generator = torch.Generator().manual_seed(2)
    for parameter in module.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator)
    return module


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
