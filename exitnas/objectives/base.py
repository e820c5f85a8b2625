"""The contract of an objective, and the loss of a single exit."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Step:
    """Where training stands: both counters start at 0 and count over all stages."""

    step: int
    epoch: int


@dataclass(frozen=True)
class Terms:
    """What an objective gives for one batch, before anything is summed.

    Attributes:
        losses: `[E, K]`, row m the terms of exit m: column 0 its task loss, the others what the objective adds
            (one column per teacher, for example). Entries where `coefficients` is zero are not used.
        coefficients: `[E, K]`, the objective's own weights, constant.
        extra: a scalar added to the total that belongs to no single exit, or None.
    """

    losses: Tensor
    coefficients: Tensor
    extra: Tensor | None = None

    def total(self) -> Tensor:
        """The scalar to minimize when nothing re-weights the terms."""
        total = (self.coefficients * self.losses).sum()
        return total if self.extra is None else total + self.extra


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


class Objective:
    """What retraining minimizes.

    Attributes:
        name: the name of its row in `OBJECTIVES`.
        regression: whether it makes sense for one real-valued output.
    """

    name: ClassVar[str]
    regression: ClassVar[bool] = True

    def stages(self) -> tuple[Stage, ...]:
        """The stages in order; one stage that trains everything unless an objective says otherwise."""
        return (Stage(self.name),)

    def options(self) -> dict[str, Any]:
        """The settings of this objective, as JSON-ready values."""
        return {}

    def terms(self, logits: list[Tensor], labels: Tensor, step: Step) -> Terms:
        """The loss terms of one batch.

        Args:
            logits: one `[B, C]` per exit, first layer first (`C = 1` for regression).
            labels: `[B]` int64 classes, or float32 values for regression.
            step: where training stands.
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
