"""The training loop of retraining: stages of an objective, one flat sequence per step, best checkpoint kept."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from exitnas.errors import ExitnasError
from exitnas.modeling.model import MultiExitForSequenceClassification
from exitnas.objectives.base import Stage, Step
from exitnas.objectives.plan import Parts, TrainingPlan
from exitnas.reporting.progress import Reporter
from exitnas.reporting.tensorboard import Scalars
from exitnas.settings import RetrainSettings
from exitnas.training.batches import shuffled
from exitnas.training.checkpoint import set_generators
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
    """All state of the loop beside the model, its optimizer, the plan's parts and torch's generators.

    Attributes:
        generator: draws D1 and D2 where there are such, and the order of the rows.
        epoch, step: completed, over all stages.
        stage: number of the current stage, from 0.
        stage_epochs: completed in it.
        stage_start: the step it began at.
        best_score, best_weights: of the best checkpoint of the stage.
        told: what the weighting and the gradient rule told last.
    """

    generator: torch.Generator
    epoch: int = 0
    step: int = 0
    stage: int = 0
    stage_epochs: int = 0
    stage_start: int = 0
    best_score: float = -float("inf")
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    def enter(self, stage: int) -> None:
        """Begin a stage."""
        self.stage, self.stage_epochs, self.stage_start, self.best_score = stage, 0, self.step, -float("inf")

    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors and plain values."""
        return {**vars(self), "generator": self.generator.get_state()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
        self.generator.set_state(saved["generator"])
        for name in vars(self).keys() - {"generator"}:
            setattr(self, name, saved[name])


def fit(
    model: MultiExitForSequenceClassification,
    setup: Setup,
    settings: RetrainSettings,
    plan: TrainingPlan,
    seed: int,
    run: Run,
    scalars: Scalars,
    report: Reporter,
    saved: dict[str, Any] | None = None,
    beside: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train `model` in place; it ends with the weights of the best checkpoint of the last stage.

    Every epoch is evaluated on dev; a stage keeps the checkpoint with the best AVG over exits, or the best last exit
    where the objective says so. Where the weighting needs a D2, an epoch passes over D1 only, drawn anew each time.

    Args:
        saved: what a checkpoint of this loop holds, to go on from there.
        beside: what the caller needs in checkpoints for itself.

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
    for number, (stage, epochs) in enumerate(zip(stages, epochs_per_stage(stages, settings.epochs), strict=True)):
        if saved is not None and number < saved["fit"]["stage"]:
            continue
        optimizer = stage_optimizer(model, stage, settings)
        trained = optimized(optimizer)
        chosen = {id(p) for p in trained}
        frozen = [p for p in model.parameters() if id(p) not in chosen]
        state.enter(number)
        if saved is not None and number == saved["fit"]["stage"]:
            _restore(saved, state, model, optimizer, parts)
            scalars.resume(state.step)
            report.line(f"resumed seed {seed} after {stage.name} epoch {state.stage_epochs}/{epochs}")
        for epoch in range(state.stage_epochs + 1, epochs + 1):
            losses = []
            first, second = parts.weighting.split(everything, state.generator)
            order = shuffled(setup.train, first, settings.batch_size, state.generator)
            other = _endless(setup, second, settings.batch_size, state.generator)
            model.train()
            for rows in report.track(order, f"{stage.name} epoch {epoch}/{epochs}", len(order)):
                batch = to_device(setup.train.batch(rows), setup.device)
                set_learning_rate(
                    optimizer, linear(state.step - state.stage_start, per_epoch * epochs, settings.warmup)
                )
                where = Step(state.step, state.epoch, number)
                losses.append(train_step(model, batch, other, parts, optimizer, trained, frozen, where, settings))
                state.step += 1
                traces.angle(state.step, parts.gradient)
            state.epoch += 1
            state.stage_epochs = epoch

            logits = all_logits(model, setup.dev, settings.batch_size, setup.device, settings.precision)
            result = summarize(exit_scores(logits, setup.data.dev, setup.spec))
            mean = sum(losses) / len(losses)
            rates = learning_rates(optimizer)
            state.told = traces.epoch(state.step, parts)
            run.log(
                seed=seed,
                stage=stage.name,
                epoch=state.epoch,
                step=state.step,
                split="dev",
                loss=mean,
                rates=rates,
                **result,
                **state.told,
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
            run.checkpoint(partial(_state, state, model, optimizer, parts, beside or {}))
        model.load_state_dict(state.best_weights)
    return state.told


def _state(
    state: FitState, model: nn.Module, optimizer: torch.optim.Optimizer, parts: Parts, beside: dict[str, Any]
) -> dict[str, Any]:
    """What a checkpoint holds after an epoch."""
    own: dict[str, Any] = {"fit": state, "model": model, "optimizer": optimizer, "parts": parts}
    return {**beside, **{name: part.state_dict() for name, part in own.items()}}


def _restore(
    saved: dict[str, Any], state: FitState, model: nn.Module, optimizer: torch.optim.Optimizer, parts: Parts
) -> None:
    """Go back to what `_state` gave, and torch's generators with it."""
    own: dict[str, Any] = {"fit": state, "model": model, "optimizer": optimizer, "parts": parts}
    for name, part in own.items():
        part.load_state_dict(saved[name])
    set_generators(saved["generators"])


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
