"""The contract of a loss weighting; by itself the uniform one, which leaves the objective as it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from exitnas.objectives.base import Terms
from exitnas.objectives.options import option_values

Losses = Callable[[], Terms]


@dataclass
class Weighting:
    """Weights of the terms of each exit, of mean 1 over the terms it uses; `uniform`: all of them are 1.

    LeeBERT normalizes the weights of an exit's terms to sum to 1. Here they are also multiplied by the number of
    terms, so that uniform weights change nothing and learning rates keep their meaning; `matrix` gives the paper's.

    A weighting holds the state of one training run: make a new one per seed. Its fields are its options.

    Attributes:
        name: the name of its row in `WEIGHTINGS`.
        learned: whether `update` changes the weights.
        splits: whether the backbone learns from D1 only and the weights need D2, both drawn anew every epoch.
        share: share of the training rows that go to D1 when `splits`.
    """

    name: ClassVar[str] = "uniform"
    learned: ClassVar[bool] = False
    splits: ClassVar[bool] = False
    share: ClassVar[float] = 0.5

    def start(self, exits: int, terms: int, generator: torch.Generator, device: torch.device | str = "cpu") -> None:
        """Prepare for a matrix `[E, K]`; `generator` is for weightings that draw."""
        self._logits = torch.zeros(exits, terms, device=device)
        self._used = torch.ones(exits, terms, dtype=torch.bool, device=device)

    def options(self) -> dict[str, Any]:
        """The settings, as JSON-ready values."""
        return option_values(self)

    def matrix(self) -> Tensor:
        """`[E, K]`, rows that sum to 1: the weights of the terms the objective used last, 0 for the others."""
        used = self._used
        hidden = self._logits.masked_fill(~used & used.any(1, keepdim=True), float("-inf"))
        weights = torch.softmax(hidden, dim=1)
        return torch.where(used, weights, torch.zeros_like(weights))

    def factors(self, coefficients: Tensor) -> Tensor:
        """`[E, K]`: what the coefficients are multiplied with; 1 for every used term when weights are uniform."""
        self._used = coefficients != 0
        return self.matrix() * self._used.sum(1, keepdim=True)

    def apply(self, terms: Terms) -> Terms:
        """The terms with their weights as constants, ready to train the model with."""
        return terms

    def update(self, seen: Terms, again: Losses, other: Losses) -> None:
        """Learn from a step; called after the model was updated. Nothing here needs a gradient through the model.

        Args:
            seen: the terms the model was just updated with, before weighting.
            again: computes the terms of the same batch (of D1) with the updated model, without gradient or dropout.
            other: computes the terms of the next batch of D2 with the updated model, without gradient or dropout.
        """

    def state_dict(self) -> dict[str, Any]:
        """What `update` has changed since `start`, as tensors and plain values; a subclass with more adds it."""
        return {"logits": self._logits, "used": self._used}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go back to what `state_dict` gave; after `start` with the same options."""
        self._logits.copy_(saved["logits"])
        self._used = saved["used"].to(self._logits.device)

    def split(self, rows: list[int], generator: torch.Generator) -> tuple[list[int], list[int]]:
        """D1 and D2 of an epoch; all rows and none when the weighting needs no D2 (and draws nothing then)."""
        if not self.splits:
            return rows, []
        order = [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
        first = self.first_rows(len(rows))
        return order[:first], order[first:]

    def first_rows(self, rows: int) -> int:
        """How many of so many rows D1 gets; D2 gets at least one."""
        return max(1, min(rows - 1, round(rows * self.share))) if self.splits else rows
