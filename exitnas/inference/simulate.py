"""What a policy would have done, from the logits of all exits computed in one pass."""

from dataclasses import dataclass

import torch
from torch import Tensor

from exitnas.policies.base import Policy


@dataclass(frozen=True)
class Outcome:
    """Where each of N samples left and what it was told.

    Attributes:
        exits: [N] int64, the layer it left at, counted from 1.
        predictions: [N] int64 class indices (regression: float32 values).
        scores: [N, C] float32 class probabilities (voting: shares of the votes; regression: the values, [N, 1]).
    """

    exits: Tensor
    predictions: Tensor
    scores: Tensor


@torch.no_grad()
def simulate(
    policy: Policy, logits: Tensor, *, certainty: Tensor | None = None, labels: Tensor | None = None
) -> Outcome:
    """Apply `policy` to precomputed logits; the engine gives the same outcome on the same logits.

    Args:
        logits: [N, E, C] of every exit (regression: C = 1).
        certainty: [N, E], for policies that need it.
        labels: [N], for policies that need them.

    Raises:
        UsageError: the policy does not fit E, C or the kind of task.
    """
    count, num_exits, num_labels = logits.shape
    state = policy.start(count, num_exits, num_labels, logits.device)
    exits = torch.zeros(count, dtype=torch.int64, device=logits.device)  # 0: still running
    kind = torch.float32 if num_labels == 1 else torch.int64
    predictions = torch.zeros(count, dtype=kind, device=logits.device)
    scores = torch.zeros(count, num_labels, device=logits.device)
    final = policy.final_exit(num_exits)
    for index in range(final + 1):
        if not policy.needs_exit(index, num_exits):
            continue
        here = logits[:, index]
        sure = certainty[:, index] if certainty is not None else None
        leave = policy.step(index, here, state, certainty=sure, labels=labels)
        answers, shares = policy.answer(here, state)
        now = (exits == 0) & (leave | (index == final))
        exits = torch.where(now, index + 1, exits)
        predictions = torch.where(now, answers, predictions)
        scores = torch.where(now[:, None], shares, scores)
    return Outcome(exits, predictions, scores)
