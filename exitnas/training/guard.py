"""Stopping a run whose loss is no longer a number."""

import torch
from torch import Tensor

from exitnas.errors import ExitnasError


def check_finite(loss: Tensor, terms: Tensor, step: int, rates: dict[str, float]) -> float:
    """The loss as a float.

    Args:
        loss: scalar.
        terms: `[E, K]` loss terms per exit, to name the exits at fault.
        step: number of the step, from 0.
        rates: learning rates in force, named in the message.

    Raises:
        ExitnasError: the loss is NaN or infinite.
    """
    value = float(loss.detach())
    if value - value == 0.0:
        return value
    bad = [index + 1 for index, row in enumerate(terms.detach()) if not torch.isfinite(row).all()]
    where = f"exits {', '.join(map(str, bad))}" if bad else "the total, while every exit's own loss is finite"
    shown = ", ".join(f"{name} {rate:.3g}" for name, rate in rates.items())
    raise ExitnasError(
        f"step {step}: the loss is {value} at {where}; training diverged under {shown}: lower the learning rates"
    )
