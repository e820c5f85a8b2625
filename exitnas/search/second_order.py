"""The architecture step of second-order search: through one step of the weights (DARTS 2.3, eq. 6-8)."""

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from exitnas.distributed import add_up, cut
from exitnas.objectives.base import task_losses
from exitnas.search.state import SearchState
from exitnas.training.checkpoint import generators, set_generators
from exitnas.training.evaluation import forward
from exitnas.training.guard import check_finite
from exitnas.training.optimizers import differentiating, learning_rates, optimized, set_learning_rate

#: Length by which all weights together are moved to either side for eq. 8's difference. DARTS has 0.01; with MiniLM-L6
#: units of relu and max pooling then switch in between, and a third of the second term is wrong (24 rows of MRPC,
#: against autograd). At 0.001 it is 0.1%, at 0.0001 rounding makes it 1%.
LENGTH = 0.001


def second_order_step(
    state: SearchState,
    upper: dict[str, Tensor],
    lower: dict[str, Tensor],
    factor: float,
    clip: float,
    scaled: bool = False,
    accumulate: int = 1,
) -> float:
    """Update the architecture parameters by the gradient of L_D2(w'(alpha), alpha) (DARTS eq. 6); returns that loss.

    w' is where the next weight step would take the weights. DARTS has plain descent, w' = w - xi grad L_D1(w, alpha);
    weights are trained by AdamW here, whose rates are made for steps of about unit size and would leave next to nothing
    of plain descent, so w' is AdamW's own step, with the gradient's clipping and its second moment taken as constants.
    With u = S grad_w' L_D2, where S is minus the derivative of w' by the gradient (xi in DARTS), eq. 7 and 8 are

        grad_alpha L_D2(w', alpha) - (grad_alpha L_D1(w + e u, alpha) - grad_alpha L_D1(w - e u, alpha)) / (2 e)

    with e = 0.001 / |u|. Both sides of the difference see the same dropout and the same noise of the relaxation. The
    weights and their optimizer are left as they were. Memory for a few more copies of the weights is needed. In fp32
    alone: a difference of rounded numbers would be noise.

    Args:
        upper: a batch of D2, `lower`: the batch of D1 that the weights learn from next. The whole of each, in every
            process; each takes its rows.
        factor: of the learning rates in that step.
        clip: largest norm of the weights' gradient in that step.
        scaled: let every exit have a scale of its own in L_D2 (`Supernet.log_scales`).
        accumulate: micro-batches per process.
    """
    alphas, weights = optimized(state.architecture), optimized(state.weights)
    set_learning_rate(state.weights, factor)
    gradient = _gradients(state, lower, weights, alphas, accumulate)[1]
    before = [weight.detach().clone() for weight in weights]
    sensitivities = virtual_step(state.weights, gradient, clip)
    losses, found = _gradients(state, upper, [*alphas, *weights], [], accumulate, scaled)
    direct, beyond = found[: len(alphas)], found[len(alphas) :]
    direction = [s * v for s, v in zip(sensitivities, beyond, strict=True)]
    length = float(get_total_norm(direction))
    if length > 0:
        e, noise, sides = LENGTH / length, generators(), []
        for sign in (1, -1):
            _move(weights, before, direction, sign * e)
            set_generators(noise)
            sides.append(_gradients(state, lower, alphas, weights, accumulate)[1])
        direct = [d - (plus - minus) / (2 * e) for d, plus, minus in zip(direct, *sides, strict=True)]
    _move(weights, before, direction, 0)
    for alpha, value in zip(alphas, direct, strict=True):
        alpha.grad = value
    state.architecture.step()
    return float(losses.sum())


def _gradients(
    state: SearchState,
    batch: dict[str, Tensor],
    wanted: list[nn.Parameter],
    unwanted: list[nn.Parameter],
    accumulate: int,
    scaled: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """Losses `[E, 1]` of the whole batch and their sum's gradients by `wanted`, zero where there is none."""
    totals = [torch.zeros_like(parameter) for parameter in wanted]
    measured = []
    with differentiating(wanted, unwanted):
        for part, share in cut(batch, accumulate):
            logits = forward(state.supernet, part, "fp32")
            if scaled:
                logits = state.supernet.scaled(logits)
            losses = share * task_losses(logits, part["labels"])
            for total, found in zip(totals, torch.autograd.grad(losses.sum(), wanted, allow_unused=True), strict=True):
                if found is not None:
                    total += found
            measured.append(losses.detach())
    whole = torch.stack(measured).sum(0)
    add_up([whole, *totals])
    check_finite(whole.sum(), whole, state.step, learning_rates(state.weights, state.architecture))
    return whole, totals


@torch.no_grad()
def virtual_step(optimizer: torch.optim.AdamW, gradients: list[Tensor], clip: float) -> list[Tensor]:
    """Move the weights as the optimizer's next step on `gradients` would; its own state stays as it is.

    Returns:
        Per weight, minus the derivative of its new value by its gradient, clipping and second moment taken as constant;
        zero where the gradient is zero. The loss does not depend on such a weight, for example an embedding of a word
        that the batch has not, so it has no part in eq. 7; AdamW's slope there is 1 / eps and would drown the others.
    """
    shrink = min(1.0, clip / (float(get_total_norm(gradients)) + 1e-6))  # as torch's clip_grad_norm_ has it
    steps = [float(own["step"]) for own in list(optimizer.state.values())[:1]]
    step = (steps[0] if steps else 0.0) + 1
    sensitivities = []
    pairs = [(group, weight) for group in optimizer.param_groups for weight in group["params"]]
    for (group, weight), gradient in zip(pairs, gradients, strict=True):
        beta1, beta2 = group["betas"]
        own = optimizer.state.get(weight) or {
            "exp_avg": torch.zeros_like(weight),
            "exp_avg_sq": torch.zeros_like(weight),
        }
        clipped = shrink * gradient
        mean = beta1 * own["exp_avg"] + (1 - beta1) * clipped
        square = beta2 * own["exp_avg_sq"] + (1 - beta2) * clipped**2
        scale = group["lr"] / (1 - beta1**step) / ((square / (1 - beta2**step)).sqrt() + group["eps"])
        weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(scale * mean)
        sensitivities.append((shrink * (1 - beta1) * scale).masked_fill_(gradient == 0, 0))
    return sensitivities


@torch.no_grad()
def _move(weights: list[nn.Parameter], before: list[Tensor], direction: list[Tensor], by: float) -> None:
    """Set the weights to `before + by * direction`."""
    for weight, start, along in zip(weights, before, direction, strict=True):
        weight.copy_(start if by == 0 else start + by * along)
