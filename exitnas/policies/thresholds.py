"""Choosing thresholds so that a trade-off curve's points spread evenly over the mean executed layers.

Every threshold policy can be written as "leave at the first exit whose signal lies below the threshold" (turn the
sign for those that leave above). A sample is then still running after exit m exactly when the running minimum of its
signal over exits 1..m is not below the threshold, so

    mean executed layers(threshold) = 1 + (number of running minima of exits 1..E-1 not below it) / N,

and quantiles of these running minima are the thresholds that space the curve evenly; no search is needed.
"""

import torch
from torch import Tensor


def cut_points(signal: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """All thresholds that make a difference, and how many layers each one executes.

    Args:
        signal: [N, E]; a sample leaves at the first exit where it lies below the threshold, `inf` where it cannot.
        low: a threshold with which nobody leaves before the last exit.
        high: a threshold with which everybody leaves at the first exit that can let them go.

    Returns:
        thresholds: [K] float64, ascending, halfway between neighbouring observed values.
        layers: [K] int64, executed layers summed over the N samples, descending without repeats.
    """
    running = signal[:, :-1].double().cummin(dim=1).values.flatten()
    finite = running[running.isfinite()]
    values, counts = finite.unique(return_counts=True)
    if len(values) == 0:  # nobody can ever leave early: one point
        thresholds = torch.tensor([low], dtype=torch.float64)
        below = torch.zeros(1, dtype=torch.int64)
    else:
        ends = (torch.tensor([low], dtype=torch.float64), torch.tensor([high], dtype=torch.float64))
        thresholds = torch.cat([ends[0], ((values[1:] + values[:-1]) / 2).cpu(), ends[1]])
        below = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0).cpu()])
    return thresholds, signal.shape[0] + running.numel() - below


def spread(layers: Tensor, points: int) -> list[int]:
    """Which of K settings to keep so that their executed layers spread evenly.

    Takes the setting nearest to each of `points` evenly spaced targets, then fills the widest gaps while settings
    that differ in their layers remain.

    Args:
        layers: [K] executed layers (sum or mean) of each setting, in any order; equal entries are one setting.
        points: how many to keep; both ends are always among them, so at least 2.

    Returns:
        at most `points` indices into `layers`, by ascending layers.
    """
    order = layers.argsort(stable=True)
    ordered = layers[order].double()
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    order, ordered = order[first], ordered[first]
    targets = torch.linspace(float(ordered[0]), float(ordered[-1]), max(points, 2), dtype=torch.float64)
    after = torch.searchsorted(ordered, targets).clamp(max=len(ordered) - 1)
    before = (after - 1).clamp(min=0)
    nearest = torch.where(targets - ordered[before] < ordered[after] - targets, before, after)
    chosen = nearest.unique()
    while len(chosen) < min(points, len(ordered)):
        gap = (ordered[:, None] - ordered[chosen][None, :]).abs().amin(dim=1)
        chosen = torch.cat([chosen, gap.argmax()[None]])
    return order[chosen.sort().values].tolist()


def even_thresholds(signal: Tensor, points: int, low: float, high: float) -> list[float]:
    """`spread` of `cut_points`: at most `points` thresholds for a signal [N, E], fastest first."""
    thresholds, layers = cut_points(signal, low, high)
    return [float(thresholds[index]) for index in spread(layers, points)]
