"""Entropy in the lower layers, votes in the upper ones (suggested by Sun et al. 2021, section 4.3)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from exitnas.errors import require
from exitnas.policies.base import Policy, State, check_number, probabilities
from exitnas.policies.entropy import entropy
from exitnas.policies.thresholds import cut_points, even_thresholds, spread
from exitnas.policies.voting import cast_votes, check_votes, majority, needed_votes, no_votes, votes_can_reach

TURN = 1.5
"""Speed-up in layers at which `sweep` changes the rule; in the paper votes win below 1.4 and entropy above 1.6."""


@dataclass(frozen=True)
class Hybrid(Policy):
    """Leave by low entropy up to layer `switch`, by the votes of all exits so far after it.

    The paper finds voting best at low speed-ups and entropy best at high ones, and suggests a hybrid without spelling
    it out. Here the speed-up is that of the sample: one that leaves at layer l runs at E / l, so the lower layers,
    where leaving means a high speed-up, ask for entropy < `threshold`, and the upper ones for V >= `delta` (eq. 23).
    Every exit votes from the first layer on. A sample that leaves by entropy gets that exit's own prediction, one that
    leaves by votes or at the last layer the majority; `switch` 0 is policy voting, `switch` E is policy entropy.

    Args:
        threshold: at least 0, in nats, compared strictly as in policy entropy.
        delta: above 0, as in policy voting.
        switch: 0..E, the last layer that asks for entropy.
        k: in [0, 1), as in policy voting.
    """

    threshold: float
    delta: float
    switch: int
    k: float = 0.5

    name: ClassVar[str] = "hybrid"

    def __post_init__(self) -> None:
        check_number(self.name, "threshold", self.threshold, "a number of at least 0", 0.0)
        check_votes(self.name, self.delta, self.k)
        fits = isinstance(self.switch, int) and not isinstance(self.switch, bool) and self.switch >= 0
        require(fits, f"policy 'hybrid': switch must be a whole number of at least 0, got {self.switch!r}")

    def check(self, num_exits: int, num_labels: int | None = None) -> None:
        super().check(num_exits, num_labels)
        require(self.switch <= num_exits, f"policy 'hybrid': switch must be 0..{num_exits} here, got {self.switch}")

    def fresh_state(self, batch: int, num_labels: int, device: torch.device) -> State:
        return no_votes(batch, num_labels, device)

    def needs_exit(self, exit_index: int, num_exits: int) -> bool:
        return exit_index == num_exits - 1 or self.switch < num_exits or self.threshold > 0

    def can_leave(self, exit_index: int, num_exits: int) -> bool:
        if exit_index < self.switch:
            return self.threshold > 0
        return votes_can_reach(exit_index + 1, self.delta, self.k, first=self.switch + 1)

    def step(
        self,
        exit_index: int,
        logits: Tensor,
        state: State,
        *,
        certainty: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        layer = exit_index + 1
        cast_votes(state, logits, layer)
        if layer <= self.switch:
            return entropy(logits) < self.threshold
        return state["votes"].amax(dim=-1) >= needed_votes(layer, self.delta, self.k)

    def answer(self, logits: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """The exit's own prediction up to layer `switch`, the majority and the shares of the votes after it."""
        layer = state["last_vote"].amax(dim=-1)  # every exit votes, so the latest vote tells the layer
        asks_entropy = layer <= self.switch
        predictions, shares = majority(state)
        own = logits.argmax(dim=-1)
        return (
            torch.where(asks_entropy, own, predictions),
            torch.where(asks_entropy[:, None], probabilities(logits), shares),
        )

    @classmethod
    def sweep(
        cls,
        logits: Tensor,
        points: int = 25,
        *,
        certainty: Tensor | None = None,
        switch: int | None = None,
        k: float = 0.5,
    ) -> list[Policy]:
        """At most `points` pairs of a threshold and a delta for one `switch`, from nobody early to everybody at once.

        Both become looser together, each over its own quantiles, so the executed layers fall steadily. Unless given,
        `switch` is the layer before E / 1.5: were votes alone to decide, their speed-ups would be those up to 1.5.
        """
        num_exits, num_labels = logits.shape[1:]
        turn = max(round(num_exits / TURN) - 1, 0) if switch is None else switch
        cls(0.0, 1.0, turn, k).check(num_exits, num_labels)
        sharpness = entropy(logits)
        votes = torch.nn.functional.one_hot(logits.argmax(dim=-1), num_labels).cumsum(dim=1).amax(dim=-1).double()
        share = votes / torch.arange(1, num_exits + 1, device=logits.device, dtype=torch.float64) ** k
        silent = share.clone()
        silent[:, :turn] = -torch.inf
        # the last column of what even_thresholds and cut_points are given plays no part: there everybody leaves
        thresholds = even_thresholds(sharpness[:, : turn + 1], 2 * points, 0.0, 1.01 * math.log(num_labels))
        deltas = (-cut_points(-silent, -(num_exits + 1.0), -1 / (num_exits + 1))[0]).tolist()[::-1]

        count = max(len(thresholds), len(deltas), 2)
        settings, executed = [], []
        for step in range(count):
            threshold = thresholds[step * (len(thresholds) - 1) // (count - 1)]
            delta = deltas[step * (len(deltas) - 1) // (count - 1)]
            leave = torch.cat([sharpness[:, :turn] < threshold, share[:, turn:] >= delta], dim=1)
            settings.append(cls(threshold, delta, turn, k))
            executed.append(int((leave.cumsum(dim=1) == 0)[:, :-1].sum()))
        return [settings[index] for index in spread(torch.tensor(executed), points)]
