"""Self-distillation: the last exit teaches the others (FastBERT, Liu et al. 2020)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from exitnas.objectives.base import Auxiliary, Objective, Stage, Step, Terms, task_losses, task_terms
from exitnas.objectives.distillation import distillation_losses
from exitnas.objectives.options import choice, number


@dataclass(frozen=True)
class SelfDistillation(Objective):
    """FastBERT, in two stages as published or in one as GAML-BERT and LeeBERT run it.

    Two stages: first L_E over backbone and last exit, then the sum over m < E of the distillation loss from the last
    exit to exit m, over the early exits alone; no labels are used there. One stage: sum of L_m over all exits plus the
    sum over m < E of the distillation loss, divided by E, which is mutual learning with the last exit as only teacher
    (LeeBERT eq. 4). FastBERT writes the divergence with student and teacher exchanged; the form here is LeeBERT eq. 2.

    Args:
        stages_: 2 or 1 (option `stages`).
        temperature: tau, above 0.
        first: share of the epochs that the first of two stages gets, in (0, 1).
    """

    stages_: int = 2
    temperature: float = 1.0
    first: float = 0.5

    name = "self_distillation"
    regression = False

    def __post_init__(self) -> None:
        owner = "objective 'self_distillation'"
        choice(owner, "stages", self.stages_, (1, 2))
        number(owner, "temperature", self.temperature, 0, float("inf"), above=True)
        number(owner, "first", self.first, 0, 1, above=True, below=True)

    @property
    def auxiliary(self) -> Auxiliary:
        return "distillation" if self.stages_ == 1 else "none"

    @property
    def trains_every_exit(self) -> bool:
        return self.stages_ == 1

    def columns(self, exits: int) -> list[str]:
        return ["task", "distillation"]

    def stages(self) -> tuple[Stage, ...]:
        if self.stages_ == 1:
            return super().stages()
        return (
            Stage("backbone and last exit", self.first, exits="last", select="last"),
            Stage("self-distillation", 1 - self.first, backbone=False, exits="early"),
        )

    def terms(self, logits: list[Tensor], labels: Tensor, step: Step, states: list[Tensor] | None = None) -> Terms:
        exits, last = len(logits), len(logits) - 1
        if self.stages_ == 2 and step.stage == 0:
            task = task_terms(logits, labels, [last])
            empty = torch.zeros_like(task.coefficients)
            return Terms(torch.cat([task.losses, empty], 1), torch.cat([task.coefficients, empty], 1))
        losses = logits[0].new_zeros(exits, 2)
        coefficients = torch.zeros_like(losses)
        if self.stages_ == 1:
            losses[:, 0] = task_losses(logits, labels)
            coefficients[:, 0] = 1.0
        if last > 0:
            losses[:last, 1] = distillation_losses(logits[:last], logits[last:], self.temperature)[:, 0]
            coefficients[:last, 1] = 1.0 / exits if self.stages_ == 1 else 1.0
        return Terms(losses, coefficients)
