"""The training loop of retraining: stages of an objective, one flat sequence per step, best checkpoint kept."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from exitnas.errors import ExitnasError
from exitnas.modeling.model import MultiExitForSequenceClassification
from exitnas.objectives.base import Stage, Step
from exitnas.objectives.plan import TrainingPlan
from exitnas.reporting.progress import Reporter
from exitnas.reporting.tensorboard import Scalars
from exitnas.settings import RetrainSettings
from exitnas.training.batches import shuffled
from exitnas.training.device import to_device
from exitnas.training.evaluation import all_logits, exit_scores, summarize
from exitnas.training.optimizers import learning_rates, optimized, set_learning_rate, weight_optimizer
from exitnas.training.runs import Run
from exitnas.training.schedules import linear
from exitnas.training.setup import Setup
from exitnas.training.step import Batch, train_step
from exitnas.training.traces import Traces


@dataclass
class FitState:
    """All state of the loop beside the model, the weighting, the gradient rule and torch's generators.

    Attributes:
        generator: draws D1 and D2 where there are such, and the order of the rows.
        epoch, step: completed, over all stages.
        best_score, best_weights: of the best checkpoint of the current stage.
    """

    generator: torch.Generator
    epoch: int = 0
    step: int = 0
    best_score: float = -float("inf")
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def fit(
    model: MultiExitForSequenceClassification,
    setup: Setup,
    settings: RetrainSettings,
    plan: TrainingPlan,
    seed: int,
    run: Run,
    scalars: Scalars,
    report: Reporter,
) -> dict[str, Any]:
    """Train `model` in place; it ends with the weights of the best checkpoint of the last stage.

    Every epoch is evaluated on dev; a stage keeps the checkpoint with the best AVG over exits, or the best last exit
    where the objective says so. Where the weighting needs a D2, an epoch passes over D1 only, drawn anew each time.

    Returns:
        What the weighting and the gradient rule have to tell at the end: `loss_weights`, `angles_above_90`.
    """
    state = FitState(torch.Generator().manual_seed(seed))
    parts = plan.start(len(model.exits), seed, setup.device)
    if parts.weighting.splits and len(setup.train) < 2:
        raise ExitnasError(f"weighting {plan.weighting!r} halves the training rows: expected at least 2, got 1")
    traces = Traces(run, seed, scalars, plan.objective.columns(len(model.exits)))
    everything = list(range(len(setup.train)))
    per_epoch = -(-parts.weighting.first_rows(len(everything)) // settings.batch_size)
    stages = _stages(plan, len(model.exits))
    told: dict[str, Any] = {}
    for number, (stage, epochs) in enumerate(zip(stages, epochs_per_stage(stages, settings.epochs), strict=True)):
        optimizer = stage_optimizer(model, stage, settings)
        trained = optimized(optimizer)
        chosen = {id(p) for p in trained}
        frozen = [p for p in model.parameters() if id(p) not in chosen]
        state.best_score = -float("inf")
        begin = state.step
        for epoch in range(1, epochs + 1):
            losses = []
            first, second = parts.weighting.split(everything, state.generator)
            order = shuffled(setup.train, first, settings.batch_size, state.generator)
            other = _endless(setup, second, settings.batch_size, state.generator)
            model.train()
            for rows in report.track(order, f"{stage.name} epoch {epoch}/{epochs}", len(order)):
                batch = to_device(setup.train.batch(rows), setup.device)
                set_learning_rate(optimizer, linear(state.step - begin, per_epoch * epochs, settings.warmup))
                where = Step(state.step, state.epoch, number)
                losses.append(train_step(model, batch, other, parts, optimizer, trained, frozen, where, settings))
                traces.angle(state.step, parts.gradient)
                state.step += 1
            state.epoch += 1

            logits = all_logits(model, setup.dev, settings.batch_size, setup.device, settings.precision)
            result = summarize(exit_scores(logits, setup.data.dev, setup.spec))
            mean = sum(losses) / len(losses)
            rates = learning_rates(optimizer)
            told = traces.epoch(state.step, parts)
            run.log(
                seed=seed,
                stage=stage.name,
                epoch=state.epoch,
                step=state.step,
                split="dev",
                loss=mean,
                rates=rates,
                **result,
                **told,
            )
            scalars.evaluation(state.step, {"weights": mean}, result, rates)
            report.line(
                f"seed {seed}, {stage.name} epoch {epoch}/{epochs}: loss {mean:.3f}, "
                f"dev avg {100 * result['avg']:.1f}, best {100 * result['best']:.1f}"
            )
            score = result["avg"] if stage.select == "avg" else result["exits"][-1]
            if score > state.best_score:
                state.best_score = score
                state.best_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(state.best_weights)
    return told


def _stages(plan: TrainingPlan, exits: int) -> tuple[Stage, ...]:
    """The objective's stages; without those for early exits where the last exit is the only one."""
    stages = plan.objective.stages()
    if exits > 1:
        return stages
    return tuple(replace(stage, share=1.0) for stage in stages if stage.exits != "early")


def epochs_per_stage(stages: tuple[Stage, ...], epochs: int) -> list[int]:
    """Divide `epochs` by the stages' shares; every stage gets at least one, so the sum can exceed `epochs`."""
    bounds, total = [0.0], 0.0
    for stage in stages:
        total += stage.share
        bounds.append(total * epochs)
    return [max(1, round(end) - round(start)) for start, end in pairwise(bounds)]


def _endless(setup: Setup, rows: list[int], size: int, generator: torch.Generator) -> Callable[[], Batch]:
    """A function that gives batches of `rows` without end, each pass in a new order; draws on its first call."""

    def batches() -> Any:
        while True:
            for chosen in shuffled(setup.train, rows, size, generator):
                yield to_device(setup.train.batch(chosen), setup.device)

    supply = batches()
    return lambda: next(supply)


def stage_optimizer(
    model: MultiExitForSequenceClassification, stage: Stage, settings: RetrainSettings
) -> torch.optim.AdamW:
    """AdamW over the parts of `model` that `stage` trains; a certainty head counts as an exit of every stage."""
    exits: Any = model.exits
    chosen = {"all": exits, "last": exits[-1:], "early": exits[:-1]}[stage.exits]
    if model.certainty is not None:
        chosen = nn.ModuleList([*chosen, model.certainty])
    backbone: nn.Module = model.backbone if stage.backbone else nn.Module()
    return weight_optimizer(
        backbone, chosen, lr=settings.lr, exit_lr=settings.exit_lr, weight_decay=settings.weight_decay
    )
