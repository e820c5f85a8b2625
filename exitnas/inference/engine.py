"""Running a real batch so that samples leave one by one and the rest go on, compacted."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from exitnas.backbones.base import Context
from exitnas.errors import UsageError
from exitnas.inference.simulate import Outcome
from exitnas.policies.base import Policy, State, select_state


@dataclass(frozen=True)
class Plan:
    """What a policy makes of E exits.

    Attributes:
        reads: per exit, whether it is run at all.
        asks: per exit, whether somebody may leave there while others go on, which takes a synchronization to know.
        final: 0-based index of the exit at which everybody left leaves.
    """

    reads: tuple[bool, ...]
    asks: tuple[bool, ...]
    final: int

    @classmethod
    def of(cls, model: Any, policy: Policy) -> "Plan":
        """The plan of `policy` for `model`.

        Raises:
            UsageError: the policy does not fit the model.
            ValueError: the model is in train mode.
        """
        if model.training:
            raise ValueError("early exit expects a model in eval mode: call model.eval() first")
        if "certainty" in policy.needs and getattr(model, "certainty", None) is None:
            raise UsageError(f"policy {policy.name!r} needs a certainty head: retrain with --lte")
        count = len(model.exits)
        policy.check(count)
        final = policy.final_exit(count)
        reads = tuple(policy.needs_exit(index, count) for index in range(count))
        asks = tuple(reads[index] and index < final and policy.can_leave(index, count) for index in range(count))
        return cls(reads, asks, final)


@dataclass
class Running:
    """Samples on their way through the layers.

    Attributes:
        hidden: [b, T, D], what enters the next layer.
        context: of these b samples.
        labels: [b], for policies that need them.
        state: the policy's, None before the first exit that is read.
    """

    hidden: Tensor
    context: Context
    labels: Tensor | None
    state: State | None = None

    def __len__(self) -> int:
        return self.hidden.shape[0]

    def select(self, keep: Tensor) -> "Running":
        """The samples `keep` ([n] int64), in that order."""
        return Running(
            hidden=self.hidden.index_select(0, keep),
            context=self.context.select(keep),
            labels=None if self.labels is None else self.labels.index_select(0, keep),
            state=None if self.state is None else select_state(self.state, keep),
        )


@torch.inference_mode()
def run(model: Any, batch: Mapping[str, Tensor], policy: Policy) -> Outcome:
    """Answer one batch, running no layer for a sample that has left.

    Per layer: one backbone layer on the b samples still running, their exit if the policy reads it, and, only where
    somebody can leave, one device synchronization (how many stay). Only when somebody leaves are answers written and
    the rest compacted; answers are written for all b samples and overwritten by later layers, so no second selection
    (and synchronization) is needed.

    Args:
        model: in eval mode, with `backbone` (`exitnas.backbones.base.Backbone`), `exits` (of length E) and
            `exit(index, hidden [b, T, D], mask [b, T] or None) -> logits [b, C]`; a policy that needs certainty also
            calls `model.certainty(hidden, mask) -> [b]`.
        batch: `input_ids` and `attention_mask` [B, T], optionally `token_type_ids` [B, T]; `labels` [B] for policies
            that need them.

    Returns:
        the outcome of the B samples in the batch's order, on the batch's device.

    Raises:
        UsageError: the policy does not fit the model, or needs labels or certainty that are not there.
    """
    plan = Plan.of(model, policy)
    running = embed(model, batch, policy)
    size, device = len(running), running.hidden.device
    rows = torch.arange(size, device=device)  # [b] rows of the batch that are still running
    exits = torch.zeros(size, dtype=torch.int64, device=device)
    predictions: Tensor | None = None
    for index in range(plan.final + 1):
        running.hidden = model.backbone.layer(index, running.hidden, running.context)
        if not plan.reads[index]:
            continue
        logits, leave = read_exit(model, policy, plan, index, running)
        if predictions is None:
            kind = torch.float32 if logits.shape[-1] == 1 else torch.int64
            predictions = torch.zeros(size, dtype=kind, device=device)
            scores = torch.zeros(size, logits.shape[-1], device=device)
        if index < plan.final:
            if leave is None:
                continue
            keep = (~leave).nonzero().squeeze(1)  # the layer's one synchronization
            if len(keep) == len(running):
                continue
        answers, shares = policy.answer(logits, running.state or {})
        predictions.index_copy_(0, rows, answers)
        scores.index_copy_(0, rows, shares)
        exits.index_fill_(0, rows, index + 1)
        if index == plan.final or len(keep) == 0:
            break
        rows = rows.index_select(0, keep)
        running = running.select(keep)
    assert predictions is not None
    return Outcome(exits, predictions, scores)


def embed(model: Any, batch: Mapping[str, Tensor], policy: Policy) -> Running:
    """The samples of `batch` before layer 0."""
    labels = None
    if "labels" in policy.needs:
        if "labels" not in batch:
            raise UsageError(f"policy {policy.name!r} needs labels and the batch has none: choose another policy")
        labels = batch["labels"]
    hidden, context = model.backbone.embed(batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids"))
    return Running(hidden, context, labels)


def read_exit(model: Any, policy: Policy, plan: Plan, index: int, running: Running) -> tuple[Tensor, Tensor | None]:
    """Run the exit at 0-based `index` and let the policy take note; no synchronization.

    Returns:
        logits: [b, C] of the exit.
        leave: [b] bool, or None where the plan does not ask. A policy without state is not called there.
    """
    hidden, mask = running.hidden, running.context.mask if running.context.padded else None
    logits = full_precision(partial(model.exit, index), hidden, mask)
    if running.state is None:
        running.state = policy.start(len(running), len(plan.reads), logits.shape[-1], hidden.device)
    if not plan.asks[index] and not running.state:
        return logits, None
    certainty = full_precision(model.certainty, hidden, mask) if "certainty" in policy.needs else None
    leave = policy.step(index, logits, running.state, certainty=certainty, labels=running.labels)
    return logits, leave if plan.asks[index] else None


def full_precision(head: Any, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Call a head outside any autocast: lower precision pays in the backbone, in these small modules it costs time."""
    if not torch.is_autocast_enabled(hidden.device.type):
        return head(hidden, mask)
    with torch.autocast(hidden.device.type, enabled=False):
        return head(hidden.float(), mask)
