"""BERT (Devlin et al. 2019), and the base of the families that share its layout."""

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import BertModel, PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask

from exitnas.backbones.base import Backbone, Context
from exitnas.backbones.lean import gather, lean_layer


def attention_context(config: Any, hidden: Tensor, mask: Tensor) -> Context:
    """A context whose `per_sample["attention"]` is the stock attention mask; absent on CPU when nothing is padded."""
    if mask.device.type == "cpu" and bool(mask.all()):
        return Context(mask, padded=False)
    attention: Any = create_bidirectional_mask(
        config=config,
        inputs_embeds=hidden,
        attention_mask=mask,
        allow_is_bidirectional_skip=False,  # finding out would synchronize
    )
    return Context(mask, per_sample={} if attention is None else {"attention": attention})


class BertBackbone(Backbone):
    """`BertModel`, layer by layer.

    Attributes:
        lean: run the layers by `exitnas.backbones.lean` where that gives the same; False calls the stock ones always.
    """

    family = "bert"
    encoder_class: ClassVar[type[PreTrainedModel]] = BertModel
    lean = True

    def stack(self) -> nn.ModuleList:
        return self.encoder.encoder.layer

    def start(self, input_ids: Tensor, token_type_ids: Tensor | None, mask: Tensor) -> Tensor:
        return self.encoder.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)

    def prepare(self, hidden: Tensor, mask: Tensor) -> Context:
        return attention_context(self.config, hidden, mask)

    def layer(self, index: int, hidden: Tensor, context: Context) -> Tensor:
        block, attention = self.encoder.encoder.layer[index], context.per_sample.get("attention")
        gathered = gather(block) if self.lean else None
        return block(hidden, attention) if gathered is None else lean_layer(gathered, hidden, attention)
