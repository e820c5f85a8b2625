"""MPNet (Song et al. 2020): a relative position bias, computed once and added in every layer."""

from torch import Tensor
from transformers import MPNetModel

from exitnas.backbones.base import Context
from exitnas.backbones.bert import BertBackbone, attention_context


class MPNetBackbone(BertBackbone):
    """`MPNetModel`, layer by layer; `token_type_ids` are ignored."""

    family = "mpnet"
    encoder_class = MPNetModel

    def position_limit(self) -> int:
        """The table's rows up to the padding id are not positions: 514 rows hold 512 tokens."""
        return self.config.max_position_embeddings - self.encoder.embeddings.padding_idx - 1

    def start(self, input_ids: Tensor, token_type_ids: Tensor | None, mask: Tensor) -> Tensor:
        return self.encoder.embeddings(input_ids)

    def prepare(self, hidden: Tensor, mask: Tensor) -> Context:
        context = attention_context(self.config, hidden, mask)
        # [1, heads, T, T]: depends on T alone, so one sample's bias serves all.
        context.shared["position_bias"] = self.encoder.encoder.compute_position_bias(hidden[:1])
        return context

    def layer(self, index: int, hidden: Tensor, context: Context) -> Tensor:
        attention = context.per_sample.get("attention")
        return self.encoder.encoder.layer[index](hidden, attention, context.shared["position_bias"])[0]
