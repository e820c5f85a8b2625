"""Wall-clock time: contestants take turns on the same batches, so that drift of the machine hits all alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exitnas.errors import require
from exitnas.inference.engine import run
from exitnas.policies.base import Policy, no_early_exit
from exitnas.training.batches import Encoded
from exitnas.training.device import backbone_precision, to_device

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Contestant:
    """Something that answers batches.

    Attributes:
        name: shown in the table.
        answer: takes a batch on its device and returns how many layers each row took, `[B]` int64 on that device.
        data: the rows, tokenized as this contestant wants them.
        kind: `"stock"`, `"nobody leaves"`, `"policy"` or `"baseline"`; `"stock"` is what the others are compared with.
    """

    name: str
    answer: Callable[[Batch], Tensor]
    data: Encoded
    kind: str = "policy"


@dataclass(frozen=True)
class Speed:
    """One contestant's time at one batch size. Tokenization and the transfer to the device are not counted.

    Attributes:
        name, kind: as of the contestant.
        batch_size: rows per batch; the last batch may hold fewer.
        rows: how many rows were run.
        median_ms, p95_ms: latency of a batch in milliseconds: the median and the 95th percentile over the batches,
            of each batch the median over rounds.
        rows_per_second: throughput, rows over the sum of the batches' times.
        speedup: the stock model's time over this one's, both summed over the batches; above 1 is faster.
        layer_speedup: the stock model's layers over the mean number of layers run per row.
    """

    name: str
    kind: str
    batch_size: int
    rows: int
    median_ms: float
    p95_ms: float
    rows_per_second: float
    speedup: float
    layer_speedup: float


@dataclass(frozen=True)
class Timing:
    """Seconds per sample at batch 1.

    Attributes:
        full: with early exit off: all layers, the last exit only.
        early: with the policy.
        speedup: ratio full / early. LECO 3.1.1 reports 1 - early / full, which is `reduction`.
        samples, rounds: how many samples were run how many times; medians over rounds.
    """

    full: float
    early: float
    samples: int
    rounds: int

    @property
    def speedup(self) -> float:
        """full / early; above 1 means early exit is faster."""
        return self.full / self.early

    @property
    def reduction(self) -> float:
        """1 - early / full: the share of the time that early exit saves (LECO 3.1.1)."""
        return 1 - self.early / self.full


def spread_rows(data: Encoded, samples: int) -> list[int]:
    """At most `samples` rows, evenly spaced over the split."""
    count = min(samples, len(data))
    return [round(i * (len(data) - 1) / max(1, count - 1)) for i in range(count)]


def even_batches(data: Encoded, samples: int, batch_size: int) -> list[list[int]]:
    """`spread_rows` in batches of rows of similar length, longest first; each is padded to its own longest row.

    Raises:
        UsageError: no rows, or a batch size or number of samples below 1.
    """
    require(batch_size >= 1, f"expected a batch size of at least 1, got {batch_size}")
    require(samples >= 1, f"expected at least 1 row to time, got {samples}")
    require(len(data) > 0, "there are no rows to time: the split is empty; choose another --split")
    rows = sorted(spread_rows(data, samples), key=data.length, reverse=True)
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def race(
    contestants: Sequence[Contestant],
    batches: Sequence[list[int]],
    device: torch.device,
    *,
    rounds: int = 3,
    precision: str = "fp32",
) -> tuple[np.ndarray, list[float]]:
    """Run every contestant on every batch, `rounds` times after a round that is not counted.

    Contestants take turns batch by batch, and who begins changes with every batch and round. On a GPU the clock starts
    and stops after all work is done.

    Args:
        batches: row indices, batch by batch; the same rows for all.
        precision: of backbones, `"fp32"` or `"bf16"`; exits are fp32 either way.

    Returns:
        seconds `[contestants, batches]`, medians over rounds, and per contestant the mean number of layers per row.
    """
    require(rounds >= 1, f"expected at least 1 round, got {rounds}")
    count = len(contestants)
    times = np.zeros((rounds, count, len(batches)))
    layers: list[list[Tensor]] = [[] for _ in contestants]
    for number in range(-1, rounds):
        for position, rows in enumerate(batches):
            for turn in range(count):
                index = (turn + position + number) % count
                contestant = contestants[index]
                batch = to_device(contestant.data.batch(rows), device)
                with backbone_precision(device, precision):
                    _wait(device)
                    began = perf_counter()
                    taken = contestant.answer(batch)
                    _wait(device)
                    elapsed = perf_counter() - began
                if number >= 0:
                    times[number, index, position] = elapsed
                else:
                    layers[index].append(taken.cpu())
    return np.median(times, axis=0), [fmean(torch.cat(taken).tolist()) for taken in layers]


def measure_speed(
    contestants: Sequence[Contestant],
    device: torch.device,
    *,
    batch_size: int = 1,
    samples: int = 64,
    rounds: int = 3,
    precision: str = "fp32",
) -> list[Speed]:
    """The speed of every contestant at one batch size, against the first, in the order given.

    Args:
        contestants: the first is the stock model; its rows say which rows make a batch.
        samples: rows to run, evenly spaced over the split.

    Raises:
        UsageError: nothing to time, or a number below 1.
    """
    batches = even_batches(contestants[0].data, samples, batch_size)
    seconds, layers = race(contestants, batches, device, rounds=rounds, precision=precision)
    rows = sum(map(len, batches))
    totals = seconds.sum(axis=1)
    return [
        Speed(
            name=contestant.name,
            kind=contestant.kind,
            batch_size=batch_size,
            rows=rows,
            median_ms=1000 * float(np.median(seconds[index])),
            p95_ms=1000 * float(np.percentile(seconds[index], 95)),
            rows_per_second=rows / float(totals[index]),
            speedup=float(totals[0] / totals[index]),
            layer_speedup=layers[0] / layers[index],
        )
        for index, contestant in enumerate(contestants)
    ]


def time_policies(
    model: Any, data: Encoded, policies: list[Policy], *, samples: int = 64, rounds: int = 3, precision: str = "fp32"
) -> list[Timing]:
    """Time every policy at batch 1 against the same model with early exit off.

    Args:
        model: in eval mode.
        samples: rows to run, evenly spaced over `data`.
        rounds: repetitions; the median counts. LECO runs the test set ten times.
    """
    device = next(model.parameters()).device
    off = no_early_exit(len(model.exits))
    contestants = [early_exit(policy.name, model, data, policy) for policy in (off, *policies)]
    batches = even_batches(data, samples, 1)
    seconds, _ = race(contestants, batches, device, rounds=rounds, precision=precision)
    full, *early = (float(total) / len(batches) for total in seconds.sum(axis=1))
    return [Timing(full, value, len(batches), rounds) for value in early]


def early_exit(name: str, model: Any, data: Encoded, policy: Policy, kind: str = "policy") -> Contestant:
    """A multi-exit model under a policy, run by the engine."""
    return Contestant(name, lambda batch: run(model, batch, policy).exits, data, kind)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
