"""Random loss weights, the baseline of learned ones (LeeBERT 4.4, LeeBERT-rand)."""

from dataclasses import dataclass

import torch

from exitnas.objectives.base import Terms
from exitnas.objectives.weighting.base import Weighting

LARGEST = 50


@dataclass
class RandomWeights(Weighting):
    """Every weight is drawn once from 1, 2, ..., 50, then the terms of each exit are normalized to sum to 1."""

    name = "random"

    def start(self, exits: int, terms: int, generator: torch.Generator, device: torch.device | str = "cpu") -> None:
        super().start(exits, terms, generator, device)
        drawn = torch.randint(1, LARGEST + 1, (exits, terms), generator=generator)
        self._logits = drawn.double().log().float().to(device)  # softmax of logarithms normalizes the numbers drawn

    def apply(self, terms: Terms) -> Terms:
        return Terms(terms.losses, terms.coefficients * self.factors(terms.coefficients), terms.extra)
