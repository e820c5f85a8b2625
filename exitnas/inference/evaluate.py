"""Evaluating a trained model: every exit, every policy's curve from one pass, a chosen point per policy, its speed."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from exitnas.errors import UsageError
from exitnas.inference.costs import model_macs
from exitnas.inference.speed import time_policies
from exitnas.inference.tradeoff import Point, choose, measure, trade_off
from exitnas.machine import describe_machine
from exitnas.policies import POLICIES
from exitnas.policies.base import Policy, make_policy
from exitnas.tasks.data import Split
from exitnas.tasks.spec import TaskSpec
from exitnas.training.batches import Encoded
from exitnas.training.evaluation import all_outputs, exit_scores, summarize


def applicable(model: Any, spec: TaskSpec) -> list[str]:
    """Names of the policies that can serve this model and task without labels."""
    able = []
    for name in POLICIES:
        entry = POLICIES.get(name)
        missing_head = "certainty" in entry.needs and getattr(model, "certainty", None) is None
        if "labels" not in entry.needs and not missing_head and (entry.regression or not spec.regression):
            able.append(name)
    return able


def check_policies(model: Any, spec: TaskSpec, policies: Sequence[str | Policy]) -> None:
    """Refuse policies, by name or with their parameters, that cannot serve this model and task.

    Raises:
        UsageError: a classifier's policy on a regression task, no certainty head, or a parameter beyond the model.
    """
    for policy in policies:
        name = policy if isinstance(policy, str) else policy.name
        entry = POLICIES.get(name)
        if isinstance(policy, Policy):
            policy.check(len(model.exits), spec.num_labels)
        elif spec.regression and not entry.regression:
            raise UsageError(
                f"policy {name!r} needs a classifier with at least 2 classes, this model answers with a number "
                f"(regression): use one of {', '.join(applicable(model, spec))}"
            )
        if "certainty" in entry.needs and getattr(model, "certainty", None) is None:
            raise _no_head(name)


def _no_head(policy: str) -> UsageError:
    return UsageError(
        f"policy {policy!r} needs a certainty head, and this model was trained without one: retrain with --lte"
    )


class Evaluation:
    """Logits of every exit on dev and test, computed once, and what can be read off them.

    Args:
        model: a `MultiExitForSequenceClassification` in eval mode.
        spec: its task.
        dev, test: pairs of tokenized and plain rows; settings are chosen on dev, scores reported on test.
    """

    def __init__(
        self,
        model: Any,
        spec: TaskSpec,
        dev: tuple[Encoded, Split],
        test: tuple[Encoded, Split],
        *,
        batch_size: int = 32,
        precision: str = "fp32",
    ):
        self.model, self.spec, self.precision = model, spec, precision
        self.splits = {"dev": dev, "test": test}
        device = next(model.parameters()).device
        outputs = {
            name: all_outputs(model, encoded, batch_size, device, precision)
            for name, (encoded, _) in self.splits.items()
        }
        self.logits = {name: logits for name, (logits, _) in outputs.items()}
        self.certainties = {name: certainty for name, (_, certainty) in outputs.items()}
        self.tokens = max(1, round(test[0].mean_length()))
        self.layer_macs, self.exit_macs = model_macs(model, self.tokens)

    def exits(self, split: str = "test") -> dict[str, Any]:
        """`exits, avg, best, best_exit` on a split."""
        return summarize(exit_scores(self.logits[split], self.splits[split][1], self.spec))

    def curve(self, policy: str, split: str = "test", points: int = 25, **fixed: Any) -> list[Point]:
        """The trade-off curve of a policy on a split."""
        return trade_off(policy, **self._measured_on(split, policy), points=points, fixed=fixed)

    def point(self, policy: Policy, split: str = "test") -> Point:
        """One setting of a policy on a split."""
        return measure(policy, **self._measured_on(split, policy.name))

    def _measured_on(self, split: str, policy: str) -> dict[str, Any]:
        """What measuring a policy on a split takes, as keyword arguments."""
        rows = self.splits[split][1]
        return {
            "logits": self.logits[split],
            "labels": np.asarray(rows.labels),
            "metric": self.spec.metric,
            "parts": rows.parts,
            "layer_macs": self.layer_macs,
            "exit_macs": self.exit_macs,
            "certainty": self.certainty(split, policy),
        }

    def certainty(self, split: str, policy: str) -> Tensor | None:
        """`[N, E]` of the certainty head for policies that need it, None for others."""
        if "certainty" not in POLICIES.get(policy).needs:
            return None
        certainty = self.certainties[split]
        if certainty is None:
            raise _no_head(policy)
        return certainty

    def chosen(self, policy: str, max_drop: float | None = None, **fixed: Any) -> Policy:
        """The setting stored with the model when it is of this policy and neither a drop nor a parameter is asked for.

        Else the fastest setting whose dev score is within `max_drop` of the last exit's (None: 0.01); the slowest if
        none is.
        """
        stored = getattr(self.model, "policy", None)
        if stored is not None and stored.name == policy and not fixed and max_drop is None:
            return stored
        max_drop = 0.01 if max_drop is None else max_drop
        curve = self.curve(policy, "dev", **fixed)
        point = choose(curve, self.exits("dev")["exits"][-1], max_drop)
        return make_policy(policy, (point or curve[-1]).parameters)

    def full_macs(self) -> float:
        """MACs per sample with early exit off: all layers and the last exit."""
        return sum(self.layer_macs) + self.exit_macs[-1]

    def report(
        self,
        policies: list[Policy],
        *,
        split: str = "test",
        curves: bool = True,
        samples: int = 64,
        rounds: int = 3,
    ) -> dict[str, Any]:
        """What `exitnas evaluate --json` prints.

        Args:
            policies: the settings to report, one row each.
            curves: whether to add every policy's trade-off curve under `curves`.
            samples: rows to time at batch 1; 0 leaves `wall_clock_speedup` None.
            rounds: repetitions of the timing.
        """
        rows = [asdict(self.point(policy, split)) for policy in policies]
        for row, policy in zip(rows, policies, strict=True):
            row["stored"] = policy == getattr(self.model, "policy", None)
        timings: list[Any] = [None] * len(rows)
        if samples and policies:
            timings = time_policies(
                self.model,
                self.splits[split][0],
                policies,
                samples=samples,
                rounds=rounds,
                precision=self.precision,
            )
        for row, timing in zip(rows, timings, strict=True):
            row["wall_clock_speedup"] = None if timing is None else timing.speedup
            row["wall_clock_reduction"] = None if timing is None else timing.reduction
            row["seconds_per_sample"] = None if timing is None else timing.early
        return {
            "task": self.spec.name,
            "metric": self.spec.metric,
            "split": split,
            **self.exits(split),
            "full": {"score": self.exits(split)["exits"][-1], "macs": self.full_macs()},
            "policies": rows,
            **(
                {"curves": {name: [asdict(p) for p in self.curve(name, split)] for name in _distinct(policies)}}
                if curves
                else {}
            ),
            "machine": describe_machine(next(self.model.parameters()).device, self.precision),
        }


def _distinct(policies: list[Policy]) -> list[str]:
    return list(dict.fromkeys(policy.name for policy in policies))
