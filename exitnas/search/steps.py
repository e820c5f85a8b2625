"""The two steps of first-order bilevel search (DARTS; LECO 3.2), each differentiating only what it updates."""

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from exitnas.distributed import add_up, cut, gradients
from exitnas.objectives.base import task_losses
from exitnas.search.state import SearchState
from exitnas.training.evaluation import forward, hidden_states
from exitnas.training.guard import check_finite
from exitnas.training.optimizers import differentiating, learning_rates, optimized, set_learning_rate


def architecture_step(
    state: SearchState, batch: dict[str, Tensor], precision: str, scaled: bool = False, accumulate: int = 1
) -> float:
    """Update the architecture parameters on a batch of D2 by the joint loss (LECO eq. 1); returns that loss.

    The loss reaches them through the exits only, so the backbone runs without gradient: the gradient is the same,
    and neither the backbone's nor the exits' weights are differentiated.

    Args:
        batch: the whole of it, in every process; each takes its rows.
        scaled: let every exit have a scale of its own, learned here (`Supernet.log_scales`).
        accumulate: micro-batches per process.
    """
    supernet = state.supernet
    alphas = optimized(state.architecture)
    state.architecture.zero_grad(set_to_none=True)
    measured = []
    with differentiating(alphas, supernet.exits.parameters()):
        for part, share in cut(batch, accumulate):
            with torch.no_grad():
                states, mask = hidden_states(supernet.backbone, part, precision)
            logits = supernet.exit_logits(states, mask)
            if scaled:
                logits = supernet.scaled(logits)
            losses = share * task_losses(logits, part["labels"])
            losses.sum().backward()
            measured.append(losses.detach())
    losses = torch.stack(measured).sum(0)
    add_up([losses, *gradients(alphas)])
    value = check_finite(losses.sum(), losses, state.step, {"arch-lr": state.architecture.param_groups[0]["lr"]})
    state.architecture.step()
    return value


def weight_step(
    state: SearchState, batch: dict[str, Tensor], precision: str, factor: float, clip: float, accumulate: int = 1
) -> float:
    """Update backbone and exits on a batch of D1 by the joint loss (LECO eq. 1); returns that loss.

    Args:
        batch: the whole of it, in every process; each takes its rows.
        factor: of the learning rates.
        clip: largest norm of the gradient.
        accumulate: micro-batches per process.
    """
    weights = optimized(state.weights)
    set_learning_rate(state.weights, factor)
    state.weights.zero_grad(set_to_none=True)
    measured = []
    with differentiating(weights, optimized(state.architecture)):
        for part, share in cut(batch, accumulate):
            losses = share * task_losses(forward(state.supernet, part, precision), part["labels"])
            losses.sum().backward()
            measured.append(losses.detach())
    losses = torch.stack(measured).sum(0)
    add_up([losses, *gradients(weights)])
    rates = learning_rates(state.weights)
    value = check_finite(losses.sum(), losses, state.step, rates)
    clip_grad_norm_(weights, clip)
    state.weights.step()
    state.step += 1
    return value
