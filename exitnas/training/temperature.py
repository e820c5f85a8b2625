"""Temperature scaling: one number per exit that makes its probabilities as honest as it can (Guo et al. 2017)."""

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional

#: Temperatures searched lie between 1/RANGE and RANGE.
RANGE = 20.0


def best_temperature(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """The temperature t that minimizes the mean cross-entropy of `logits / t` (Guo et al. 2017, section 4.2).

    Args:
        logits: `[N, C]`.
        labels: `[N]` int64 classes.

    Returns:
        t in [1/20, 20] and the loss at t in nats, infinite where `logits` hold no numbers.
    """
    values = logits.detach().double().cpu()
    if not bool(values.isfinite().all()):
        return 1.0, float("inf")
    classes = labels.cpu()

    def loss(log_temperature: float) -> float:
        return float(functional.cross_entropy(values * math.exp(-log_temperature), classes))

    # The loss is convex in 1/t, so it has one minimum over log t as well.
    bound = math.log(RANGE)
    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-3})
    return math.exp(float(found.x)), float(found.fun)


def exit_temperatures(logits: Tensor, labels: Tensor) -> list[float]:
    """`best_temperature` of every exit, first layer first.

    Args:
        logits: `[N, E, C]` of all exits, C at least 2.
        labels: `[N]` int64 classes.

    Returns:
        E numbers, for `MultiExitConfig.temperatures`.
    """
    return [best_temperature(logits[:, index], labels)[0] for index in range(logits.shape[1])]


def tempered(logits: Tensor, temperatures: list[float]) -> Tensor:
    """Logits `[N, E, C]` divided by one temperature per exit (Guo et al. 2017, eq. 9)."""
    return logits / torch.tensor(temperatures, dtype=logits.dtype, device=logits.device)[:, None]
