"""Multi-head self-attention (LECO section 4, mha_k; Vaswani et al. 2017)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from exitnas.errors import require
from exitnas.exits.operations.base import EncoderOperation

#: Up to this width the first token's projections are folded into one per side for inference.
FOLD_WIDTH = 128


class MultiHeadAttention(EncoderOperation):
    """Scaled dot-product attention with k heads of size d/k; projections with bias, no residual, no normalization.

    Parameters: 4 * (d*d + d). At d=64 with the 768-wide projection and a 2-class classifier this gives the 66k
    parameters per MHA exit that LECO 6.4 reports.
    """

    def __init__(self, width: int, heads: int):
        super().__init__(width)
        require(width % heads == 0, f"width {width} is not divisible into {heads} attention heads")
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self._folded: tuple[Any, list[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]] | None = None

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = split_heads(self.query_key_value(x), self.heads)
        return self.output(join_heads(attend(self.scoring(query), key, value, mask)))

    def scoring(self, query: Tensor) -> Tensor:
        """The queries `[..., heads, n, h]` as they enter the dot product with the keys."""
        return query

    def train(self, mode: bool = True) -> "MultiHeadAttention":
        """As in torch; forgets the products kept for inference."""
        self._folded = None
        return super().train(mode)

    def first_token(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """`[B, d]`: one query per head, and no projection of T keys and values.

        With K and V the key and value projections of one head, q . (K x_t + b) = (K^T q) . x_t + q . b, whose last term
        is the same for all t and falls out of the softmax; and the weights p_t sum to 1, so that
        sum_t p_t (V x_t + c) = V (sum_t p_t x_t) + c. So K and V are applied once per head instead of once per token.
        Without gradient, K^T Q and O V are multiplied out once and kept where they are small: more arithmetic in fewer
        steps, which is faster for the few rows of a batch; `first_token_macs` counts the form above. What is kept is
        renewed when a parameter is updated, loaded or replaced, and by `train()` and `eval()`; writing through
        `parameter.data` between two calls in eval mode goes unseen.
        """
        batch, _, width = x.shape
        if not isinstance(self.query_key_value.weight, Tensor):  # a quantized layer
            return self(x, mask)[:, 0]
        if width <= FOLD_WIDTH and not torch.is_grad_enabled():
            return self._first_token_folded(x, mask)
        to_query, to_key, to_value = self.query_key_value.weight.view(3, width, width)
        query_bias, _, value_bias = self.query_key_value.bias.view(3, width)
        query = functional.linear(x[:, 0], to_query, query_bias).view(batch, self.heads, -1).transpose(0, 1)
        query = self.scoring(query) @ to_key.view(self.heads, -1, width)  # [heads, B, d]
        tokens = x.unsqueeze(1)  # [B, 1, T, d], keys and values of all heads
        seen = attend(query.transpose(0, 1).unsqueeze(1), tokens, tokens, mask, (width // self.heads) ** -0.5)
        seen = seen.squeeze(1).transpose(0, 1)  # [heads, B, d]
        value = torch.baddbmm(
            value_bias.view(self.heads, 1, -1), seen, to_value.view(self.heads, -1, width).transpose(1, 2)
        )  # [heads, B, h]
        return self.output(value.transpose(0, 1).flatten(1))

    def _first_token_folded(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, _, width = x.shape
        query_weight, query_bias, output_weight, output_bias = self._fold()
        query = functional.linear(x[:, 0], query_weight, query_bias).view(batch, 1, self.heads, width)
        tokens = x.unsqueeze(1)
        seen = attend(query, tokens, tokens, mask, (width // self.heads) ** -0.5)
        return functional.linear(seen.flatten(1), output_weight, output_bias)

    def _fold(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weight and bias of K^T Q `[heads * d, d]` and of O V `[d, heads * d]`; renewed when a parameter changed."""
        parameters = tuple(self.parameters())
        # A parameter made under inference mode has no version that would tell of a change: nothing is kept then.
        tracked = not any(p.is_inference() for p in parameters)
        seen = tuple((p.data_ptr(), p._version) for p in parameters) if tracked else None
        if self._folded is None or seen is None or self._folded[0] != seen:
            heads, width = self.heads, self.width
            to_query, to_key, to_value = self.query_key_value.weight.detach().view(3, heads, -1, width)
            query_bias, _, value_bias = self.query_key_value.bias.detach().view(3, heads, 1, -1)
            weight = (self.scoring(to_query.transpose(1, 2)) @ to_key).transpose(1, 2).reshape(heads * width, width)
            bias = (self.scoring(query_bias) @ to_key).flatten()
            output = self.output.weight.detach().view(width, heads, -1).transpose(0, 1)  # [heads, d, h]
            output_weight = (output @ to_value).transpose(0, 1).reshape(width, heads * width)
            output_bias = self.output(value_bias.flatten()).detach()
            # The memory the products came from is held, so that no other parameter can come to lie at its address.
            held = [parameter.detach() for parameter in parameters]
            self._folded = seen, held, (weight.contiguous(), bias, output_weight.contiguous(), output_bias)
        return self._folded[2]

    def macs(self, tokens: int) -> int:
        return 4 * tokens * self.width**2 + 2 * tokens**2 * self.width

    def first_token_macs(self, tokens: int) -> int:
        return 4 * self.width**2 + 2 * self.heads * tokens * self.width


def split_heads(projected: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """`[B, T, 3*d]` to query, key, value, each `[B, heads, T, d/heads]`."""
    batch, tokens, _ = projected.shape
    query, key, value = projected.view(batch, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
    return query, key, value


def join_heads(attended: Tensor) -> Tensor:
    """`[B, heads, T, d/heads]` to `[B, T, d]`."""
    return attended.transpose(1, 2).flatten(2)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None = None) -> Tensor:
    """Scaled dot-product attention over `[B, heads, T, h]`; keys where `mask [B, T]` is False are invisible.

    Scores are multiplied by `scale`, 1/sqrt(h) when None.
    """
    visible = None if mask is None else mask[:, None, None, :]
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=scale)
