"""RoBERTa (Liu et al. 2019) and XLM-RoBERTa (Conneau et al. 2020): BERT's layers, positions after the padding id."""

from typing import ClassVar

from transformers import PreTrainedModel, RobertaModel, XLMRobertaModel

from exitnas.backbones.bert import BertBackbone


class RobertaBackbone(BertBackbone):
    """`RobertaModel`, layer by layer."""

    family = "roberta"
    encoder_class: ClassVar[type[PreTrainedModel]] = RobertaModel

    def position_limit(self) -> int:
        """The table's rows up to the padding id are not positions: 514 rows hold 512 tokens."""
        return self.config.max_position_embeddings - self.config.pad_token_id - 1


class XLMRobertaBackbone(RobertaBackbone):
    """`XLMRobertaModel`, layer by layer."""

    family = "xlm-roberta"
    encoder_class = XLMRobertaModel
