"""Loading backbones, their configs and tokenizers: fp32, safetensors only, one-line errors."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from exitnas.backbones import BACKBONES
from exitnas.backbones.base import Backbone
from exitnas.backbones.sources import Source, locate, resolve
from exitnas.errors import ExitnasError, UsageError

__all__ = ["Source", "backbone_from_config", "load_backbone", "load_config", "load_tokenizer", "quiet", "resolve"]

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' reports and progress bars off stderr; download progress of the hub stays."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _one_line(error: BaseException, limit: int = 200) -> str:
    """The message of a library's error, whitespace folded and cut at `limit` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."


@contextmanager
def _reading(source: Source, what: str) -> Iterator[None]:
    """Turn what the libraries raise on missing or broken files into one `ExitnasError`."""
    try:
        with quiet():
            yield
    except ExitnasError:
        raise
    except Exception as error:  # hub, JSON, validation, safetensors and tokenizer errors share no base class
        raise ExitnasError(f"backbone {source}: its {what} cannot be read: {_one_line(error)}") from error


def load_config(name: str, *, offline: bool = False) -> PreTrainedConfig:
    """The transformers config of backbone `name`.

    Raises:
        UsageError: an unknown name, or an architecture exitnas has no family for.
        ExitnasError: the files are out of reach or broken.
    """
    source = resolve(name)
    place = locate(source, "config.json", offline=offline)
    with _reading(source, "config.json"):
        raw, _ = PreTrainedConfig.get_config_dict(place)
    model_type = raw.get("model_type")
    if model_type not in BACKBONES:
        families = ", ".join(BACKBONES.names())
        raise UsageError(f"backbone {source}: model_type {model_type!r} is not supported; supported: {families}")
    with _reading(source, "config.json"):
        return AutoConfig.from_pretrained(place)


def load_tokenizer(name: str, *, offline: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of backbone `name`; errors as in `load_config`."""
    source = resolve(name)
    load_config(name, offline=offline)
    place = locate(source, "tokenizer*", offline=offline)
    if Path(place).is_dir() and not any(any(Path(place).glob(pattern)) for pattern in _TOKENIZER_FILES):
        raise ExitnasError(f"backbone {source}: the folder holds no tokenizer; expected tokenizer.json or a vocabulary")
    with _reading(source, "tokenizer"):
        return AutoTokenizer.from_pretrained(place)


def backbone_from_config(config: PreTrainedConfig) -> Backbone:
    """A backbone with random weights, drawn from torch's default generator.

    Raises:
        UsageError: an architecture exitnas has no family for.
    """
    return BACKBONES.get(config.model_type).from_config(config)


def load_backbone(name: str, *, offline: bool = False) -> Backbone:
    """Backbone `name` with its pretrained weights, in fp32 and eval mode.

    Only safetensors files are read, never pickles. Weights the encoder has no use for (pooler, pretraining heads) are
    dropped silently; weights it misses are an error.

    Args:
        name: a model folder, an alias (`exitnas list backbones`) or a hub id `owner/name`.
        offline: read the local cache only.

    Raises:
        UsageError: an unknown name, or an architecture exitnas has no family for.
        ExitnasError: the files are out of reach, broken, incomplete, or not safetensors.
    """
    source = resolve(name)
    config = load_config(name, offline=offline)
    family: type[Backbone] = BACKBONES.get(config.model_type)
    place = locate(source, "*.safetensors", offline=offline)
    if Path(place).is_dir() and not any(Path(place).glob("*.safetensors")):
        raise ExitnasError(_no_safetensors(source))
    with _reading(source, "weights"):
        encoder, report = _read_weights(family, place, config, source)
    missing = sorted(report["missing_keys"])
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise ExitnasError(f"backbone {source}: its checkpoint lacks {len(missing)} encoder weights: {shown}")
    return family(encoder).eval()


def _read_weights(family: type[Backbone], place: str, config: PreTrainedConfig, source: Source) -> tuple[Any, Any]:
    """The stock encoder and transformers' report on the weights it found."""
    stock: Any = family.encoder_class
    try:
        return stock.from_pretrained(
            place,
            config=config,
            dtype=torch.float32,
            attn_implementation=family.attention_implementation(),
            use_safetensors=True,
            output_loading_info=True,
            **family.encoder_options,
        )
    except OSError as error:
        if "safetensors" in str(error):
            raise ExitnasError(_no_safetensors(source)) from error
        raise


def _no_safetensors(source: Source) -> str:
    return (
        f"backbone {source}: no *.safetensors weights, and exitnas reads no pickles; "
        "convert them with transformers' save_pretrained and give that folder"
    )
