"""The training loop of retraining: stages of an objective, one flat sequence per step, best checkpoint kept."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from exitnas.modeling.model import MultiExitModel
from exitnas.objectives.base import Objective, Stage, Step
from exitnas.reporting.progress import Reporter
from exitnas.reporting.tensorboard import Scalars
from exitnas.training.batches import shuffled
from exitnas.training.device import to_device
from exitnas.training.evaluation import all_logits, exit_scores, forward, summarize
from exitnas.training.guard import check_finite
from exitnas.training.optimizers import differentiating, optimized, set_learning_rate, weight_optimizer
from exitnas.training.runs import Run
from exitnas.training.schedules import linear
from exitnas.training.settings import RetrainSettings
from exitnas.training.setup import Setup


@dataclass
class FitState:
    """All state of the loop beside the model and torch's generators.

    Attributes:
        generator: draws the order of the rows.
        epoch, step: completed, over all stages.
        best_score, best_weights: of the best checkpoint of the current stage.
    """

    generator: torch.Generator
    epoch: int = 0
    step: int = 0
    best_score: float = -float("inf")
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def fit(
    model: MultiExitModel,
    setup: Setup,
    settings: RetrainSettings,
    objective: Objective,
    seed: int,
    run: Run,
    scalars: Scalars,
    report: Reporter,
) -> None:
    """Train `model` in place; it ends with the weights of the best checkpoint of the last stage.

    Every epoch is evaluated on dev; a stage keeps the checkpoint with the best AVG over exits, or the best last exit
    where the objective says so.
    """
    state = FitState(torch.Generator().manual_seed(seed))
    for stage, epochs in zip(objective.stages(), epochs_per_stage(objective.stages(), settings.epochs), strict=True):
        optimizer = _stage_optimizer(model, stage, settings)
        trained = optimized(optimizer)
        chosen = {id(p) for p in trained}
        frozen = [p for p in model.parameters() if id(p) not in chosen]
        state.best_score = -float("inf")
        begin, per_epoch = state.step, -(-len(setup.train) // settings.batch_size)
        for epoch in range(1, epochs + 1):
            losses = []
            order = shuffled(setup.train, list(range(len(setup.train))), settings.batch_size, state.generator)
            model.train()
            for rows in report.track(order, f"{stage.name} epoch {epoch}/{epochs}", len(order)):
                batch = to_device(setup.train.batch(rows), setup.device)
                set_learning_rate(optimizer, linear(state.step - begin, per_epoch * epochs, settings.warmup))
                with differentiating(trained, frozen):
                    logits = forward(model, batch, settings.precision)
                    terms = objective.terms(logits, batch["labels"], Step(state.step, state.epoch))
                    loss = terms.total()
                    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
                    losses.append(check_finite(loss, terms.losses, state.step, rates))
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                clip_grad_norm_(trained, settings.clip)
                optimizer.step()
                state.step += 1
            state.epoch += 1

            dev_logits = all_logits(model, setup.dev, settings.batch_size, setup.device, settings.precision)
            result = summarize(exit_scores(dev_logits, setup.data.dev, setup.spec))
            mean = sum(losses) / len(losses)
            run.log(seed=seed, stage=stage.name, epoch=state.epoch, step=state.step, split="dev", loss=mean, **result)
            scalars.add(state.step, loss__weights=mean)
            scalars.exits(state.step, "dev", result["exits"], result["avg"], result["best"])
            report.line(
                f"seed {seed}, {stage.name} epoch {epoch}/{epochs}: loss {mean:.3f}, "
                f"dev avg {100 * result['avg']:.1f}, best {100 * result['best']:.1f}"
            )
            score = result["avg"] if stage.select == "avg" else result["exits"][-1]
            if score > state.best_score:
                state.best_score = score
                state.best_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(state.best_weights)


def epochs_per_stage(stages: tuple[Stage, ...], epochs: int) -> list[int]:
    """Divide `epochs` by the stages' shares; every stage gets at least one, so the sum can exceed `epochs`."""
    bounds, total = [0.0], 0.0
    for stage in stages:
        total += stage.share
        bounds.append(total * epochs)
    return [max(1, round(end) - round(start)) for start, end in pairwise(bounds)]


def _stage_optimizer(model: MultiExitModel, stage: Stage, settings: RetrainSettings) -> torch.optim.AdamW:
    exits: Any = model.exits
    chosen = {"all": exits, "last": exits[-1:], "early": exits[:-1]}[stage.exits]
    backbone: nn.Module = model.backbone if stage.backbone else nn.Module()
    return weight_optimizer(
        backbone, chosen, lr=settings.lr, exit_lr=settings.exit_lr, weight_decay=settings.weight_decay
    )
