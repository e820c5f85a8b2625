"""Running a real batch so that samples leave one by one and the rest go on, compacted."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from exitnas.errors import UsageError
from exitnas.inference.simulate import Outcome
from exitnas.policies.base import Policy, State, select_state


@torch.inference_mode()
def run(model: Any, batch: Mapping[str, Tensor], policy: Policy) -> Outcome:
    """Answer one batch, running no layer for a sample that has left.

    Per layer: one backbone layer on the b samples still running, their exit, the policy's decision, and one device
    synchronization (how many stay). Only when somebody leaves are answers written and the rest compacted; answers are
    written for all b samples and overwritten by later layers, so no second selection (and synchronization) is needed.

    Args:
        model: in eval mode, with `backbone` (`exitnas.backbones.base.Backbone`) and `exits`, E modules called as
            `exit(hidden [b, T, D], mask [b, T]) -> logits [b, C]`; a policy that needs certainty also calls
            `model.certainty(hidden, mask) -> [b]`.
        batch: `input_ids` and `attention_mask` [B, T], optionally `token_type_ids` [B, T]; `labels` [B] for policies
            that need them.

    Returns:
        the outcome of the B samples in the batch's order, on the batch's device.

    Raises:
        UsageError: the policy does not fit the model, or needs labels or certainty that are not there.
    """
    if model.training:
        raise ValueError("run() expects a model in eval mode: call model.eval() first")
    num_exits = len(model.exits)
    policy.check(num_exits)
    labels = _labels(batch, policy)
    certainty_head = _certainty_head(model, policy)

    hidden, context = model.backbone.embed(batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids"))
    size, device = hidden.shape[0], hidden.device
    running = torch.arange(size, device=device)  # [b] rows of the batch that have not left
    exits = torch.zeros(size, dtype=torch.int64, device=device)
    state: State | None = None
    for index in range(num_exits):
        hidden = model.backbone.layer(index, hidden, context)
        if not policy.needs_exit(index):
            continue
        logits = _full_precision(model.exits[index], hidden, context.mask)
        if state is None:
            num_labels = logits.shape[-1]
            state = policy.start(size, num_exits, num_labels, device)
            kind = torch.float32 if num_labels == 1 else torch.int64
            predictions = torch.zeros(size, dtype=kind, device=device)
            scores = torch.zeros(size, num_labels, device=device)
        certainty = _full_precision(certainty_head, hidden, context.mask) if certainty_head is not None else None
        leave = policy.step(index, logits, state, certainty=certainty, labels=labels)
        last = index == num_exits - 1
        keep = running[:0] if last else (~leave).nonzero().squeeze(1)  # the layer's one synchronization
        if len(keep) == len(running):
            continue
        answers, shares = policy.answer(logits, state)
        predictions.index_copy_(0, running, answers)
        scores.index_copy_(0, running, shares)
        exits.index_fill_(0, running, index + 1)
        if len(keep) == 0:
            break
        running = running.index_select(0, keep)
        hidden = hidden.index_select(0, keep)
        context = context.select(keep)
        state = select_state(state, keep)
        labels = labels.index_select(0, keep) if labels is not None else None
    return Outcome(exits, predictions, scores)


def _full_precision(head: Any, hidden: Tensor, mask: Tensor) -> Tensor:
    """Call a head outside any autocast: lower precision pays in the backbone, in these small modules it costs time."""
    if not torch.is_autocast_enabled(hidden.device.type):
        return head(hidden, mask)
    with torch.autocast(hidden.device.type, enabled=False):
        return head(hidden.float(), mask)


def _labels(batch: Mapping[str, Tensor], policy: Policy) -> Tensor | None:
    if "labels" not in policy.needs:
        return None
    if "labels" not in batch:
        raise UsageError(f"policy {policy.name!r} needs labels and the batch has none: choose another policy")
    return batch["labels"]


def _certainty_head(model: Any, policy: Policy) -> Any:
    if "certainty" not in policy.needs:
        return None
    head = getattr(model, "certainty", None)
    if head is None:
        raise UsageError(f"policy {policy.name!r} needs a certainty head: retrain with --lte")
    return head
