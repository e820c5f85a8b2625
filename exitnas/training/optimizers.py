"""AdamW for the parts of a multi-exit model, each with its own learning rate."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

NO_DECAY = ("bias", "norm", "LayerNorm", "layer_norm")


def weight_optimizer(
    backbone: nn.Module, exits: nn.Module, *, lr: float, exit_lr: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW over backbone (rate `lr`) and exits (rate `exit_lr`); biases and normalizations are not decayed."""
    groups = []
    for name, module, rate in (("backbone", backbone, lr), ("exits", exits, exit_lr)):
        for decay in (True, False):
            parameters = [p for n, p in module.named_parameters() if any(k in n for k in NO_DECAY) != decay]
            groups.append(
                {
                    "params": parameters,
                    "lr": rate,
                    "base_lr": rate,
                    "weight_decay": weight_decay if decay else 0.0,
                    "name": f"{name}{'' if decay else ' (no decay)'}",
                }
            )
    # The fused step reads every tensor once; on a CPU it is several times faster than the plain loop.
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)


def architecture_optimizer(parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the parameters of the upper level, with the betas of DARTS (0.5, 0.999)."""
    group = {"params": list(parameters), "name": "architecture"}
    return torch.optim.AdamW([group], lr=lr, betas=(0.5, 0.999), weight_decay=weight_decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale every group's rate from its `base_lr`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def learning_rates(*optimizers: torch.optim.Optimizer) -> dict[str, float]:
    """Name of every group -> its learning rate now."""
    return {group["name"]: group["lr"] for optimizer in optimizers for group in optimizer.param_groups}


def optimized(*optimizers: torch.optim.Optimizer) -> list[nn.Parameter]:
    """All parameters the optimizers update, in order."""
    return [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]


def assert_partition(model: nn.Module, *optimizers: torch.optim.Optimizer) -> None:
    """Fail unless every parameter of `model` belongs to exactly one group of exactly one optimizer."""
    seen = [id(p) for p in optimized(*optimizers)]
    assert len(seen) == len(set(seen)), "a parameter is updated by two optimizers or groups"
    missing = [name for name, p in model.named_parameters() if id(p) not in set(seen)]
    assert not missing, f"parameters that no optimizer updates: {', '.join(missing)}"
    assert len(seen) == len(list(model.parameters())), "an optimizer updates parameters from outside the model"


@contextmanager
def differentiating(wanted: Iterable[nn.Parameter], unwanted: Iterable[nn.Parameter]) -> Iterator[None]:
    """Inside, gradients flow to `wanted` only; nothing is computed for `unwanted`. Restored on exit."""
    wanted = list(wanted)
    parameters = [(p, p.requires_grad) for p in [*wanted, *unwanted]]
    chosen = {id(p) for p in wanted}
    try:
        for p, _ in parameters:
            p.requires_grad_(id(p) in chosen)
        yield
    finally:
        for p, before in parameters:
            p.requires_grad_(before)
