"""ELECTRA (Clark et al. 2020): BERT's layers, after a projection when the embeddings are narrower."""

from typing import Any, ClassVar

from torch import Tensor
from transformers import ElectraModel

from exitnas.backbones.bert import BertBackbone


class ElectraBackbone(BertBackbone):
    """`ElectraModel` (the discriminator), layer by layer."""

    family = "electra"
    encoder_class = ElectraModel
    encoder_options: ClassVar[dict[str, Any]] = {}

    def start(self, input_ids: Tensor, token_type_ids: Tensor | None, mask: Tensor) -> Tensor:
        embedded = super().start(input_ids, token_type_ids, mask)
        project = getattr(self.encoder, "embeddings_project", None)
        return embedded if project is None else project(embedded)
