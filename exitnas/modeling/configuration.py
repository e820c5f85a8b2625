"""The transformers config of a multi-exit model."""

import math
from typing import Any

from huggingface_hub.dataclasses import strict
from pydantic import Field
from transformers import AutoConfig, PreTrainedConfig

from exitnas.backbones import BACKBONES
from exitnas.errors import ExitnasError, UsageError
from exitnas.exits.genotype import Genotype
from exitnas.files import json_kind
from exitnas.policies.base import Policy, make_policy
from exitnas.schema import Frozen, parse
from exitnas.tasks.spec import TaskSpec


class DataRecord(Frozen):
    """How to find the rows a model was trained on."""

    data_dir: str | None = None
    """Folder of local data files."""
    split_seed: int = Field(default=42, ge=0)
    """Seed of the dev/test split."""
    limit_eval: int | None = Field(default=None, ge=1)
    """Rows of dev and of test that were used."""


class Record(Frozen):
    """What a model directory tells inference, under `exitnas` in its config."""

    max_length: int = Field(default=128, ge=4, strict=True)
    """Longest row in tokens."""
    data: DataRecord = DataRecord()
    """The training data."""


@strict
class MultiExitConfig(PreTrainedConfig):
    """Config of `MultiExitForSequenceClassification`.

    Attributes:
        backbone: the config of the encoder, as a dictionary with its `model_type`.
        genotype: the genotype of the exits, as the dictionary of its JSON file.
        task: the task's spec, as a dictionary.
        exitnas: what inference needs besides: `max_length` in tokens, `version` that wrote the model, and under `data`
            the `data_dir`, `split_seed` and `limit_eval` of training.
        certainty: whether the model has a certainty head (BERxiT), for policy `lte`.
        policy: the exit policy in force by default: `name`, `parameters`, and under `calibration` what was promised
            and measured when it was chosen; None: early exit off.
        temperatures: E numbers above 0 by which the exits' logits are divided in eval mode (Guo et al. 2017, eq. 9),
            first layer first; None: logits as trained. Training never sees them.
    """

    model_type = "exitnas"
    keys_to_ignore_at_inference = ["exit_layer", "exit_logits"]  # noqa: RUF012 - `Trainer` adds a list to it

    backbone: dict | None = None
    genotype: dict | None = None
    task: dict | None = None
    exitnas: dict | None = None
    certainty: bool = False
    policy: dict | None = None
    temperatures: list[float] | None = None

    def read_genotype(self) -> Genotype:
        """The genotype, validated."""
        return parse(Genotype, self.genotype, "config.json: genotype")

    def read_task(self) -> TaskSpec:
        """The task's spec, validated."""
        return parse(TaskSpec, self.task, "config.json: task")

    def read_record(self) -> "Record":
        """What inference needs besides, validated."""
        known = {key: value for key, value in (self.exitnas or {}).items() if key in Record.model_fields}
        return parse(Record, known, "config.json: exitnas")

    def read_policy(self) -> Policy | None:
        """The stored exit policy, validated; None when there is none.

        Raises:
            ExitnasError: an unknown policy, or parameters it cannot have.
        """
        if self.policy is None:
            return None
        name, parameters = self.policy.get("name"), self.policy.get("parameters", {})
        if not isinstance(name, str) or not isinstance(parameters, dict):
            raise ExitnasError(
                "config.json: policy: expected a name and an object of parameters, "
                f"got name {json_kind(name)} and parameters {json_kind(parameters)}"
            )
        try:
            return make_policy(name, parameters)
        except UsageError as error:
            raise ExitnasError(f"config.json: policy: {error}") from None

    def read_backbone(self) -> PreTrainedConfig:
        """The encoder's config.

        Raises:
            ExitnasError: it names no architecture that exitnas has a family for.
        """
        values: dict[str, Any] = dict(self.backbone or {})
        model_type = values.pop("model_type", None)
        if not isinstance(model_type, str) or model_type not in BACKBONES:
            raise ExitnasError(
                f"config.json: backbone: expected a model_type among {', '.join(BACKBONES)}, got {model_type!r}"
            )
        return AutoConfig.for_model(model_type, **values)

    def check_labels(self) -> int:
        """C, the number of labels: the task's, after making sure that the config names as many.

        Raises:
            ExitnasError: it does not.
        """
        spec = self.read_task()
        expected = 1 if spec.labels is None else len(spec.labels)
        if sorted(self.id2label or {}) != list(range(expected)):
            raise ExitnasError(
                f"config.json: id2label: expected names for the {expected} label(s) of task {spec.name}, numbered "
                f"from 0, got {str(self.id2label)[:80]}"
            )
        return expected

    def check_temperatures(self, num_exits: int, num_labels: int) -> None:
        """Refuse temperatures (`ExitnasError`) that a model of E exits and C labels cannot have."""
        if self.temperatures is None:
            return
        if num_labels == 1:
            raise ExitnasError("config.json: temperatures: expected null for a regression model, which has none")
        numbers = [t for t in self.temperatures if math.isfinite(t) and t > 0]
        if len(numbers) != num_exits or len(self.temperatures) != num_exits:
            raise ExitnasError(
                f"config.json: temperatures: expected {num_exits} numbers above 0, got {str(self.temperatures)[:80]}"
            )


AutoConfig.register(MultiExitConfig.model_type, MultiExitConfig)
