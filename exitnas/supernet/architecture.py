"""Architecture parameters: one row of numbers per layer and edge, and the weights they give the candidates."""

import torch
from torch import Tensor, nn

from exitnas.exits.operations import EDGES
from exitnas.supernet.space import SearchSpace


class Architecture(nn.Module):
    """The architecture parameters alpha of every layer (LECO 3.2; a macro space, so no two layers share any).

    Attributes:
        alphas: edge name -> `[E, n]`, one row per layer, one column per candidate of that edge. All start at zero,
            so every candidate starts with weight 1/n.
    """

    def __init__(self, space: SearchSpace, layers: int):
        super().__init__()
        self.space = space
        self.layers = layers
        self.alphas = nn.ParameterDict(
            {edge: nn.Parameter(torch.zeros(layers, len(space.candidates(edge)))) for edge in EDGES}
        )

    def weights(self) -> dict[str, Tensor]:
        """Edge name -> `[E, n]`: the softmax over candidates, alpha-bar of LECO 3.2 (DARTS eq. 2)."""
        return {edge: alpha.softmax(-1) for edge, alpha in self.alphas.items()}

    @torch.no_grad()
    def probabilities(self) -> tuple[dict[str, dict[str, float]], ...]:
        """Per layer: edge -> candidate -> probability, rounded to six digits, in the order of the space."""
        weights = {edge: weight.cpu().double() for edge, weight in self.weights().items()}
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
