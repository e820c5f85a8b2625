"""ModernBERT (Warner et al. 2024): rotary positions, layers that attend globally or in a window, pre-normalization."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import ModernBertModel
from transformers.masking_utils import create_bidirectional_mask, create_bidirectional_sliding_window_mask

from exitnas.backbones.base import Backbone, Context


class ModernBertBackbone(Backbone):
    """`ModernBertModel`, layer by layer; `token_type_ids` are ignored.

    Layers hand on the residual stream, which only the last one normalizes (`final_norm`). Exits below the last
    therefore see the unnormalized stream, exactly the stock model's `hidden_states`.
    """

    family = "modernbert"
    encoder_class = ModernBertModel
    encoder_options: ClassVar[dict[str, Any]] = {}

    def stack(self) -> nn.ModuleList:
        return self.encoder.layers

    def cut(self, layers: int) -> None:
        super().cut(layers)
        self.config.layer_types = self.config.layer_types[:layers]

    def start(self, input_ids: Tensor, token_type_ids: Tensor | None, mask: Tensor) -> Tensor:
        return self.encoder.embeddings(input_ids=input_ids)

    def prepare(self, hidden: Tensor, mask: Tensor) -> Context:
        skip = hidden.device.type == "cpu"  # elsewhere finding out whether a mask is needed would synchronize
        full = create_bidirectional_mask(self.config, hidden, mask, allow_is_bidirectional_skip=skip)
        window = create_bidirectional_sliding_window_mask(self.config, hidden, mask, allow_is_bidirectional_skip=skip)
        masks: dict[str, Any] = {"full_attention": full, "sliding_attention": window}
        positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
        kinds = set(self.config.layer_types)
        return Context(
            mask,
            per_sample={kind: value for kind, value in masks.items() if kind in kinds and value is not None},
            shared={kind: self.encoder.rotary_emb(hidden, positions, kind) for kind in kinds},
        )

    def layer(self, index: int, hidden: Tensor, context: Context) -> Tensor:
        block = self.encoder.layers[index]
        kind = block.attention_type
        hidden = block(hidden, attention_mask=context.per_sample.get(kind), position_embeddings=context.shared[kind])
        return self.encoder.final_norm(hidden) if index == self.num_layers - 1 else hidden
