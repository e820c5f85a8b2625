"""Loss weights learned along with the model: on one level and on two (LeeBERT eq. 7-8)."""

from dataclasses import dataclass
from typing import Any

import torch

from exitnas.objectives.base import Terms
from exitnas.objectives.options import choice, number
from exitnas.objectives.weighting.base import Losses, Weighting


@dataclass
class LearnedWeighting(Weighting):
    """Weights Omega = softmax over each exit's terms, moved by gradient descent on the weighted loss.

    The loss is linear in its weights, so unconstrained weights could only shrink: hence the softmax. Its gradient needs
    the values of the terms only, never one through the model.

    Descent moves weight to an exit's small terms, and distillation terms are small beside the task loss: large rates or
    long training drain the labels. The saved matrix shows how far; keep `lr` near the paper's 1e-5 to 1e-3.

    Args:
        lr: rate of the weights, above 0 (lambda_2 in LeeBERT eq. 8, 9).
        optimizer: `adam` (the paper's experiments) or `sgd` (its equations, literally).
    """

    lr: float = 1e-3
    optimizer: str = "adam"

    learned = True

    def __post_init__(self) -> None:
        owner = f"weighting {self.name!r}"
        number(owner, "lr", self.lr, 0, float("inf"), above=True)
        choice(owner, "optimizer", self.optimizer, ("adam", "sgd"))

    def start(self, exits: int, terms: int, generator: torch.Generator, device: torch.device | str = "cpu") -> None:
        super().start(exits, terms, generator, device)
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.SGD
        self._moves = kind([self._logits], lr=self.lr)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "moves": self._moves.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        super().load_state_dict(saved)
        self._moves.load_state_dict(saved["moves"])

    def apply(self, terms: Terms) -> Terms:
        return Terms(terms.losses, terms.coefficients * self.factors(terms.coefficients), terms.extra)

    def gradient(self, terms: Terms) -> torch.Tensor:
        """`[E, K]`: the gradient of the weighted loss with respect to the softmax's logits, the model held fixed."""
        with torch.enable_grad():
            self._logits.requires_grad_(True)
            losses = terms.losses.detach().to(self._logits.dtype)
            total = (terms.coefficients * self.factors(terms.coefficients) * losses).sum()
            (gradient,) = torch.autograd.grad(total, self._logits)
        self._logits.requires_grad_(False)
        return gradient

    def move(self, gradient: torch.Tensor) -> None:
        """One step of the optimizer along `gradient` `[E, K]`."""
        self._logits.grad = gradient
        self._moves.step()


@dataclass
class SingleLevel(LearnedWeighting):
    """SLO: model and weights descend together on the training set (LeeBERT eq. 7)."""

    name = "slo"

    def update(self, seen: Terms, again: Losses, other: Losses) -> None:
        self.move(self.gradient(seen))


@dataclass
class BiLevel(LearnedWeighting):
    """BLO: the model descends on D1, then the weights on a batch of D2 with the updated model (LeeBERT eq. 8)."""

    name = "blo"
    splits = True

    def update(self, seen: Terms, again: Losses, other: Losses) -> None:
        self.move(self.gradient(other()))
