"""Joint training: the sum of all exits' losses (LECO eq. 1)."""

import torch
from torch import Tensor

from exitnas.objectives.base import Objective, Step, Terms, task_losses


class Joint(Objective):
    """L = sum over m of L_m, everything trained at once (LECO eq. 1; Teerapittayanon et al. 2016)."""

    name = "joint"

    def terms(self, logits: list[Tensor], labels: Tensor, step: Step) -> Terms:
        losses = task_losses(logits, labels).unsqueeze(1)
        return Terms(losses, torch.ones_like(losses))
