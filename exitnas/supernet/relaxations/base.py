"""The contract of a relaxation."""

from abc import ABC, abstractmethod

from torch import Tensor


class Relaxation(ABC):
    """Turns the architecture parameters of an edge into weights of its candidates; holds no state.

    All methods take `alpha [E, n]` (layers, candidates) and a temperature above 0, and give `[E, n]`. The lower the
    temperature, the closer the weights are to choosing.
    """

    @abstractmethod
    def weights(self, alpha: Tensor, temperature: float) -> Tensor:
        """The weights in evaluation, each in 0..1, differentiable in `alpha`; the same for every call."""

    def sample(self, alpha: Tensor, temperature: float) -> Tensor:
        """The weights of one training step; noise, where a rule has any, from torch's global generator."""
        return self.weights(alpha, temperature)

    def probabilities(self, alpha: Tensor, temperature: float) -> Tensor:
        """What the genotype records: ordered as the weights, rows sum to 1."""
        return self.weights(alpha, temperature)
