"""The contract of every backbone: embed once, then call the layers one by one."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedConfig, PreTrainedModel

from exitnas.errors import UsageError, require


@dataclass(frozen=True)
class Context:
    """What every layer needs besides the hidden states.

    Attributes:
        mask: bool [B, T], True where a token is real, False where it is padding.
        per_sample: further tensors whose first dimension is B (attention masks).
        shared: values without a batch dimension, the same for every sample (relative positions, rotary angles).
        padded: False where it is known that no token is padding.
    """

    mask: Tensor
    per_sample: dict[str, Tensor] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)
    padded: bool = True

    def select(self, keep: Tensor) -> "Context":
        """The context of the samples `keep` (int64 [n], indices into B), in that order."""
        return Context(
            mask=self.mask.index_select(0, keep),
            per_sample={name: value.index_select(0, keep) for name, value in self.per_sample.items()},
            shared=self.shared,
            padded=self.padded,
        )


class Backbone(nn.Module):
    """A stock transformers encoder whose layers can be called one at a time.

    `layer(E - 1, ...)` returns the stock model's `last_hidden_state`, and `layer(i, ...)` its `hidden_states[i + 1]`.
    Gradients, dropout and autocast behave as in the stock model, since its own modules do the work.

    A family subclasses this with `family`, `encoder_class` and the methods `start`, `prepare` and `layer`.

    Attributes:
        encoder: the stock `PreTrainedModel`, without its pooler, so that every parameter takes part.
        config: the encoder's config.
        num_layers: E, the number of layers.
        hidden_size: D.
        max_tokens: the longest T the position table allows, None when there is no such table.

    Raises:
        UsageError: the config describes a decoder.
    """

    family: ClassVar[str]
    encoder_class: ClassVar[type[PreTrainedModel]]
    encoder_options: ClassVar[dict[str, Any]] = {"add_pooling_layer": False}

    def __init__(self, encoder: PreTrainedModel):
        super().__init__()
        require(
            not getattr(encoder.config, "is_decoder", False),
            f"backbone of family {self.family!r}: an encoder was expected, but its config.json has is_decoder: true",
        )
        self.encoder: Any = encoder
        self.config: Any = encoder.config
        self.num_layers: int = self.config.num_hidden_layers
        self.hidden_size: int = self.config.hidden_size
        self.max_tokens: int | None = self.position_limit()

    @classmethod
    def attention_implementation(cls) -> str:
        """`"sdpa"` where the stock model supports it, `"eager"` otherwise."""
        return "sdpa" if getattr(cls.encoder_class, "_supports_sdpa", False) else "eager"

    @classmethod
    def from_config(cls, config: PreTrainedConfig) -> "Backbone":
        """A backbone with random weights, drawn from torch's default generator, in train mode; `config` is copied."""
        config = deepcopy(config)
        config._attn_implementation = cls.attention_implementation()
        return cls(cls.encoder_class(config, **cls.encoder_options))

    def position_limit(self) -> int | None:
        """The longest T this encoder can embed, None when nothing limits it."""
        return self.config.max_position_embeddings

    def stack(self) -> nn.ModuleList:
        """The modules of the layers, first layer first."""
        raise NotImplementedError

    def cut(self, layers: int) -> None:
        """Drop the modules and the config's entries of all but the first `layers` layers; called by `truncate`."""
        del self.stack()[layers:]

    def truncate(self, layers: int) -> None:
        """Keep the first `layers` layers, 1..E, with their weights; the backbone is then one of that many layers.

        Every layer gives the states it gave in the whole backbone, except that a family may treat its last layer
        differently (ModernBERT normalizes its output).

        Raises:
            UsageError: `layers` is out of range, or the family cannot be cut there (ALBERT's groups of layers).
        """
        require(
            1 <= layers <= self.num_layers,
            f"expected 1..{self.num_layers} layers of this {self.family} backbone, got {layers}",
        )
        self.cut(layers)
        self.config.num_hidden_layers = layers
        self.num_layers = layers

    def set_dropout(self, probability: float) -> None:
        """Drop this share of activations in training everywhere the encoder drops any."""
        for module in self.encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability
            elif isinstance(getattr(module, "attention_dropout", None), float):  # ModernBERT hands on a number
                module.attention_dropout = probability

    def start(self, input_ids: Tensor, token_type_ids: Tensor | None, mask: Tensor) -> Tensor:
        """Hidden states [B, T, D] that enter layer 0, from int64 [B, T] ids and the bool [B, T] mask."""
        raise NotImplementedError

    def prepare(self, hidden: Tensor, mask: Tensor) -> Context:
        """The context of a batch, from states [B, T, D] and the bool [B, T] mask.

        Of the states only shape, type and device count, so those that enter a later layer do as well. On a device other
        than the CPU no value is read, since that would synchronize.
        """
        raise NotImplementedError

    def merge(self, parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Context]:
        """One batch from several that are about to enter the same layer, each padded on the right to the longest.

        Args:
            parts: states [b, t, D] and bool masks [b, t] of every batch; b and t may differ.

        Returns:
            states [B, T, D] with B the sum of all b and T the largest t, and their context, prepared anew.
        """
        longest = max(mask.shape[1] for _, mask in parts)
        hidden = torch.cat([pad(states, (0, 0, 0, longest - states.shape[1])) for states, _ in parts])
        mask = torch.cat([pad(mask, (0, longest - mask.shape[1])) for _, mask in parts])
        return hidden, self.prepare(hidden, mask)

    def layer(self, index: int, hidden: Tensor, context: Context) -> Tensor:
        """Run layer `index` (0-based) on hidden states [B, T, D]; returns [B, T, D]."""
        raise NotImplementedError

    def embed(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Context]:
        """The states [B, T, D] that enter layer 0, and the context every layer takes.

        Args:
            input_ids: int64 [B, T].
            attention_mask: [B, T], nonzero where a token is real.
            token_type_ids: int64 [B, T]; ignored by models without at least two segment embeddings.

        Raises:
            UsageError: T is longer than the position table.
        """
        tokens = input_ids.shape[1]
        if self.max_tokens is not None and tokens > self.max_tokens:
            raise UsageError(
                f"{self.family} backbone: at most {self.max_tokens} tokens were expected, {tokens} came; "
                f"truncate with --max-length {self.max_tokens} or less"
            )
        if getattr(self.config, "type_vocab_size", 0) < 2:
            token_type_ids = None
        mask = attention_mask.to(torch.bool)
        hidden = self.start(input_ids, token_type_ids, mask)
        return hidden, self.prepare(hidden, mask)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """All layers in turn: E hidden states [B, T, D], first layer first, and the bool mask [B, T]."""
        hidden, context = self.embed(input_ids, attention_mask, token_type_ids)
        states = []
        for index in range(self.num_layers):
            hidden = self.layer(index, hidden, context)
            states.append(hidden)
        return states, context.mask
