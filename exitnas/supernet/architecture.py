"""Architecture parameters: one row of numbers per layer and edge, and the weights they give the candidates."""

from typing import cast

import torch
from torch import Tensor, nn

from exitnas.exits.operations import EDGES
from exitnas.supernet.relaxations import DEFAULT_RELAXATION, RELAXATIONS
from exitnas.supernet.relaxations.base import Relaxation
from exitnas.supernet.space import SearchSpace


class Architecture(nn.Module):
    """The architecture parameters alpha of every layer (LECO 3.2; a macro space, so no two layers share any).

    Attributes:
        alphas: edge name -> `[E, n]`, one row per layer, one column per candidate of that edge. All start at zero,
            so every candidate of an edge starts with the same weight: 1/n where candidates compete.
        relaxation: the rule that turns alphas into weights.
        temperature: of the relaxation, above 0; a search may lower it as it goes.
    """

    def __init__(self, space: SearchSpace, layers: int, relaxation: str = DEFAULT_RELAXATION):
        super().__init__()
        self.space = space
        self.layers = layers
        self.relaxation = cast(Relaxation, RELAXATIONS.create(relaxation))
        self.temperature = 1.0
        self.alphas = nn.ParameterDict(
            {edge: nn.Parameter(torch.zeros(layers, len(space.candidates(edge)))) for edge in EDGES}
        )

    def weights(self) -> dict[str, Tensor]:
        """Edge name -> `[E, n]`: weights of the candidates, by default their softmax (LECO 3.2, DARTS eq. 2).

        In training mode those of one step, with the relaxation's noise if it has any.
        """
        rule = self.relaxation.sample if self.training else self.relaxation.weights
        return {edge: rule(alpha, self.temperature) for edge, alpha in self.alphas.items()}

    @torch.no_grad()
    def probabilities(self) -> tuple[dict[str, dict[str, float]], ...]:
        """Per layer: edge -> candidate -> probability, rounded to six digits, in the order of the space; no noise."""
        rule = self.relaxation.probabilities
        weights = {edge: rule(alpha, self.temperature).cpu().double() for edge, alpha in self.alphas.items()}
        return tuple(
            {
                edge: {
                    name: round(float(value), 6)
                    for name, value in zip(self.space.candidates(edge), weights[edge][layer], strict=True)
                }
                for edge in EDGES
            }
            for layer in range(self.layers)
        )
