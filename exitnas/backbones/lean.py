"""One BERT layer without what the stock classes do around it: the same modules, the same operations, in order.

At batch 1 the stock layer's wrapping (attention dispatch, chunking, hooks, keyword handling) takes about a tenth of a
small model's time.
"""

from typing import Any

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

_WRAPPERS = ("attention", "intermediate", "output")


def can_be_lean(block: Any) -> bool:
    """Whether `bert_layer` gives what `block(...)` gives: no dropout, SDPA, no chunks, nothing hooked onto its parts.

    Asked before every layer, so it looks things up where `nn.Module` keeps them, which costs a tenth of its attributes.

    Args:
        block: a `BertLayer`, or one of RoBERTa's, XLM-RoBERTa's or ELECTRA's, which are alike.
    """
    own = vars(block)
    if own["training"] or own["chunk_size_feed_forward"] or _hooked(own):
        return False
    attention, intermediate, output = (vars(own["_modules"][name]) for name in _WRAPPERS)
    attend, attended = vars(attention["_modules"]["self"]), vars(attention["_modules"]["output"])
    if any(map(_hooked, (attention, intermediate, output, attend, attended))):
        return False
    return attend["config"]._attn_implementation == "sdpa"


def bert_layer(block: Any, hidden: Tensor, attention: Tensor | None) -> Tensor:
    """The output [B, T, D] of a layer for which `can_be_lean`, bit for bit.

    Args:
        hidden: [B, T, D].
        attention: the stock attention mask, [B, 1, T, T], or None when nothing is padded.
    """
    attend, attended = block.attention.self, block.attention.output
    inner, outer = block.intermediate, block.output
    shape = (*hidden.shape[:-1], -1, attend.attention_head_size)
    query = attend.query(hidden).view(shape).transpose(1, 2)
    key = attend.key(hidden).view(shape).transpose(1, 2)
    value = attend.value(hidden).view(shape).transpose(1, 2)
    seen = scaled_dot_product_attention(query, key, value, attn_mask=attention, scale=attend.scaling)
    seen = seen.transpose(1, 2).flatten(2)
    hidden = attended.LayerNorm(attended.dense(seen) + hidden)
    return outer.LayerNorm(outer.dense(inner.intermediate_act_fn(inner.dense(hidden))) + hidden)


def _hooked(own: dict[str, Any]) -> bool:
    """Whether somebody listens to or replaced the forward of the module with these attributes."""
    return bool(own["_forward_hooks"] or own["_forward_pre_hooks"] or "forward" in own)
