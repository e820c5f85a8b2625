"""The multi-exit model: an encoder and the exits of a genotype."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import ModelOutput, can_return_tuple

from exitnas.backbones.base import Backbone
from exitnas.backbones.loading import backbone_from_config
from exitnas.errors import ExitnasError, UsageError, require
from exitnas.exits.exit import build_exits
from exitnas.exits.genotype import Genotype
from exitnas.inference.engine import full_precision
from exitnas.modeling.card import write_card
from exitnas.modeling.configuration import MultiExitConfig
from exitnas.modeling.early_exit import leave_early
from exitnas.objectives.base import task_losses
from exitnas.objectives.certainty import CertaintyHead
from exitnas.policies.base import Policy, make_policy
from exitnas.tasks.spec import TaskSpec


@dataclass
class MultiExitOutput(ModelOutput):
    """Output of `MultiExitForSequenceClassification.forward`.

    Attributes:
        loss: sum of all exits' losses (LECO eq. 1) when labels were given.
        logits: `[B, C]` of the exit each sample left at; of a policy that answers with probabilities of its own
            (voting) their logarithms; regression: the values, `[B, 1]`.
        exit_layer: `[B]` int64, the layer each sample left at, counted from 1.
        exit_logits: `[E, B, C]` of all exits where all were computed, else None.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    exit_layer: Tensor | None = None
    exit_logits: Tensor | None = None


class MultiExitForSequenceClassification(PreTrainedModel):
    """An encoder run layer by layer with one exit after every layer.

    Loading in lower precision (`dtype=torch.bfloat16`) keeps exits and certainty head in fp32.

    Attributes:
        backbone: the encoder (`exitnas.backbones.base.Backbone`).
        exits: one `exitnas.exits.exit.Exit` per layer.
        certainty: the certainty head shared by all layers (`exitnas.objectives.certainty`), or None.
        policy: the exit policy in force, or None: early exit off. At first what the config stores.
    """

    config_class = MultiExitConfig
    config: MultiExitConfig
    base_model_prefix = "backbone"
    main_input_name = "input_ids"
    _keep_in_fp32_modules_strict = {"exits", "certainty"}  # noqa: RUF012 - as in the base class
    _no_split_modules = {"Exit", "CertaintyHead"}  # noqa: RUF012

    def __init__(self, config: MultiExitConfig, backbone: Backbone | None = None):
        super().__init__(config)
        self._constructed = False
        genotype = config.read_genotype()
        num_labels = config.check_labels()
        if backbone is None:
            encoder = config.read_backbone()
            genotype.check_fits(encoder.num_hidden_layers, encoder.hidden_size, "in config.json")
            backbone = backbone_from_config(encoder)
        self.backbone = backbone
        self.exits = build_exits(genotype, num_labels)
        self.certainty = CertaintyHead(genotype.hidden_size) if config.certainty else None
        config.check_temperatures(genotype.layers, num_labels)
        config.read_record()
        self.policy: Policy | None = None
        try:
            self.set_policy(config.read_policy())
        except UsageError as error:
            raise ExitnasError(f"config.json: policy: {error}") from None
        self._no_split_modules = {*self._no_split_modules, *(backbone.encoder._no_split_modules or ())}
        self.post_init()
        self._constructed = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Draw what a checkpoint lacks of an exit or the certainty head as a new one draws it.

        Nothing while the model is built: encoder and exits initialize themselves.
        """
        if not self._constructed:
            return
        name = next(name for name, part in self.named_modules() if part is module)
        if not name.startswith(("exits.", "certainty.")):
            return
        fresh = nn.ModuleDict({"exits": build_exits(self.config.read_genotype(), self.config.check_labels())})
        fresh["certainty"] = CertaintyHead(self.backbone.hidden_size)
        drawn = dict(fresh.get_submodule(name).named_parameters())
        for key, parameter in module.named_parameters():
            if not getattr(parameter, "_is_hf_initialized", False):
                parameter.copy_(drawn[key])

    @classmethod
    def assemble(
        cls,
        backbone: Backbone,
        genotype: Genotype,
        spec: TaskSpec,
        record: dict[str, Any],
        *,
        certainty: bool = False,
    ) -> "MultiExitForSequenceClassification":
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

    def get_input_embeddings(self) -> nn.Module:
        """The encoder's word embeddings."""
        return self.backbone.encoder.get_input_embeddings()

    def set_policy(self, policy: str | Policy | None, /, **parameters: Any) -> None:
        """Put an exit policy in force, by name with its parameters or ready made; None turns early exit off.

        It holds for this object. What a model directory starts with is the config's `policy`, which `exitnas
        calibrate` chooses.

        Raises:
            UsageError: an unknown policy, impossible parameters, or a policy that does not fit this model.
        """
        if isinstance(policy, str):
            policy = make_policy(policy, parameters)
        else:
            require(not parameters, f"parameters need the name of a policy: got {', '.join(parameters)} without one")
        if policy is not None:
            policy.check(len(self.exits), self.config.num_labels)
            require("labels" not in policy.needs, f"policy {policy.name!r} needs labels: choose another policy")
            headless = "certainty" in policy.needs and self.certainty is None
            require(not headless, f"policy {policy.name!r} needs a certainty head: retrain with --lte")
        self.policy = policy

    def exit(self, index: int, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Logits `[B, C]` of the exit after layer `index` (from 0) from hidden states `[B, T, D]` and mask `[B, T]`.

        A mask of None says that no token is padding. In eval mode the logits are divided by the exit's temperature
        where the config has temperatures. Autocast is left to the encoder: in these small modules lower precision
        costs time and digits.
        """
        logits = full_precision(self.exits[index], hidden, mask)
        temperatures = None if self.training else self.config.temperatures
        return logits if temperatures is None else logits / temperatures[index]

    def exit_logits(self, states: list[Tensor], mask: Tensor) -> list[Tensor]:
        """Logits `[B, C]` of every exit from the hidden states `[B, T, D]` of every layer."""
        return [self.exit(index, hidden, mask) for index, hidden in enumerate(states)]

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_exits: bool | None = None,
    ) -> MultiExitOutput:
        """Answer a batch, in eval mode under the exit policy in force, where every sample runs the layers it needs.

        All layers and all exits are computed in training mode, with labels, and with `output_exits`; the answer is
        the last exit's then. So it is in eval mode without a policy, where no other exit is computed.

        Args:
            input_ids: `[B, T]`.
            attention_mask: `[B, T]`, 1 at real tokens; all ones when absent.
            labels: `[B]`.
            output_exits: ask for `exit_logits` of all exits.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        all_exits = self.training or labels is not None or bool(output_exits)
        if self.policy is not None and not all_exits:
            batch = {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": token_type_ids}
            answers, layers = leave_early(self, batch, self.policy)
            return MultiExitOutput(logits=answers, exit_layer=layers)
        states, real = self.backbone(input_ids, mask, token_type_ids)
        last = torch.full(input_ids.shape[:1], len(self.exits), device=input_ids.device)
        if not all_exits:
            return MultiExitOutput(logits=self.exit(len(self.exits) - 1, states[-1], real), exit_layer=last)
        logits = self.exit_logits(states, real)
        loss = None if labels is None else task_losses(logits, labels).sum()
        return MultiExitOutput(loss=loss, logits=logits[-1], exit_layer=last, exit_logits=torch.stack(logits))

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | Path, is_main_process: bool = True, *, push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Write config, weights and model card (`README.md`); arguments as in transformers."""
        hub = {name: kwargs.pop(name) for name in ("repo_id", "commit_message", "private", "create_pr") & kwargs.keys()}
        super().save_pretrained(save_directory, is_main_process=is_main_process, **kwargs)
        if is_main_process:
            write_card(save_directory)
        if push_to_hub:
            hub.setdefault("repo_id", Path(save_directory).name)
            self.push_to_hub(**hub, token=kwargs.get("token"))

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        max_shard_size: int | str | None = "50GB",
        tags: list[str] | None = None,
    ) -> str:
        """Upload what `save_pretrained` writes, card included, to the hub; arguments as in transformers.

        Where the training data lay on this machine is left out of the upload. Returns the commit's address.
        """
        from huggingface_hub import HfApi

        from exitnas.modeling.card import for_the_public

        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, max_shard_size=max_shard_size)
            for_the_public(folder, tags or [])
            api = HfApi(token=token)
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            if revision is not None and not create_pr:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            return str(
                api.upload_folder(
                    repo_id=repo_id,
                    folder_path=folder,
                    commit_message=commit_message or "Upload model",
                    commit_description=commit_description,
                    revision=revision,
                    create_pr=create_pr,
                )
            )


AutoModelForSequenceClassification.register(MultiExitConfig, MultiExitForSequenceClassification)
