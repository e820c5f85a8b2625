"""The engine's answers as logits, which is what users of transformers expect of a model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from exitnas.inference.engine import run
from exitnas.policies.base import Policy, State

TIE = 1e-5
"""How much the logit of a vote's winner is raised, so that arg-max finds it among classes with as many votes."""


class LogitAnswers:
    """A policy whose answers carry logits in place of probabilities; everything else is the policy's own."""

    def __init__(self, policy: Policy):
        self.policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def answer(self, logits: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """Predictions `[B]` and fp32 logits `[B, C]`.

        The logits are those of the exit (regression: the values) where the policy answers as a single exit does. A
        policy that answers with its own probabilities (voting: shares of the votes) gives their logarithms, finite
        and with the answer's raised by `TIE`; softmax makes them the probabilities again.
        """
        predictions, scores = self.policy.answer(logits, state)
        if type(self.policy).answer is Policy.answer:
            return predictions, logits.float()
        if scores.shape[-1] == 1:
            return predictions, scores
        shares = scores.clamp_min(torch.finfo(torch.float32).tiny).log()
        return predictions, shares.scatter_add(1, predictions[:, None], torch.full_like(shares[:, :1], TIE))


def leave_early(model: Any, batch: Mapping[str, Tensor | None], policy: Policy) -> tuple[Tensor, Tensor]:
    """Run a batch under a policy, each sample through the layers it needs.

    Args:
        model: a `MultiExitForSequenceClassification` in eval mode.
        batch: `input_ids` and `attention_mask` [B, T], `token_type_ids` [B, T] or None.

    Returns:
        logits: `[B, C]` fp32.
        exit_layer: `[B]` int64, counted from 1.
    """
    answering: Any = LogitAnswers(policy)
    outcome = run(model, {name: value for name, value in batch.items() if value is not None}, answering)
    # The engine works in inference mode; copies made outside it can be used anywhere.
    return outcome.scores.clone(), outcome.exits.clone()
