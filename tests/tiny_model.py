"""A tiny random BERT with linear exits, a batch for it, and a task in memory: what training tests start from."""

from typing import Any

import torch
from transformers import BertConfig

from exitnas.backbones.loading import backbone_from_config
from exitnas.exits.genotype import Genotype, Origin
from exitnas.modeling.model import MultiExitForSequenceClassification
from exitnas.settings import RetrainSettings
from exitnas.supernet.space import load_space
from exitnas.tasks.data import Split, TaskData
from exitnas.tasks.spec import TaskSpec
from exitnas.training.batches import Encoded
from exitnas.training.device import seeded
from exitnas.training.setup import Setup

E, D, B, T = 3, 16, 6, 5
CLASSES = TaskSpec(name="tiny", text_columns=("text",), label_column="label", labels=("a", "b", "c"), metric="accuracy")
VALUES = TaskSpec(
    name="tiny", text_columns=("text",), label_column="score", regression=True, value_range=(0, 5),
    metric="pearson_spearman",
)  # fmt: skip


def tiny_model(
    regression: bool = False, certainty: bool = False, dropout: float = 0.0, layers: int = E
) -> MultiExitForSequenceClassification:
    """`layers` layers of width D on CPU, in train mode, the same weights every time."""
    config = BertConfig(
        vocab_size=30,
        hidden_size=D,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    with seeded(0):
        backbone = backbone_from_config(config)
        spec = VALUES if regression else CLASSES
        return MultiExitForSequenceClassification.assemble(
            backbone, tiny_genotype(layers), spec, {}, certainty=certainty
        ).train()


def tiny_genotype(layers: int = E) -> Genotype:
    return load_space("linear").only_genotype("tiny", layers, D, Origin())


def tiny_batch(regression: bool = False, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(B, generator=generator) * 5 if regression else torch.randint(0, 3, (B,), generator=generator)
    ids = torch.randint(1, 30, (B, T), generator=generator)
    mask = torch.ones(B, T, dtype=torch.long)
    mask[0, 3:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def tiny_logits(classes: int = 3, seed: int = 0) -> tuple[list[torch.Tensor], torch.Tensor]:
    """E leaf tensors [B, C] that require gradients, and labels [B]."""
    generator = torch.Generator().manual_seed(seed)
    logits = [torch.randn(B, classes, generator=generator).requires_grad_() for _ in range(E)]
    return logits, torch.randint(0, classes, (B,), generator=generator)


def tiny_setup(rows: int = 20, regression: bool = False, **values) -> tuple[Setup, RetrainSettings]:
    """A task whose label is told by the first token."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1, 30, (rows, T), generator=generator)
    classes = ids[:, 1] % 3
    labels = (classes.float() + 1.0).tolist() if regression else classes.tolist()
    spec = VALUES if regression else CLASSES
    split = Split([str(row) for row in ids.tolist()], None, labels)
    encoded = Encoded(
        [(row, None) for row in ids.tolist()],
        torch.tensor(labels, dtype=torch.float32 if regression else torch.long),
        0,
    )
    given = {"task": "tiny", "epochs": 2, "batch_size": 4, "exit_lr": 1e-2, "lr": 1e-3, **values}
    settings = RetrainSettings(**given)
    data = TaskData(spec, split, split, split, "made up")
    backbone: Any = None  # the loop is given its model
    return Setup(settings, data, encoded, encoded, encoded, None, backbone, T, torch.device("cpu")), settings
