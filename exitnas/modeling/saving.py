"""Writing and reading a model directory: Hugging Face layout, safetensors, replaced as a whole."""

import shutil
from pathlib import Path
from typing import Any

import torch

from exitnas.backbones.loading import quiet
from exitnas.errors import ExitnasError, UsageError
from exitnas.files import json_kind, read_json, write_json, write_text
from exitnas.modeling.card import CARD, card_of
from exitnas.modeling.model import MultiExitForSequenceClassification


def save_model(model: MultiExitForSequenceClassification, tokenizer: Any, folder: Path | str) -> None:
    """Write model, config and tokenizer to a temporary folder and rename it to `folder`.

    The tokenizer is saved with the length of training, so that a pipeline with `truncation=True` cuts where training,
    evaluation and calibration did.
    """
    folder = Path(folder)
    tokenizer.model_max_length = (model.config.exitnas or {}).get("max_length", tokenizer.model_max_length)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with quiet():
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def load_model(path: Path | str) -> tuple[MultiExitForSequenceClassification, Any]:
    """Model (eval mode, fp32) and tokenizer from a run directory or its `model/`.

    Raises:
        UsageError: there is no model at `path`.
        ExitnasError: its files are damaged.
    """
    from transformers import AutoTokenizer

    folder = model_directory(path)
    try:
        with quiet():
            loaded: Any = MultiExitForSequenceClassification.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except ExitnasError as error:
        raise ExitnasError(f"{folder}: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ExitnasError(f"{folder}: the model cannot be read ({reason}); retrain it or copy it again") from error
    model, report = loaded
    for problem, words in (("missing_keys", "lacks"), ("unexpected_keys", "has, beyond what config.json describes,")):
        if names := sorted(report[problem]):
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise ExitnasError(
                f"{folder}: model.safetensors {words} {len(names)} weights ({shown}); copy the model again"
            )
    return model.eval(), tokenizer


def store_policy(path: Path | str, policy: dict[str, Any] | None, temperatures: list[float] | None) -> Path:
    """Make `policy` and `temperatures` what a saved model starts with; None for both: early exit off.

    Rewrites `config.json` and the model card, each in one rename; all else in the config stays as it is.

    Args:
        path: a run directory or its `model/`; its weights are not read.
        policy, temperatures: fields of `MultiExitConfig`.

    Returns:
        The model directory.

    Raises:
        UsageError: there is no model.
        ExitnasError: its config is not that of a model.
        OSError: the directory cannot be written.
    """
    folder = model_directory(path)
    values = read_json(folder / "config.json")
    if not isinstance(values, dict):
        raise ExitnasError(f"{folder}/config.json: expected an object, got {json_kind(values)}; copy the model again")
    values |= {"policy": policy, "temperatures": temperatures}
    card = card_of(folder, values)  # before anything is written: a config without a card is refused
    write_json(folder / "config.json", values)
    write_text(folder / CARD, card)
    return folder


def model_directory(path: Path | str) -> Path:
    """The model directory behind a model argument, which may be a run directory or its `model/`.

    Raises:
        UsageError: there is no model.
    """
    path = Path(path)
    for candidate in (path / "model", path):
        if (candidate / "model.safetensors").is_file() and (candidate / "config.json").is_file():
            return candidate
    if not path.exists():
        raise UsageError(f"{path}: no such folder; expected a run directory of `exitnas retrain` or its model/")
    if (path / "genotype.json").is_file():
        raise UsageError(f"{path}: holds a search, not a model; run `exitnas retrain {path / 'genotype.json'}` first")
    raise UsageError(f"{path}: holds no model (model.safetensors and config.json); expected a run of `exitnas retrain`")
