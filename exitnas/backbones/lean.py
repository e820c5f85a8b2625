"""BERT layers without what the stock classes do around them: the same operations on the same weights, in order.

At batch 1 a small model's layer takes as long as it has things to do, not as it has numbers to multiply. Here it is
twelve operations on weights gathered beforehand, with sums and activations written over what is not needed again:
about a tenth less time than the stock layer, bit for bit the same result.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear, scaled_dot_product_attention
from transformers.activations import GELUActivation

_WRAPPERS = ("attention", "intermediate", "output")


class LeanLayer(NamedTuple):
    """The weight `[n, D]` and bias `[n]` of every part of a layer, and what else it computes with."""

    query: tuple[Tensor, Tensor]
    key: tuple[Tensor, Tensor]
    value: tuple[Tensor, Tensor]
    attended: tuple[Tensor, Tensor]
    inner: tuple[Tensor, Tensor]
    outer: tuple[Tensor, Tensor]
    attended_norm: tuple[Tensor, Tensor, float]
    outer_norm: tuple[Tensor, Tensor, float]
    head_size: int
    scaling: float
    activation: Any


def gather(block: Any) -> LeanLayer | None:
    """What `lean_layer` needs of a layer; None where it would not give what the layer gives.

    It serves inference: no gradient, no dropout, SDPA, no chunks, nothing hooked onto or put in place of any part.
    Asked before every layer, so things are looked up where `nn.Module` keeps them.

    Args:
        block: a `BertLayer`, or one of RoBERTa's, XLM-RoBERTa's or ELECTRA's, which are alike.
    """
    if torch.is_grad_enabled() or not _plain(block):
        return None
    modules = block._modules
    attention, outer = modules["attention"]._modules, modules["output"]._modules
    attend, attended = attention["self"], attention["output"]._modules
    inner, projections = modules["intermediate"], attend._modules
    query, key, value = (projections[name] for name in ("query", "key", "value"))
    linears = (query, key, value, attended["dense"], inner._modules["dense"], outer["dense"])
    norms = (attended["LayerNorm"], outer["LayerNorm"])
    if any(type(part) is not nn.Linear for part in linears) or any(type(part) is not nn.LayerNorm for part in norms):
        return None
    if any(_hooked(vars(part)) for part in (*linears, *norms)):
        return None
    weights: list[Any] = [(own["weight"], own["bias"]) for own in (part._parameters for part in linears)]
    scales: list[Any] = [(part._parameters["weight"], part._parameters["bias"], part.eps) for part in norms]
    numbers = attend.attention_head_size, attend.scaling
    return LeanLayer._make((*weights, *scales, *numbers, inner.intermediate_act_fn))


def lean_layer(layer: LeanLayer, hidden: Tensor, attention: Tensor | None) -> Tensor:
    """The output [B, T, D] of a layer, bit for bit that of the stock one.

    Args:
        hidden: [B, T, D].
        attention: the stock attention mask, [B, 1, T, T], or None when nothing is padded.
    """
    shape = (*hidden.shape[:-1], -1, layer.head_size)
    query = linear(hidden, *layer.query).view(shape).transpose(1, 2)
    key = linear(hidden, *layer.key).view(shape).transpose(1, 2)
    value = linear(hidden, *layer.value).view(shape).transpose(1, 2)
    seen = scaled_dot_product_attention(query, key, value, attn_mask=attention, scale=layer.scaling)
    hidden = _normalized(linear(seen.transpose(1, 2).flatten(2), *layer.attended), hidden, layer.attended_norm)
    inner = linear(hidden, *layer.inner)
    inner = torch.ops.aten.gelu_(inner) if type(layer.activation) is GELUActivation else layer.activation(inner)
    return _normalized(linear(inner, *layer.outer), hidden, layer.outer_norm)


def _normalized(new: Tensor, residual: Tensor, norm: tuple[Tensor, Tensor, float]) -> Tensor:
    weight, bias, epsilon = norm
    total = new.add_(residual) if new.dtype == residual.dtype else new + residual  # they differ under autocast
    return layer_norm(total, weight.shape, weight, bias, epsilon)


def _plain(block: Any) -> bool:
    """Whether nothing in the layer's wrapping changes what it computes."""
    own = vars(block)
    if own["training"] or own["chunk_size_feed_forward"] or _hooked(own):
        return False
    attention, intermediate, output = (vars(own["_modules"][name]) for name in _WRAPPERS)
    attend, attended = vars(attention["_modules"]["self"]), vars(attention["_modules"]["output"])
    if any(map(_hooked, (attention, intermediate, output, attend, attended))):
        return False
    return attend["config"]._attn_implementation == "sdpa"


def _hooked(own: dict[str, Any]) -> bool:
    """Whether somebody listens to or replaced the forward of the module with these attributes."""
    return bool(own["_forward_hooks"] or own["_forward_pre_hooks"] or "forward" in own)
