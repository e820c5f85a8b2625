"""Joint training: the sum of all exits' losses (LECO eq. 1)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from exitnas.objectives.base import Objective, Step, Terms, task_losses


@dataclass(frozen=True)
class Joint(Objective):
    """L = sum over m of L_m, everything trained at once (LECO eq. 1; Teerapittayanon et al. 2016)."""

    name = "joint"

    def terms(self, logits: list[Tensor], labels: Tensor, step: Step, states: list[Tensor] | None = None) -> Terms:
        losses = task_losses(logits, labels).unsqueeze(1)
        return Terms(losses, torch.ones_like(losses))
