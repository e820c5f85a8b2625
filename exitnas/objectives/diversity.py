"""Diversity: exits are trained as an ensemble, each to differ from the one most like it (Sun et al. 2021)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from exitnas.objectives.base import EXIT_WEIGHTS, Auxiliary, Objective, Step, Terms, exit_weights, task_losses
from exitnas.objectives.options import choice, number


def least_differences(logits: list[Tensor]) -> Tensor:
    """`[E]`: the mean over the batch of min over j < i of CE(x_i, x_j) = -sum_k p_j log p_i, in nats; 0 for exit 1.

    The minimum is taken per sample (eq. 12). The gradient reaches both exits of a pair.
    """
    stacked = torch.stack(logits).float()
    log_p = torch.log_softmax(stacked, dim=-1)
    cross = -torch.einsum("jbc,ibc->ijb", log_p.exp(), log_p)
    least = [cross[i, :i].amin(0).mean() for i in range(1, len(logits))]
    return torch.stack([stacked.new_zeros(()), *least])


@dataclass(frozen=True)
class Diversity(Objective):
    """L = sum over i of alpha_i L_i - sum over i >= 2 of beta_i * min over j < i of CE(x_i, x_j) (eq. 14 and 24).

    beta_i is lambda for every exit but the last one, and lambda * beta_last there.

    Args:
        lambda_: option `lambda`, at least 0 and below 1 (the paper's analysis: beyond 1 the labels lose).
        alpha: alpha_i: `uniform` for 1 (the paper's choice for ALBERT), `depth` for i (its choice for BERT).
        beta_last: 1, or 0 for beta_L = 0: no diversity is asked of the last exit.
    """

    lambda_: float = 0.1
    alpha: str = "uniform"
    beta_last: int = 1

    name = "diversity"
    regression = False

    def __post_init__(self) -> None:
        owner = "objective 'diversity'"
        number(owner, "lambda", self.lambda_, 0, 1, below=True)
        choice(owner, "alpha", self.alpha, EXIT_WEIGHTS)
        choice(owner, "beta_last", self.beta_last, (0, 1))

    @property
    def auxiliary(self) -> Auxiliary:
        return "diversity"

    def terms(self, logits: list[Tensor], labels: Tensor, step: Step, states: list[Tensor] | None = None) -> Terms:
        losses = torch.stack([task_losses(logits, labels), least_differences(logits)], 1)
        coefficients = torch.full_like(losses, -self.lambda_)
        coefficients[:, 0] = exit_weights(self.alpha, len(logits), losses)
        coefficients[0, 1] = 0.0
        if not self.beta_last:
            coefficients[-1, 1] = 0.0
        return Terms(losses, coefficients)
