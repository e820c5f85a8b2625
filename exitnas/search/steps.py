"""The two steps of first-order bilevel search (DARTS; LECO 3.2), each differentiating only what it updates."""

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from exitnas.objectives.base import task_losses
from exitnas.search.state import SearchState
from exitnas.training.evaluation import forward, hidden_states
from exitnas.training.guard import check_finite
from exitnas.training.optimizers import differentiating, optimized, set_learning_rate


def architecture_step(state: SearchState, batch: dict[str, Tensor], precision: str, scaled: bool = False) -> float:
    """Update the architecture parameters on a batch of D2 by the joint loss (LECO eq. 1); returns that loss.

    The loss reaches them through the exits only, so the backbone runs without gradient: the gradient is the same,
    and neither the backbone's nor the exits' weights are differentiated.

    Args:
        scaled: let every exit have a scale of its own, learned here (`Supernet.log_scales`).
    """
    supernet = state.supernet
    alphas = optimized(state.architecture)
    with torch.no_grad():
        states, mask = hidden_states(supernet.backbone, batch, precision)
    with differentiating(alphas, supernet.exits.parameters()):
        logits = supernet.exit_logits(states, mask)
        if scaled:
            logits = supernet.scaled(logits)
        losses = task_losses(logits, batch["labels"])
        loss = losses.sum()
        value = check_finite(loss, losses, state.step, {"arch-lr": state.architecture.param_groups[0]["lr"]})
        state.architecture.zero_grad(set_to_none=True)
        loss.backward()
    state.architecture.step()
    return value


def weight_step(state: SearchState, batch: dict[str, Tensor], precision: str, factor: float, clip: float) -> float:
    """Update backbone and exits on a batch of D1 by the joint loss (LECO eq. 1); returns that loss."""
    weights = optimized(state.weights)
    set_learning_rate(state.weights, factor)
    with differentiating(weights, optimized(state.architecture)):
        losses = task_losses(forward(state.supernet, batch, precision), batch["labels"])
        loss = losses.sum()
        rates = {group["name"]: group["lr"] for group in state.weights.param_groups}
        value = check_finite(loss, losses, state.step, rates)
        state.weights.zero_grad(set_to_none=True)
        loss.backward()
    clip_grad_norm_(weights, clip)
    state.weights.step()
    state.step += 1
    return value
