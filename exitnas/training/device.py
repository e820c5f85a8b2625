"""Device, precision and seeds of a run."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from exitnas.distributed import join, on_cpu
from exitnas.errors import UsageError

PRECISIONS = ("fp32", "bf16")


def choose_device(name: str) -> torch.device:
    """`auto` (CUDA when present, else the CPU), `cpu` or `cuda`; on several GPUs, accelerate says which is ours.

    `accelerate launch --cpu` makes `auto` the CPU. Joins the other processes, if there are any.

    Raises:
        UsageError: CUDA was asked for and there is none, or the name is unknown.
    """
    from accelerate import PartialState

    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}; known: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda was asked for, but no CUDA device is visible; use --device cpu or auto")
    if name == "cuda" and on_cpu():
        raise UsageError("--device cuda was asked for under `accelerate launch --cpu`; leave out one of them")
    join(cpu=on_cpu())
    use_cuda = name != "cpu" and not on_cpu() and torch.cuda.is_available()
    return PartialState().device if use_cuda else torch.device("cpu")


def backbone_precision(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Context in which the backbone runs: bf16 autocast or nothing.

    Exits stay in fp32: their heads are so small that autocast makes them several times slower on a CPU. That is why
    this is not left to a whole-model setting.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def to_device(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The batch on `device`."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Inside, torch's generators start from `seed`; the caller's are untouched afterwards.

    Args:
        device: the CUDA device that is used besides the CPU, if one is.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
