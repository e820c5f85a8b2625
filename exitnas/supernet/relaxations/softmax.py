"""Softmax over candidates."""

from torch import Tensor

from exitnas.supernet.relaxations.base import Relaxation


class Softmax(Relaxation):
    """softmax(alpha / temperature): candidates compete (DARTS, Liu et al. 2019, eq. 2; LECO 3.2)."""

    def weights(self, alpha: Tensor, temperature: float) -> Tensor:
        return (alpha / temperature).softmax(-1)
