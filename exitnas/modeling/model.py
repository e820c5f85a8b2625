"""The multi-exit model: an encoder and the exits of a genotype."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import ModelOutput

from exitnas.backbones.base import Backbone
from exitnas.backbones.loading import backbone_from_config
from exitnas.exits.exit import build_exits
from exitnas.exits.genotype import Genotype
from exitnas.modeling.configuration import MultiExitConfig
from exitnas.objectives.certainty import CertaintyHead
from exitnas.tasks.spec import TaskSpec


@dataclass
class MultiExitOutput(ModelOutput):
    """Output of `MultiExitModel.forward`.

    Attributes:
        loss: sum of all exits' losses (LECO eq. 1) when labels were given.
        logits: `[B, C]` of the last exit.
        exit_logits: `[E, B, C]` of all exits.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    exit_logits: Tensor | None = None


class MultiExitModel(PreTrainedModel):
    """An encoder run layer by layer with one exit after every layer.

    Attributes:
        backbone: the encoder (`exitnas.backbones.base.Backbone`).
        exits: one `exitnas.exits.exit.Exit` per layer.
        certainty: the certainty head shared by all layers (`exitnas.objectives.certainty`), or None.
    """

    config_class = MultiExitConfig
    config: MultiExitConfig
    base_model_prefix = "backbone"
    main_input_name = "input_ids"

    def __init__(self, config: MultiExitConfig, backbone: Backbone | None = None):
        super().__init__(config)
        genotype = config.read_genotype()
        self.backbone = backbone_from_config(config.read_backbone()) if backbone is None else backbone
        genotype.check_fits(self.backbone.num_layers, self.backbone.hidden_size, genotype.backbone)
        self.exits = build_exits(genotype, len(config.id2label or {}))
        self.certainty = CertaintyHead(self.backbone.hidden_size) if config.certainty else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: encoder and exits initialize themselves, and the default would overwrite them."""

    @classmethod
    def assemble(
        cls,
        backbone: Backbone,
        genotype: Genotype,
        spec: TaskSpec,
        record: dict[str, Any],
        *,
        certainty: bool = False,
    ) -> "MultiExitModel":
        """A model around a loaded backbone, with exits freshly initialized from torch's global generator.

        Args:
            record: kept in the config for inference: `max_length`, `version`, and under `data` how to find the rows.
            certainty: add a certainty head, initialized after the exits.

        Raises:
            UsageError: the genotype is for another layer count or hidden size.
        """
        genotype.check_fits(backbone.num_layers, backbone.hidden_size, backbone.config.name_or_path or "given")
        names = [spec.label_column] if spec.labels is None else list(spec.labels)
        encoder = backbone.config.to_diff_dict()
        config = MultiExitConfig(
            backbone={**encoder, "model_type": backbone.config.model_type},
            genotype=genotype.model_dump(mode="json"),
            task=spec.model_dump(mode="json"),
            exitnas=record,
            certainty=certainty,
            id2label=dict(enumerate(names)),
            label2id={name: index for index, name in enumerate(names)},
            problem_type="regression" if spec.regression else "single_label_classification",
        )
        return cls(config, backbone)

    def exit_logits(self, states: list[Tensor], mask: Tensor) -> list[Tensor]:
        """Logits `[B, C]` of every exit from the hidden states `[B, T, D]` of every layer."""
        return [exit_(hidden, mask) for exit_, hidden in zip(self.exits, states, strict=True)]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **ignored: Any,
    ) -> MultiExitOutput:
        """All layers and all exits; for early exit see `exitnas.inference`.

        Args:
            input_ids: `[B, T]`.
            attention_mask: `[B, T]`, 1 at real tokens; all ones when absent.
            labels: `[B]`.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        logits = self.exit_logits(*self.backbone(input_ids, mask, token_type_ids))
        loss = None
        if labels is not None:
            from exitnas.objectives.base import task_losses

            loss = task_losses(logits, labels).sum()
        return MultiExitOutput(loss=loss, logits=logits[-1], exit_logits=torch.stack(logits))


AutoModelForSequenceClassification.register(MultiExitConfig, MultiExitModel)
