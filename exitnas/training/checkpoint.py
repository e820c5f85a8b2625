"""Checkpoint files: the state of a loop in one safetensors file, its tensors as such, the rest as JSON beside them.

No pickle: what is read back can only be tensors, numbers, texts, lists and dictionaries.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from exitnas.errors import ExitnasError
from exitnas.files import replacing

#: Key of the plain part in the file's metadata.
KEY = "state"


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write `state` in one rename: tensors, numbers, texts, None, and lists and dictionaries of such, keys of any kind.

    Tensors that are one and the same (tied weights) are written once. The folder of `path` is for this file alone: what
    an interruption left there is removed.

    Raises:
        ExitnasError: it cannot be written; the earlier file is still there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    plain = json.dumps(_pack(state, tensors, {}))
    path.parent.mkdir(exist_ok=True)
    for left in path.parent.iterdir():
        if left != path:
            left.unlink()
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary, {KEY: plain})
    except SafetensorError as error:
        reason = " ".join(str(error).split())[:100]
        raise ExitnasError(f"{path}: cannot be written ({reason}); make room, then go on with --resume") from None


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote, tensors on the CPU; tuples have become lists.

    Raises:
        ExitnasError: the file is missing, damaged, or none of ours.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ExitnasError(f"{path}: no such file; every process has to see the run directory to resume it")

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            state = _unpack(json.loads((file.metadata() or {})[KEY]), tensors)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ExitnasError(
            f"{path}: not a checkpoint that can be read ({reason}); start again with --overwrite"
        ) from None
    return dict(state)


def _pack(value: Any, tensors: dict[str, Tensor], seen: dict[Any, str]) -> Any:
    """`value` as JSON, tensors replaced by names; dictionaries become pairs, as JSON's keys are texts only."""
    if isinstance(value, Tensor):
        storage = (value.data_ptr(), value.dtype, tuple(value.shape), value.stride()) if value.numel() else len(seen)
        name = seen.setdefault(storage, str(len(seen)))
        tensors.setdefault(name, value.detach().contiguous())
        return {"tensor": name}
    if isinstance(value, dict):
        return {"pairs": [[key, _pack(inner, tensors, seen)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(inner, tensors, seen) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds no {type(value).__name__}")


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(inner, tensors) for inner in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _unpack(inner, tensors) for key, inner in value["pairs"]}
    return value


def generators() -> dict[str, Any]:
    """The states of torch's generators in this process, which dropout and sampling draw from."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_generators(saved: dict[str, Any] | None) -> None:
    """Go back to what `generators` gave, None changes nothing; so do GPUs where their number is another one."""
    if saved is None:
        return
    torch.set_rng_state(saved["cpu"])
    if torch.cuda.is_available() and len(saved["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(saved["cuda"])
