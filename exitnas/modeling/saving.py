"""Writing and reading a model directory: Hugging Face layout, safetensors, replaced as a whole."""

import shutil
from pathlib import Path
from typing import Any

from exitnas.backbones.loading import quiet
from exitnas.errors import ExitnasError
from exitnas.modeling.model import MultiExitModel
from exitnas.training.runs import model_directory


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
            model = MultiExitModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except ExitnasError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ExitnasError(f"{folder}: the model cannot be read ({reason}); retrain it or copy it again") from error
    return model.eval(), tokenizer
