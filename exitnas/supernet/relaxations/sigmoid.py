"""Every candidate's own sigmoid."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from exitnas.supernet.relaxations.base import Relaxation


class Sigmoid(Relaxation):
    """sigmoid(alpha / temperature), so that candidates do not compete (FairDARTS, Chu et al. 2020).

    Weights start at 1/2 each, whatever their number. The candidate null adds nothing at any weight and takes from no
    other, so its alpha has no gradient: it wins an edge where every other candidate fell below where null stands.
    Without the paper's zero-one loss: an annealed temperature drives weights apart instead.
    """

    def weights(self, alpha: Tensor, temperature: float) -> Tensor:
        return (alpha / temperature).sigmoid()

    def probabilities(self, alpha: Tensor, temperature: float) -> Tensor:
        """The sigmoids over their sum: each candidate's share.

        By their logarithms, in fp64: in fp32 a sigmoid of -150 is 0, and nothing can be divided by a sum of zeros.
        """
        return logsigmoid(alpha.double() / temperature).softmax(-1).to(alpha.dtype)
