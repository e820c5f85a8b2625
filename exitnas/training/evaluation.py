"""Scores of every exit from one pass over a split."""

from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exitnas.backbones.base import Backbone
from exitnas.distributed import gathered, processes, rank
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

    On the CPU, rows in the split's order; the model runs in eval mode. Several processes take turns at the batches and
    all of them get the answers for all rows, each row answered once.
    """
    training = model.training
    model.eval()
    head = getattr(model, "certainty", None)
    found: list[tuple[list[int], Tensor, Tensor | None]] = []
    for indices in islice(by_length(data, batch_size), rank(), None, processes()):
        batch = to_device(data.batch(indices), device)
        states, mask = hidden_states(model.backbone, batch, precision)
        logits = torch.stack(model.exit_logits(states, mask), dim=1).float().cpu()
        certainty = None
        if head is not None:
            certainty = torch.stack([head(hidden, mask) for hidden in states], dim=1).float().cpu()
        found.append((indices, logits, certainty))
    model.train(training)
    found = gathered(found)
    order = [index for indices, _, _ in found for index in indices]
    certainties = [certainty for _, _, certainty in found if certainty is not None]
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    every = torch.cat([logits for _, logits, _ in found])
    return every[back].clone(), torch.cat(certainties)[back].clone() if certainties else None


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
