"""Poolings from tokens to one vector (LECO section 4; Gong et al. 2018)."""

import torch
from torch import Tensor, nn

from exitnas.exits.operations.base import Pooling, lowest, masked


class ClsPooling(Pooling):
    """The first token."""

    first_token_only = True

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x[:, 0]


class MaxPooling(Pooling):
    """Element-wise maximum over real tokens."""

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return masked(x, mask, lowest(x.dtype)).amax(1)


class AveragePooling(Pooling):
    """Mean over real tokens."""

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x.mean(1) if mask is None else masked(x, mask).sum(1) / mask.sum(1, keepdim=True)

    def macs(self, tokens: int) -> int:
        return tokens * self.width


class SelfAttentionPooling(Pooling):
    """Softmax-weighted mean; the weight of a token is its dot product with a learned query, over sqrt(d).

    LECO names `sa_pool` without a formula. One query vector is the smallest form; starting at zero it starts out as
    the average pooling.
    """

    def __init__(self, width: int):
        super().__init__(width)
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        score = (x @ self.query) / self.width**0.5
        if mask is not None:
            score = score.masked_fill(~mask, lowest(x.dtype))
        return torch.bmm(score.softmax(1).unsqueeze(1), masked(x, mask)).squeeze(1)

    def macs(self, tokens: int) -> int:
        return 2 * tokens * self.width
