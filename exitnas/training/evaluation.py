"""Scores of every exit from one pass over a split."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from exitnas.backbones.base import Backbone
from exitnas.tasks.data import Split
from exitnas.tasks.metrics import score_exits
from exitnas.tasks.spec import TaskSpec
from exitnas.training.batches import Encoded, by_length
from exitnas.training.device import backbone_precision, to_device


def hidden_states(backbone: Backbone, batch: dict[str, Tensor], precision: str) -> tuple[list[Tensor], Tensor]:
    """Hidden states `[B, T, D]` of every layer and the bool mask `[B, T]`; the backbone runs in `precision`."""
    ids = batch["input_ids"]
    with backbone_precision(ids.device, precision):
        return backbone(ids, batch["attention_mask"], batch.get("token_type_ids"))


def forward(model: Any, batch: dict[str, Tensor], precision: str) -> list[Tensor]:
    """Logits `[B, C]` of every exit of a supernet or a multi-exit model; the backbone alone in `precision`."""
    return model.exit_logits(*hidden_states(model.backbone, batch, precision))


@torch.inference_mode()
def all_outputs(
    model: Any, data: Encoded, batch_size: int, device: torch.device, precision: str = "fp32"
) -> tuple[Tensor, Tensor | None]:
    """Logits `[N, E, C]` of every exit and certainty `[N, E]` (None without a head) for every row, in one pass.

    On the CPU, rows in the split's order; the model runs in eval mode.
    """
    training = model.training
    model.eval()
    head = getattr(model, "certainty", None)
    parts: list[Tensor] = []
    certainties: list[Tensor] = []
    order: list[int] = []
    for indices in by_length(data, batch_size):
        batch = to_device(data.batch(indices), device)
        states, mask = hidden_states(model.backbone, batch, precision)
        parts.append(torch.stack(model.exit_logits(states, mask), dim=1).float().cpu())
        if head is not None:
            certainties.append(torch.stack([head(hidden, mask) for hidden in states], dim=1).float().cpu())
        order += indices
    model.train(training)
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(parts)[back].clone(), torch.cat(certainties)[back].clone() if certainties else None


def all_logits(model: Any, data: Encoded, batch_size: int, device: torch.device, precision: str = "fp32") -> Tensor:
    """The logits of `all_outputs`, `[N, E, C]`."""
    return all_outputs(model, data, batch_size, device, precision)[0]


def predictions(logits: Tensor, regression: bool) -> np.ndarray:
    """`[E, N]`: classes, or values for regression, from logits `[N, E, C]`."""
    values = logits.squeeze(-1) if regression else logits.argmax(-1)
    return values.T.numpy()


def exit_scores(logits: Tensor, split: Split, spec: TaskSpec) -> list[float]:
    """The task's metric of every exit from logits `[N, E, C]`."""
    return score_exits(spec.metric, predictions(logits, spec.regression), np.asarray(split.labels), split.parts)


def summarize(scores: list[float]) -> dict[str, Any]:
    """`exits`, `avg` over exits, `best` exit's score and which exit that is (1-based) (LECO 6.4)."""
    best = int(np.argmax(scores))
    return {"exits": scores, "avg": float(np.mean(scores)), "best": scores[best], "best_exit": best + 1}
