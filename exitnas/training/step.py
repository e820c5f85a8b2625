"""One training step: the terms of an objective, their weights, one gradient, one update."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from exitnas.distributed import add_up, cut
from exitnas.objectives.base import Step, Terms
from exitnas.objectives.certainty import with_certainty
from exitnas.objectives.plan import Parts
from exitnas.settings import RetrainSettings
from exitnas.training.evaluation import hidden_states
from exitnas.training.guard import check_finite
from exitnas.training.optimizers import differentiating, learning_rates

Batch = dict[str, Tensor]


def measure(model: Any, batch: Batch, parts: Parts, where: Step, precision: str) -> Terms:
    """One forward: the objective's terms on a batch, with the certainty head's loss where the model has one."""
    labels = batch["labels"]
    states, mask = hidden_states(model.backbone, batch, precision)
    states = parts.gradient.branch(states)
    logits = model.exit_logits(states, mask)
    terms = parts.objective.terms(logits, labels, where, states)
    if model.certainty is None:
        return terms
    return with_certainty(terms, model.certainty, states, mask, logits, labels)


def whole(measured: list[tuple[Terms, float]]) -> Terms:
    """The terms of a whole batch, from those of this process's micro-batches and their shares and the others'."""
    losses = torch.stack([share * terms.losses for terms, share in measured]).sum(0)
    extras = [share * terms.extra for terms, share in measured if terms.extra is not None]
    extra = torch.stack(extras).sum(0) if extras else None
    add_up([losses] if extra is None else [losses, extra])
    return Terms(losses, measured[0][0].coefficients, extra)


def train_step(
    model: Any,
    batch: Batch,
    other: Callable[[], Batch],
    parts: Parts,
    optimizer: torch.optim.Optimizer,
    trained: list[nn.Parameter],
    frozen: list[nn.Parameter],
    where: Step,
    settings: RetrainSettings,
) -> float:
    """Update the `trained` parameters once, then the loss weights if they are learned; returns the weighted loss.

    Args:
        batch: on the model's device; of D1 where the weighting splits the data. The whole of it, in every process: each
            takes its rows, here and of `other`.
        other: gives the next batch of D2; called only by weightings that need one.
        trained, frozen: together all parameters of the model.
        settings: `precision`, `clip` and `accumulate` are read.

    Raises:
        ExitnasError: the loss is not finite.
    """
    optimizer.zero_grad(set_to_none=True)
    measured = []
    with differentiating(trained, frozen):
        for part, share in cut(batch, settings.accumulate):
            terms = measure(model, part, parts, where, settings.precision)
            measured.append((terms.detach(), share))
            terms = parts.weighting.apply(terms).times(share)
            parts.gradient.accumulate(terms, terms.total(), trained)
    seen = whole(measured)
    rates = learning_rates(optimizer)
    loss = check_finite(parts.weighting.apply(seen).total(), seen.losses, where.step, rates)
    parts.gradient.finish(trained, add_up)
    clip_grad_norm_(trained, settings.clip)
    optimizer.step()

    def without_gradient(which: Callable[[], Batch]) -> Terms:
        # In eval mode: the loss weights follow the losses of the model itself, not those of one draw of dropout.
        training = model.training
        model.eval()
        with torch.no_grad():
            cuts = cut(which(), settings.accumulate)
            terms = whole([(measure(model, part, parts, where, settings.precision), share) for part, share in cuts])
        model.train(training)
        return terms

    parts.weighting.update(seen, lambda: without_gradient(lambda: batch), lambda: without_gradient(other))
    return loss
