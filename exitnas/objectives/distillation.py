"""The distillation loss between exits that mutual learning and self-distillation share (LeeBERT eq. 2-3)."""

import torch
from torch import Tensor


def distillation_losses(
    students: list[Tensor], teachers: list[Tensor], temperature: float = 1.0, detach: bool = True
) -> Tensor:
    """`[S, R]`: how far each of S students is from each of R teachers (LeeBERT eq. 2-3).

    tau^2 times the cross-entropy in nats of the student's softmax(logits / tau) under the teacher's, the mean over the
    batch. It differs from the Kullback-Leibler divergence by the teacher's entropy, so a perfect student's is not 0.

    Args:
        students, teachers: logits `[B, C]` each.
        temperature: tau, above 0; the factor tau^2 keeps the gradient's size.
        detach: treat teachers as constants.
    """
    log_q = torch.log_softmax(torch.stack(students).float() / temperature, dim=-1)
    p = torch.softmax(torch.stack(teachers).float() / temperature, dim=-1)
    if detach:
        p = p.detach()
    batch = log_q.shape[1]
    return -(temperature**2) * (log_q.flatten(1) @ p.flatten(1).T) / batch
