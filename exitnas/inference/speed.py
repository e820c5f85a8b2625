"""Wall-clock time of early exit at batch 1, against the same model with early exit off."""

from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import torch

from exitnas.inference.engine import run
from exitnas.policies.base import Policy, make_policy
from exitnas.training.batches import Encoded
from exitnas.training.device import to_device


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


def time_policies(
    model: Any, data: Encoded, policies: list[Policy], *, samples: int = 64, rounds: int = 3
) -> list[Timing]:
    """Time every policy at batch 1, all in turn on every sample, so that drift of the machine hits all alike.

    Args:
        model: in eval mode.
        samples: rows to run, evenly spaced over `data`.
        rounds: repetitions; the median counts. LECO runs the test set ten times.
    """
    device = next(model.parameters()).device
    off = make_policy("static", {"exit": len(model.exits)})
    contestants = [off, *policies]
    batches = [to_device(data.batch([row]), device) for row in spread_rows(data, samples)]
    for policy in contestants:
        run(model, batches[0], policy)
    totals: list[list[float]] = [[] for _ in contestants]
    for _ in range(rounds):
        seconds = [0.0] * len(contestants)
        for batch in batches:
            for index, policy in enumerate(contestants):
                seconds[index] += _timed(model, batch, policy, device)
        for index, value in enumerate(seconds):
            totals[index].append(value / len(batches))
    full = median(totals[0])
    return [Timing(full, median(times), len(batches), rounds) for times in totals[1:]]


def _timed(model: Any, batch: Any, policy: Policy, device: torch.device) -> float:
    _wait(device)
    began = perf_counter()
    run(model, batch, policy)
    _wait(device)
    return perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
