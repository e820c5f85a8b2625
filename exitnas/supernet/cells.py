"""Mixed operations: every candidate of an edge at once, weighted (LECO 3.2).

The output is exactly the weighted sum over candidates. It is computed in fewer steps than one per candidate:
convolution is linear in its kernel, so all convolutions of both encoder edges become one whose kernel is the
weighted sum of theirs; attentions share one input projection, one attention call per head count and one output
projection whose columns carry the weights.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from exitnas.exits.operations import ACTIVATIONS, ENCODERS, POOLINGS
from exitnas.exits.operations.attention import MultiHeadAttention, attend, join_heads
from exitnas.exits.operations.base import masked
from exitnas.exits.operations.convolution import same_convolution


class MixedActivation(nn.Module):
    """Weighted sum of activations."""

    def __init__(self, names: tuple[str, ...]):
        super().__init__()
        self.operations = nn.ModuleList(ACTIVATIONS.create(name) for name in names)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Mix `x [..., d]` with `weights [n]`."""
        total = weights[0] * self.operations[0](x)
        for weight, operation in zip(weights[1:], self.operations[1:], strict=True):
            total = total + weight * operation(x)
        return total


class MixedPooling(nn.Module):
    """Weighted sum of poolings."""

    def __init__(self, names: tuple[str, ...], width: int):
        super().__init__()
        self.operations = nn.ModuleList(POOLINGS.create(name, width) for name in names)

    def forward(self, x: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """Mix the poolings of `x [B, T, d]` with `weights [n]` into `[B, d]`."""
        total = weights[0] * self.operations[0](x, mask)
        for weight, operation in zip(weights[1:], self.operations[1:], strict=True):
            total = total + weight * operation(x, mask)
        return total


class MixedEncoder(nn.Module):
    """Sum over edges of the weighted sum of encoder operations; every candidate of every edge has its own weights.

    Attributes:
        auxiliary_skip: weight beta of an extra skip-connection on every edge, apart from the candidates (DARTS-, Chu et
            al. 2021, eq. 5). It lets gradients through while operations with weights are still learning, so that the
            candidate `skip` is chosen for what it encodes and not for that. A search lowers it to 0 before it ends.
    """

    def __init__(self, edges: tuple[tuple[str, ...], ...], width: int):
        super().__init__()
        self.edges = nn.ModuleList(nn.ModuleList(ENCODERS.create(name, width) for name in names) for names in edges)
        self.drops = [name == "null" for names in edges for name in names]
        self.auxiliary_skip = 0.0

    def forward(self, x: Tensor, mask: Tensor, weights: list[Tensor]) -> Tensor:
        """Mix `x [B, T, d]` into `[B, T, d]`; `weights` has one `[n]` per edge."""
        operations = [operation for edge in self._edges() for operation in edge]
        weight = torch.cat(list(weights))
        kernels, attentions, others = [], [], []
        for index, operation in enumerate(operations):
            if self.drops[index]:
                continue  # contributes zero whatever its weight; its weight still takes from the others' softmax
            if operation.kernel() is not None:
                kernels.append((weight[index], *operation.kernel()))
            elif type(operation) is MultiHeadAttention:
                attentions.append((weight[index], operation))
            else:
                others.append((weight[index], operation))
        parts = [w * operation(x, mask) for w, operation in others]
        if self.auxiliary_skip:
            parts.append(self.auxiliary_skip * len(self.edges) * x)
        if kernels:
            parts.append(_merged_convolution(x, mask, kernels))
        if attentions:
            parts.append(_merged_attention(x, mask, attentions))
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0] if parts else torch.zeros_like(x)

    def _edges(self) -> list[list[Any]]:
        """The operations of every edge."""
        return [list(edge) for edge in cast(Any, self.edges)]

    def candidate_by_candidate(self, x: Tensor, mask: Tensor, weights: list[Tensor]) -> Tensor:
        """The same sum as written in the paper, one operation after another; tests hold `forward` against it."""
        total = self.auxiliary_skip * len(self.edges) * x
        for edge, edge_weights in zip(self._edges(), weights, strict=True):
            for weight, operation in zip(edge_weights, edge, strict=True):
                total = total + weight * operation(x, mask)
        return total


def _merged_convolution(x: Tensor, mask: Tensor, kernels: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """One convolution with the weighted sum of `(weight, kernel [d, d, k], bias [d])`, padded to the longest kernel."""
    longest = max(kernel.shape[-1] for _, kernel, _ in kernels)
    kernel = torch.stack(
        [w * functional.pad(k, ((longest - k.shape[-1]) // 2,) * 2) for w, k, _ in kernels],
    ).sum(0)
    bias = torch.stack([w * b for w, _, b in kernels]).sum(0)
    return same_convolution(masked(x, mask), kernel, bias)


def _merged_attention(x: Tensor, mask: Tensor, attentions: list[tuple[Tensor, MultiHeadAttention]]) -> Tensor:
    """All attentions with one input and one output projection, and one attention call per head count."""
    groups: dict[int, list[tuple[Tensor, MultiHeadAttention]]] = {}
    for pair in attentions:
        groups.setdefault(pair[1].heads, []).append(pair)
    weights, biases, sizes = [], [], []
    for group in groups.values():
        # Rows in the order query, key, value, so that one view of the result serves the group without a copy.
        weights += _by_part([operation.query_key_value.weight for _, operation in group])
        biases += _by_part([operation.query_key_value.bias for _, operation in group])
        sizes.append(3 * len(group) * x.shape[-1])
    projected = functional.linear(x, torch.cat(weights), torch.cat(biases)).split(sizes, dim=-1)
    attended = []
    for (heads, group), part in zip(groups.items(), projected, strict=True):
        query, key, value = part.unflatten(-1, (3, len(group) * heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        attended.append(join_heads(attend(query, key, value, mask)))
    pairs = [pair for group in groups.values() for pair in group]
    weight = torch.cat([w * operation.output.weight for w, operation in pairs], dim=1)
    bias = torch.stack([w * operation.output.bias for w, operation in pairs]).sum(0)
    return functional.linear(torch.cat(attended, dim=-1), weight, bias)


def _by_part(projections: list[Tensor]) -> list[Tensor]:
    """The query rows of all projections, then their key rows, then their value rows."""
    return [part for parts in zip(*(p.chunk(3) for p in projections), strict=True) for part in parts]
