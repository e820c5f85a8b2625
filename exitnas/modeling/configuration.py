"""The transformers config of a multi-exit model."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from exitnas.exits.genotype import Genotype
from exitnas.schema import parse
from exitnas.tasks.spec import TaskSpec


@strict
class MultiExitConfig(PreTrainedConfig):
    """Config of `MultiExitModel`.

    Attributes:
        backbone: the config of the encoder, as a dictionary with its `model_type`.
        genotype: the genotype of the exits, as the dictionary of its JSON file.
        task: the task's spec, as a dictionary.
        exitnas: what inference needs besides: `max_length` in tokens, `version` that wrote the model, and under `data`
            the `data_dir`, `split_seed` and `limit_eval` of training.
        certainty: whether the model has a certainty head (BERxiT), for policy `lte`.
    """

    model_type = "exitnas"

    backbone: dict | None = None
    genotype: dict | None = None
    task: dict | None = None
    exitnas: dict | None = None
    certainty: bool = False

    def read_genotype(self) -> Genotype:
        """The genotype, validated."""
        return parse(Genotype, self.genotype, "config.json: genotype")

    def read_task(self) -> TaskSpec:
        """The task's spec, validated."""
        return parse(TaskSpec, self.task, "config.json: task")

    def read_backbone(self) -> PreTrainedConfig:
        """The encoder's config."""
        values: dict[str, Any] = dict(self.backbone or {})
        return AutoConfig.for_model(values.pop("model_type"), **values)


AutoConfig.register(MultiExitConfig.model_type, MultiExitConfig)
