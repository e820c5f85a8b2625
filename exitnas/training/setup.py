"""What a run starts from: the data, tokenized, and the backbone."""

from copy import deepcopy
from dataclasses import dataclass, replace
from json import dumps
from typing import Any
from zlib import crc32

import torch

from exitnas.backbones.base import Backbone
from exitnas.backbones.loading import load_backbone, load_tokenizer
from exitnas.distributed import agreed, check_alike, processes, weight_sum
from exitnas.exits.exit import exit_costs
from exitnas.exits.genotype import Genotype
from exitnas.reporting.progress import Reporter
from exitnas.settings import TrainingSettings
from exitnas.tasks import get_task
from exitnas.tasks.data import Split, TaskData
from exitnas.tasks.loading import load_task
from exitnas.tasks.spec import TaskSpec
from exitnas.training.batches import Encoded, encode
from exitnas.training.device import choose_device


@dataclass(frozen=True)
class Setup:
    """Everything a run reads and nothing it changes.

    Attributes:
        data: the task's splits as text.
        train, dev, test: the same splits, tokenized.
        tokenizer: of the backbone.
        backbone: with its pretrained weights, never trained itself.
        max_length: longest row in tokens: the setting, or what the backbone has positions for.
        device: where to compute.
    """

    settings: TrainingSettings
    data: TaskData
    train: Encoded
    dev: Encoded
    test: Encoded
    tokenizer: Any
    backbone: Backbone
    max_length: int
    device: torch.device

    @property
    def spec(self) -> TaskSpec:
        """The task."""
        return self.data.spec

    def split(self, name: str) -> tuple[Encoded, Split]:
        """Tokenized and plain rows of `"dev"` or `"test"`."""
        return {"dev": (self.dev, self.data.dev), "test": (self.test, self.data.test)}[name]

    def counted(self, genotype: Genotype) -> dict[str, Any]:
        """`costs` of every exit (`exit_costs`) for a training row of mean length, which is `tokens` long."""
        tokens = round(self.train.mean_length())
        return {"costs": exit_costs(genotype, self.spec.num_labels, tokens), "tokens": tokens}

    def checksums(self, **more: Any) -> dict[str, str]:
        """Of what settings only name, to tell whether it has changed: `data`, `encoder`, and of `more` as JSON."""
        data = [part.fingerprint() for part in (self.train, self.dev, self.test)]
        values = {"data": data, **more}
        return {
            "encoder": weight_sum(self.backbone),
            **{k: f"{crc32(dumps(v).encode()):08x}" for k, v in values.items()},
        }

    def tell(self, report: Reporter) -> None:
        """Say where the rows come from, how many there are, and what was done with them."""
        report.line(f"data: {self.data.source} {self.data.sizes}")
        for note in self.data.notes:
            report.line(f"      {note}")

    def fresh_backbone(self) -> Backbone:
        """A copy of the backbone with its pretrained weights, on the device, in training mode."""
        return deepcopy(self.backbone).to(self.device).train()


def prepare(settings: TrainingSettings) -> Setup:
    """Load the backbone, load and tokenize the data: whatever can be missing is found before any work is done."""
    device = choose_device(settings.device)
    with agreed():
        setup = _prepare(settings, device)
    if processes() == 1:
        return setup
    rows = [(len(part), part.fingerprint()) for part in (setup.train, setup.dev, setup.test)]
    check_alike("data (rows and checksums)", rows, "give every machine the same files")
    check_alike("encoders", weight_sum(setup.backbone), "give every machine the same backbone files and versions")
    return setup


def _prepare(settings: TrainingSettings, device: torch.device) -> Setup:
    spec = get_task(settings.task)
    backbone = load_backbone(settings.backbone, offline=settings.offline)
    if settings.dropout is not None:
        backbone.set_dropout(settings.dropout)
    max_length = min(settings.max_length, backbone.max_tokens or settings.max_length)
    tokenizer = load_tokenizer(settings.backbone, offline=settings.offline)
    data = load_task(
        spec,
        data_dir=settings.data_dir,
        offline=settings.offline,
        split_seed=settings.split_seed,
        limit_train=settings.limit_train,
        limit_eval=settings.limit_eval,
    )
    train, dev, test = (
        encode(split, tokenizer, max_length, data.spec.regression) for split in (data.train, data.dev, data.test)
    )
    if max_length < settings.max_length:
        cut = f"max length: cut from {settings.max_length} to the {max_length} positions of {settings.backbone}"
        data = replace(data, notes=(*data.notes, cut))
    return Setup(settings, data, train, dev, test, tokenizer, backbone, max_length, device)
