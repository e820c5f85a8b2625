"""Writing and reading a model directory: Hugging Face layout, safetensors, replaced as a whole."""

import shutil
from pathlib import Path
from typing import Any

from exitnas.backbones.loading import quiet
from exitnas.errors import ExitnasError, UsageError
from exitnas.modeling.model import MultiExitModel


def save_model(model: MultiExitModel, tokenizer: Any, folder: Path | str) -> None:
    """Write model, config and tokenizer to a temporary folder and rename it to `folder`."""
    folder = Path(folder)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with quiet():
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def load_model(path: Path | str) -> tuple[MultiExitModel, Any]:
    """Model (eval mode, fp32) and tokenizer from a run directory or its `model/`.

    Raises:
        UsageError: there is no model at `path`.
        ExitnasError: its files are damaged.
    """
    from transformers import AutoTokenizer

    folder = model_directory(path)
    try:
        with quiet():
            loaded: Any = MultiExitModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except ExitnasError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ExitnasError(f"{folder}: the model cannot be read ({reason}); retrain it or copy it again") from error
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ExitnasError(f"{folder}: model.safetensors lacks {len(missing)} weights ({shown}); copy the model again")
    return model.eval(), tokenizer


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
