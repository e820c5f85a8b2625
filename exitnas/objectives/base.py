"""The contract of an objective, and the loss of a single exit."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from exitnas.objectives.options import option_values

Auxiliary = Literal["none", "distillation", "imitation", "diversity"]


@dataclass(frozen=True)
class Step:
    """Where training stands: step and epoch start at 0 and count over all stages; `stage` is the stage's index."""

    step: int
    epoch: int
    stage: int = 0


@dataclass(frozen=True)
class Terms:
    """What an objective gives for one batch, before anything is summed.

    Attributes:
        losses: `[E, K]`, row m the terms of exit m: column 0 its task loss, the others what the objective adds
            (one column per teacher, for example). Entries where `coefficients` is zero are not used; they hold
            constants, so that no gradient, not even a zero one, reaches an exit that is not trained.
        coefficients: `[E, K]`, the objective's own weights, constant.
        extra: a scalar added to the total that belongs to no single exit, or None.
    """

    losses: Tensor
    coefficients: Tensor
    extra: Tensor | None = None

    def detach(self) -> "Terms":
        """The terms as constants."""
        return Terms(self.losses.detach(), self.coefficients, None if self.extra is None else self.extra.detach())

    def times(self, share: float) -> "Terms":
        """The terms of a part of a batch as they enter the whole's; `share` is the part's share of the rows."""
        if share == 1.0:
            return self
        extra = None if self.extra is None else share * self.extra
        return Terms(self.losses, share * self.coefficients, extra)

    def total(self) -> Tensor:
        """The scalar to minimize when nothing re-weights the terms."""
        total = (self.coefficients * self.losses).sum()
        return total if self.extra is None else total + self.extra

    def task_part(self) -> Tensor:
        """The scalar of column 0 (and `extra`): the exits' own losses."""
        total = (self.coefficients[:, 0] * self.losses[:, 0]).sum()
        return total if self.extra is None else total + self.extra

    def auxiliary_part(self) -> Tensor:
        """The scalar of all further columns: what the objective adds to the exits' own losses."""
        return (self.coefficients[:, 1:] * self.losses[:, 1:]).sum()


@dataclass(frozen=True)
class Stage:
    """A stretch of training with a fixed set of trained parts.

    Attributes:
        name: shown in logs.
        share: share of all epochs, in (0, 1]; the shares of an objective sum to 1.
        backbone: whether the backbone is trained.
        exits: `"all"`, `"last"` or `"early"` (all but the last).
        select: what chooses the stage's checkpoint on dev: `"avg"` over exits, or the `"last"` exit.
    """

    name: str
    share: float = 1.0
    backbone: bool = True
    exits: Literal["all", "last", "early"] = "all"
    select: Literal["avg", "last"] = "avg"


@dataclass(frozen=True)
class Objective:
    """What retraining minimizes. Subclasses are frozen dataclasses; their fields are the options.

    Attributes:
        name: the name of its row in `OBJECTIVES`.
        regression: whether it makes sense for one real-valued output.
    """

    name: ClassVar[str]
    regression: ClassVar[bool] = True

    @property
    def auxiliary(self) -> Auxiliary:
        """What the columns after the task loss hold; `"none"` also where a term never meets a task loss."""
        return "none"

    @property
    def trains_every_exit(self) -> bool:
        """Whether every step trains the backbone with the task losses of all exits."""
        return True

    def stages(self) -> tuple[Stage, ...]:
        """The stages in order; one stage that trains everything unless an objective says otherwise."""
        return (Stage(self.name),)

    def options(self) -> dict[str, Any]:
        """The settings of this objective, as JSON-ready values."""
        return option_values(self)

    def columns(self, exits: int) -> list[str]:
        """Names of the K columns of `Terms.losses` for E = `exits`."""
        return ["task"] if self.auxiliary == "none" else ["task", self.auxiliary]

    def terms(self, logits: list[Tensor], labels: Tensor, step: Step, states: list[Tensor] | None = None) -> Terms:
        """The loss terms of one batch: every loss is a mean over its rows.

        That is what lets a batch be cut into micro-batches and over processes: the terms of the whole are the mean of
        its parts', weighed by their rows.

        Args:
            logits: one `[B, C]` per exit, first layer first (`C = 1` for regression).
            labels: `[B]` int64 classes, or float32 values for regression.
            step: where training stands.
            states: hidden states `[B, T, D]` of every layer; given by the training loop, used by few.
        """
        raise NotImplementedError


def exit_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of `[B, C]` logits against `[B]` classes in nats, or mean squared error against `[B]` values."""
    if labels.is_floating_point():
        return functional.mse_loss(logits.squeeze(-1), labels)
    return functional.cross_entropy(logits, labels)


def task_losses(logits: list[Tensor], labels: Tensor) -> Tensor:
    """`[E]`: the loss of every exit."""
    return torch.stack([exit_loss(exit_logits, labels) for exit_logits in logits])


def task_terms(logits: list[Tensor], labels: Tensor, exits: Iterable[int]) -> Terms:
    """The plain sum of the task losses of some exits (indices from 0); the others are left out of the graph."""
    chosen = set(exits)
    zero = logits[0].new_zeros(())
    losses = [exit_loss(values, labels) if m in chosen else zero for m, values in enumerate(logits)]
    used = [float(m in chosen) for m in range(len(logits))]
    return Terms(torch.stack(losses).unsqueeze(1), logits[0].new_tensor(used).unsqueeze(1))


def exit_weights(kind: str, exits: int, like: Tensor) -> Tensor:
    """`[E]`: 1 for every exit (`"uniform"`), or the number of its layer (`"depth"`: 1, 2, ..., E)."""
    return like.new_ones(exits) if kind == "uniform" else torch.arange(1, exits + 1, device=like.device).to(like.dtype)


EXIT_WEIGHTS = ("uniform", "depth")
