"""DeBERTa v2 and v3 (He et al. 2021, 2023): attention with disentangled relative positions."""

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import DebertaV2Model

from exitnas.backbones.base import Backbone, Context


class DebertaBackbone(Backbone):
    """`DebertaV2Model`, layer by layer.

    Some v2 checkpoints add a convolution over the embeddings to the first layer's output; layer 0 includes it.
    """

    family = "deberta-v2"
    encoder_class = DebertaV2Model
    encoder_options: ClassVar[dict[str, Any]] = {}

    def position_limit(self) -> int | None:
        """None when positions enter only through attention, whose distances are bucketed without end."""
        return self.config.max_position_embeddings if self.config.position_biased_input else None

    def stack(self) -> nn.ModuleList:
        return self.encoder.encoder.layer

    def start(self, input_ids: Tensor, token_type_ids: Tensor | None, mask: Tensor) -> Tensor:
        return self.encoder.embeddings(input_ids=input_ids, token_type_ids=token_type_ids, mask=mask)

    def prepare(self, hidden: Tensor, mask: Tensor) -> Context:
        stack = self.encoder.encoder
        return Context(
            mask,
            per_sample={"attention": stack.get_attention_mask(mask)},
            shared={"positions": stack.get_rel_pos(hidden), "embeddings": stack.get_rel_embedding()},
        )

    def layer(self, index: int, hidden: Tensor, context: Context) -> Tensor:
        stack = self.encoder.encoder
        output = stack.layer[index](
            hidden,
            context.per_sample["attention"],
            relative_pos=context.shared["positions"],
            rel_embeddings=context.shared["embeddings"],
        )[0]
        if index == 0 and stack.conv is not None:
            output = stack.conv(hidden, output, context.mask.long())
        return output
