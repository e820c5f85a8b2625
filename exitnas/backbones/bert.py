"""BERT (Devlin et al. 2019), and the base of the families that share its layout."""

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import BertModel, PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask

from exitnas.backbones.base import Backbone, Context
from exitnas.backbones.lean import bert_layer, can_be_lean


def attention_context(config: Any, hidden: Tensor, mask: Tensor) -> Context:
    """A context whose `per_sample["attention"]` is the stock attention mask; absent on CPU when nothing is padded."""
    attention: Any = create_bidirectional_mask(
        config=config,
        inputs_embeds=hidden,
        attention_mask=mask,
        allow_is_bidirectional_skip=hidden.device.type == "cpu",  # finding out would synchronize
    )
    return Context(mask, per_sample={} if attention is None else {"attention": attention})


class BertBackbone(Backbone):
    """`BertModel`, layer by layer."""

    family = "bert"
    encoder_class: ClassVar[type[PreTrainedModel]] = BertModel

    def stack(self) -> nn.ModuleList:
        return self.encoder.encoder.layer

    def start(self, input_ids: Tensor, token_type_ids: Tensor | None, mask: Tensor) -> Tensor:
        return self.encoder.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)

    def prepare(self, hidden: Tensor, mask: Tensor) -> Context:
        return attention_context(self.config, hidden, mask)

    def layer(self, index: int, hidden: Tensor, context: Context) -> Tensor:
        block, attention = self.encoder.encoder.layer[index], context.per_sample.get("attention")
        return bert_layer(block, hidden, attention) if can_be_lean(block) else block(hidden, attention)
