"""Training in several processes at once, one per device: data-parallel, with the results of one process.

Every process draws the same order of batches from the same generator and takes its rows of each; a batch is the global
one, however many processes share it. So the same command gives the same genotype on one device and on eight, no rate
or epoch count has to be adapted, and D1 and D2 stay disjoint over processes. Gradients, of the weights and of the
architecture parameters, are added up over processes, each row counting once; so every process makes the same update.

Noise differs: every process has its own stream of dropout. Without dropout, several processes give what one gives up to
rounding; with it, what one gives with another seed of dropout. Relaxation `gumbel_softmax` draws its noise per forward
pass, so in every process (and micro-batch) anew: a step then averages over that many samples instead of taking one.

In a single process nothing here does anything.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from exitnas.errors import ExitnasError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")

#: Where launchers say how many processes they started.
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
#: Where launchers say which of them this one is.
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
#: Gradients travel in pieces of about this many bytes.
BUCKET_BYTES = 32 * 2**20


def _group() -> Any:
    """`torch.distributed` where a group of processes is up, else None; torch is not imported just to ask."""
    distributed = sys.modules.get("torch.distributed")
    return distributed if distributed and distributed.is_available() and distributed.is_initialized() else None


def processes() -> int:
    """How many processes work on this job; 1 before they have joined."""
    group = _group()
    return group.get_world_size() if group else 1


def rank() -> int:
    """The number of this process, from 0."""
    group = _group()
    return group.get_rank() if group else 0


def is_main() -> bool:
    """Whether this process is the one that writes and prints."""
    return rank() == 0


def launched() -> int:
    """How many processes the launcher started together (torchrun, accelerate, MPI), from its environment variables."""
    return _told(SIZES, 1)


def launched_rank() -> int:
    """The number that the launcher gave this process, from 0."""
    return _told(RANKS, 0)


def _told(names: tuple[str, ...], missing: int) -> int:
    """The largest of some environment variables that hold whole numbers."""
    found = missing
    for name in names:
        value = os.environ.get(name) or str(missing)
        if not value.isdigit():
            raise UsageError(
                f"environment variable {name}: expected a whole number, got {value!r}; start with torchrun"
            )
        found = max(found, int(value))
    return found


def on_cpu() -> bool:
    """Whether this runs under `accelerate launch --cpu`."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("y", "yes", "t", "true", "on", "1")


def join(cpu: bool = False) -> None:
    """Meet the other processes, if this one was started among several.

    Tensors travel by NCCL between GPUs and by gloo between CPUs, or where several processes share a GPU.

    Args:
        cpu: use no GPU even if there is one.

    Raises:
        UsageError: the environment speaks of several processes, but not of how they meet.
    """
    if processes() > 1 or launched() == 1:
        return
    import torch
    from accelerate import PartialState

    how: dict[str, Any] = {"cpu": True}
    if not cpu and torch.cuda.is_available():
        alone = _told(("LOCAL_WORLD_SIZE",), 1) <= torch.cuda.device_count()
        how = {"backend": "cpu:gloo,cuda:nccl" if alone else "gloo"}
    try:
        PartialState(**how)
    except ValueError as error:  # a variable that the rendezvous needs is not set
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"started as one of {launched()} processes that cannot find each other ({reason}): start them with torchrun"
        ) from None


def part() -> None:
    """Leave the other processes; torch's threads end here, not in the interpreter's shutdown, which they can abort."""
    group = _group()
    if group:
        group.destroy_process_group()


@contextmanager
def agreed() -> Iterator[None]:
    """Inside, what goes wrong in one process goes wrong in all: each raises the first one's `ExitnasError`.

    A file that cannot be read or written is told as such an error too.
    """
    failure: ExitnasError | None = None
    try:
        yield
    except ExitnasError as error:
        if processes() == 1:
            raise
        failure = error
    except OSError as error:
        if processes() == 1 or error.filename is None:
            raise
        failure = ExitnasError(f"{error.filename}: {error.strerror}")
    for other in gathered([failure]):
        if other is not None:
            raise other


def gathered(values: list[T]) -> list[T]:
    """The lists of all processes, one after the other."""
    if processes() == 1:
        return values
    from accelerate.utils import gather_object

    return gather_object(values)


def check_alike(what: str, value: Any, advice: str) -> None:
    """Refuse to work on what is not the same in all processes.

    Args:
        value: made of numbers and texts.

    Raises:
        ExitnasError: in every process, when one has another value.
    """
    values = gathered([value])
    if any(other != values[0] for other in values):
        found = " and ".join(dict.fromkeys(str(other) for other in values))
        raise ExitnasError(f"the processes have different {what} ({found}): {advice}")


def begin(model: "nn.Module", seed: int) -> None:
    """Check that all processes start from the same weights; from here on each draws noise of its own.

    Process 0 goes on with the stream of torch's generators, which is that of a single process.

    Raises:
        ExitnasError: the weights differ, for example because a file does on one machine.
    """
    if processes() == 1:
        return
    import torch

    check_alike("weights to start from", weight_sum(model), "give every machine the same backbone files and versions")
    if not is_main():
        seeds = torch.randint(2**31, (processes(),), generator=torch.Generator().manual_seed(seed))
        torch.manual_seed(int(seeds[rank()]))


def weight_sum(model: "nn.Module") -> str:
    """The sum of the magnitudes of all weights, to eight digits, by which two models are told apart."""
    return f"{sum(float(p.detach().double().abs().sum()) for p in model.parameters()):.8g}"


def cut(batch: dict[str, "Tensor"], accumulate: int = 1) -> list[tuple[dict[str, "Tensor"], float]]:
    """This process's rows of a global batch, in at most `accumulate` micro-batches, each with its share of all rows.

    The loss of the whole batch, a mean over rows, is the sum of share times loss over the micro-batches of all
    processes. A process that gets no row of a short batch takes one with share 0, so that it takes part in all that
    the others do.

    Args:
        batch: tensors `[B, ...]`, the same in every process.
    """
    if processes() == accumulate == 1:
        return [(batch, 1.0)]
    rows = len(batch["labels"])
    parts = []
    for number in range(accumulate):
        part = {name: tensor[rank() :: processes()][number::accumulate] for name, tensor in batch.items()}
        if len(part["labels"]):
            parts.append((part, len(part["labels"]) / rows))
    return parts or [({name: tensor[:1] for name, tensor in batch.items()}, 0.0)]


def add_up(tensors: list["Tensor"]) -> None:
    """Replace every tensor by its sum over processes, in place, a few large messages for all of them.

    All processes pass tensors of the same shapes in the same order.
    """
    if processes() == 1:
        return
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        bucket.append(tensor)
        size += tensor.numel() * tensor.element_size()
        if size >= BUCKET_BYTES:
            _add_up_flat(bucket)
            bucket, size = [], 0
    if bucket:
        _add_up_flat(bucket)


def _add_up_flat(tensors: list["Tensor"]) -> None:
    import torch

    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    torch.distributed.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def gradients(parameters: list["nn.Parameter"]) -> list["Tensor"]:
    """The gradients there are; the same parameters have one in every process."""
    return [p.grad for p in parameters if p.grad is not None]
