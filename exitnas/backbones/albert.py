"""ALBERT (Lan et al. 2020): embeddings of their own width, and layers that share weights in groups."""

from torch import Tensor, nn
from transformers import AlbertModel

from exitnas.backbones.base import Context
from exitnas.backbones.bert import BertBackbone
from exitnas.errors import require


class AlbertBackbone(BertBackbone):
    """`AlbertModel`, layer by layer.

    Layer i runs group floor(i * groups / E), whose weights all layers of that group share. A group with several inner
    layers counts as one layer, as in the config's `num_hidden_layers`.
    """

    family = "albert"
    encoder_class = AlbertModel

    def stack(self) -> nn.ModuleList:
        """One entry per group of layers, not per layer."""
        return self.encoder.encoder.albert_layer_groups

    def cut(self, layers: int) -> None:
        """Keep the groups of the first `layers` layers; several groups can only be cut where one ends."""
        groups = self.config.num_hidden_groups
        kept = layers * groups / self.num_layers
        if groups > 1:
            require(
                kept == int(kept),
                f"an ALBERT of {self.num_layers} layers in {groups} groups can only be cut where a group ends, "
                f"got {layers} layers: give a multiple of {self.num_layers / groups:g}",
            )
            super().cut(int(kept))
            self.config.num_hidden_groups = int(kept)

    def start(self, input_ids: Tensor, token_type_ids: Tensor | None, mask: Tensor) -> Tensor:
        embedded = super().start(input_ids, token_type_ids, mask)
        return self.encoder.encoder.embedding_hidden_mapping_in(embedded)

    def layer(self, index: int, hidden: Tensor, context: Context) -> Tensor:
        # The division is written as in the stock model: another order of operations can round to another group.
        group = int(index / (self.num_layers / self.config.num_hidden_groups))
        return self.encoder.encoder.albert_layer_groups[group](hidden, context.per_sample.get("attention"))
