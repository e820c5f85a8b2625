"""Gumbel-softmax: a soft sample of the choice at every step."""

from torch import Tensor
from torch.nn import functional

from exitnas.supernet.relaxations.base import Relaxation


class GumbelSoftmax(Relaxation):
    """softmax((alpha + Gumbel noise) / temperature) in a step, softmax(alpha) in evaluation (SNAS, Xie et al. 2019).

    The largest entry of alpha + noise is candidate i with probability softmax(alpha)_i, whatever the temperature (Jang
    et al. 2017, eq. 1-2): that is what evaluation weighs by and what is recorded. The temperature only says how close
    to one single candidate a step's weights are.

    Every forward pass in training draws its own noise: once per micro-batch with `--accumulate`, and in every process
    of a launch by its own. So here, unlike with the other relaxations, their number changes what is learned.
    """

    def weights(self, alpha: Tensor, temperature: float) -> Tensor:
        return alpha.softmax(-1)

    def sample(self, alpha: Tensor, temperature: float) -> Tensor:
        return functional.gumbel_softmax(alpha, tau=temperature)
