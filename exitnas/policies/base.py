"""What every exit policy is: parameters checked on construction, a state per sample, one step per exit.

A policy sees the logits of the exits passed so far and nothing else. Its state is a dict of tensors whose first
dimension is the sample, so samples can be dropped from it one by one and the answers of any batch are those of
batch size one.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import MISSING, Field, asdict, dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from exitnas.errors import UsageError, require
from exitnas.policies import POLICIES
from exitnas.registry import nearest

State = dict[str, Tensor]


@dataclass(frozen=True)
class Policy(ABC):
    """A rule that decides after every exit which samples leave, and what they are told.

    Subclasses are frozen dataclasses; their fields are the policy's parameters and are checked in `__post_init__`
    (`UsageError` with the valid range). Layers are counted from 1 in parameters and messages; `exit_index`
    arguments count from 0.

    Class attributes:
        name: the policy's name in `POLICIES`.
        regression: whether it also serves models that answer with one number (C = 1).
        needs: what `step` needs beyond logits: `"labels"`, `"certainty"`, or nothing.
    """

    name: ClassVar[str]
    regression: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()

    def parameters(self) -> dict[str, Any]:
        """The parameters as JSON values; `make_policy(policy.name, policy.parameters())` is the same policy."""
        return asdict(self)

    def check(self, num_exits: int, num_labels: int | None = None) -> None:
        """Raise `UsageError` when this policy cannot serve a model of E exits and C labels (None: not known yet)."""
        if num_labels is not None and num_labels < 2 and not self.regression:
            able = ", ".join(name for name in POLICIES if POLICIES.get(name).regression)
            raise UsageError(
                f"policy {self.name!r} needs a classifier with at least 2 classes, "
                f"this model answers with {num_labels} number (regression): use one of {able}"
            )

    def start(self, batch: int, num_exits: int, num_labels: int, device: torch.device | str = "cpu") -> State:
        """A fresh state for B samples of a model with E exits and C labels; every tensor's first dimension is B."""
        self.check(num_exits, num_labels)
        return self.fresh_state(batch, num_labels, torch.device(device))

    def fresh_state(self, batch: int, num_labels: int, device: torch.device) -> State:
        """The tensors remembered between exits; none unless a policy overrides this."""
        return {}

    def needs_exit(self, exit_index: int, num_exits: int) -> bool:
        """Whether the answer may depend on the exit at 0-based `exit_index` of E; other exits are not run at all.

        At least one exit must be needed. At the last needed one everybody who is left leaves.
        """
        return True

    def can_leave(self, exit_index: int, num_exits: int) -> bool:
        """Whether `step` may let a sample go at a needed exit, for some logits of samples that are still running.

        False spares the engine the question: a device synchronization, and the whole `step` of a policy without state.
        True is always allowed.
        """
        return True

    def final_exit(self, num_exits: int) -> int:
        """0-based index of the last exit needed of E: no layer after it is run, and everybody left leaves there."""
        return max(index for index in range(num_exits) if self.needs_exit(index, num_exits))

    @abstractmethod
    def step(
        self,
        exit_index: int,
        logits: Tensor,
        state: State,
        *,
        certainty: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Take note of one exit and say who leaves there.

        Args:
            exit_index: 0-based; called once per needed exit, in order. An engine may leave out the exits where nobody
                can leave when the policy keeps no state.
            logits: [B, C] of this exit (regression: the values, [B, 1]).
            state: updated in place (its entries are replaced).
            certainty: [B] in [0, 1], given when `needs` has "certainty".
            labels: [B], given when `needs` has "labels".

        Returns:
            leave: [B] bool. At the last needed exit everybody leaves, whatever this says.
        """

    def answer(self, logits: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """What a sample that leaves now is told; called after `step` with the same logits and state, if there was one.

        Returns:
            predictions: [B] int64 class indices (regression: float32 values).
            scores: [B, C] float32 class probabilities (regression: the values, [B, 1]).
        """
        if logits.shape[-1] == 1:
            return logits[:, 0].float(), logits.float()
        return logits.argmax(dim=-1), probabilities(logits)

    @classmethod
    @abstractmethod
    def sweep(cls, logits: Tensor, points: int = 25, *, certainty: Tensor | None = None) -> "list[Policy]":
        """Settings that together draw this policy's trade-off curve, slowest and fastest setting included.

        Args:
            logits: [N, E, C] of all exits on the data the curve is drawn for; labels play no part.
            points: how many settings, spread evenly over the mean executed layers as far as the data allow.
            certainty: [N, E], for the policies that need it.
        """


def select_state(state: State, keep: Tensor) -> State:
    """The state of the samples `keep` ([K] int64), in that order."""
    return {key: value.index_select(0, keep) for key, value in state.items()}


def probabilities(logits: Tensor) -> Tensor:
    """Softmax over the last dimension in fp32, whatever precision the logits came in."""
    return torch.softmax(logits.float(), dim=-1)


def make_policy(name: str, parameters: dict[str, Any]) -> Policy:
    """The policy `name` with `parameters`; unknown, missing or impossible ones are a `UsageError`."""
    entry = POLICIES.get(name)
    known: dict[str, Field] = {field.name: field for field in fields(entry)}
    for key in parameters:
        if key not in known:
            hint = nearest(key, list(known)) if known else "it takes none"
            raise UsageError(f"policy {name!r} has no parameter {key!r}: {hint}")
    missing = [key for key, field in known.items() if field.default is MISSING and key not in parameters]
    require(not missing, f"policy {name!r} needs a value for {', '.join(missing)}")
    return POLICIES.create(name, **parameters)


def no_early_exit(num_exits: int) -> Policy:
    """The policy of a model of E exits with early exit off: the last exit alone is run and answers."""
    return make_policy("static", {"exit": num_exits})


def check_number(policy: str, parameter: str, value: Any, valid: str, low: float, high: float = math.inf) -> None:
    """Refuse a parameter that is not a finite number in [low, high]; `valid` words the range."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    require(fits and low <= value <= high, f"policy {policy!r}: {parameter} must be {valid}, got {value!r}")


def check_count(policy: str, parameter: str, value: Any) -> None:
    """Refuse a parameter that is not a whole number of at least 1."""
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    require(fits, f"policy {policy!r}: {parameter} must be a whole number of at least 1, got {value!r}")
