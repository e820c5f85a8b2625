"""Attention with a learned bilinear score (LECO appendix A, mha_pdot)."""

import torch
from torch import Tensor, nn

from exitnas.exits.operations.attention import MultiHeadAttention


class ProjectedAttention(MultiHeadAttention):
    """Heads whose score is a projected dot product, query^T W key / sqrt(h), W one [h, h] matrix per head.

    LECO's appendix A names `mha_pdot` among the learned operations without defining it; this reading, "projected
    dot product", is ours. W starts as the identity, so the operation
    starts out as plain multi-head attention; the table gives it 4 heads.
    """

    def __init__(self, width: int, heads: int):
        super().__init__(width, heads)
        self.score = nn.Parameter(torch.eye(width // heads).repeat(heads, 1, 1))

    def scoring(self, query: Tensor) -> Tensor:
        return query @ self.score

    def macs(self, tokens: int) -> int:
        return super().macs(tokens) + tokens * self.width**2 // self.heads

    def first_token_macs(self, tokens: int) -> int:
        return super().first_token_macs(tokens) + self.width**2 // self.heads
