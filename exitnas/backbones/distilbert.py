"""DistilBERT (Sanh et al. 2019): BERT's layers without segment embeddings."""

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import DistilBertModel

from exitnas.backbones.base import Context
from exitnas.backbones.bert import BertBackbone


class DistilBertBackbone(BertBackbone):
    """`DistilBertModel`, layer by layer; `token_type_ids` are ignored."""

    family = "distilbert"
    encoder_class = DistilBertModel
    encoder_options: ClassVar[dict[str, Any]] = {}

    def stack(self) -> nn.ModuleList:
        return self.encoder.transformer.layer

    def start(self, input_ids: Tensor, token_type_ids: Tensor | None, mask: Tensor) -> Tensor:
        return self.encoder.embeddings(input_ids)

    def layer(self, index: int, hidden: Tensor, context: Context) -> Tensor:
        return self.encoder.transformer.layer[index](hidden, context.per_sample.get("attention"))
