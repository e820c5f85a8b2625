"""Leave when enough of the exits so far voted for one class; the majority answers (Sun et al. 2021, eq. 23)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from exitnas.errors import require
from exitnas.policies.base import Policy, State, check_number
from exitnas.policies.thresholds import cut_points, spread

PAPER_K = (0.0, 0.25, 0.5, 0.75)


def check_votes(policy: str, delta: float, k: float) -> None:
    """Refuse a `delta` that is not above 0, or a `k` that is not in [0, 1)."""
    check_number(policy, "delta", delta, "a number above 0", 0.0)
    check_number(policy, "k", k, "at least 0 and below 1", 0.0)
    require(delta > 0, f"policy {policy!r}: delta must be a number above 0, got {delta!r}")
    require(k < 1, f"policy {policy!r}: k must be at least 0 and below 1, got {k!r}")


def no_votes(batch: int, num_labels: int, device: torch.device) -> State:
    """The state of B samples before the first vote: `votes` [B, C], and `last_vote` [B, C], the layer of the latest."""
    votes = torch.zeros(batch, num_labels, dtype=torch.int64, device=device)
    return {"votes": votes, "last_vote": votes.clone()}


def cast_votes(state: State, logits: Tensor, layer: int) -> None:
    """Count the vote of the exit at `layer` (from 1) with logits [B, C]."""
    vote = logits.argmax(dim=-1, keepdim=True)
    state["votes"] = state["votes"].scatter_add(1, vote, torch.ones_like(vote))
    state["last_vote"] = state["last_vote"].scatter(1, vote, torch.full_like(vote, layer))


def majority(state: State) -> tuple[Tensor, Tensor]:
    """The class with the most votes [B], the latest voted for of tied ones, and every class's share [B, C]."""
    votes = state["votes"]
    tied = votes == votes.amax(dim=-1, keepdim=True)
    predictions = state["last_vote"].masked_fill(~tied, -1).argmax(dim=-1)
    return predictions, votes.float() / votes.sum(dim=-1, keepdim=True)


def needed_votes(layer: int, delta: float, k: float) -> int:
    """The fewest votes with which V = votes / layer**k >= delta after `layer` exits; more than `layer` if none do."""
    return next((votes for votes in range(1, layer + 1) if votes / layer**k >= delta), layer + 1)


def votes_can_reach(layer: int, delta: float, k: float, first: int = 1) -> bool:
    """Whether a sample still running can have the votes it needs after `layer` exits.

    V is at most layer**(1-k). Moreover a sample that stayed had fewer votes than were needed one layer earlier, and
    gets one more at most; so after `first`, the earliest layer that asks for votes, somebody can leave only where no
    more votes are needed than one layer earlier.
    """
    needed = needed_votes(layer, delta, k)
    return needed <= layer and (layer == first or needed <= needed_votes(layer - 1, delta, k))


@dataclass(frozen=True)
class Voting(Policy):
    """Leave when V = (most votes for one class) / l**k >= `delta` after l exits, equality included (eq. 23).

    The answer is the class with the most votes, at the last layer too. Between tied classes the one voted for most
    recently answers, which is the current exit's own prediction whenever that is among them.
    V is 1 at the first layer and at most l**(1-k), so `delta` <= 1 lets everybody go at layer 1.

    Args:
        delta: above 0.
        k: in [0, 1): how strongly a late layer's threshold grows; the paper picks from 0, 0.25, 0.5 and 0.75.
    """

    delta: float
    k: float = 0.5

    name: ClassVar[str] = "voting"

    def __post_init__(self) -> None:
        check_votes(self.name, self.delta, self.k)

    def fresh_state(self, batch: int, num_labels: int, device: torch.device) -> State:
        return no_votes(batch, num_labels, device)

    def can_leave(self, exit_index: int, num_exits: int) -> bool:
        return votes_can_reach(exit_index + 1, self.delta, self.k)

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
        return state["votes"].amax(dim=-1) >= needed_votes(layer, self.delta, self.k)

    def answer(self, logits: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """The majority [B], and every class's share of the votes [B, C]."""
        return majority(state)

    @classmethod
    def sweep(
        cls, logits: Tensor, points: int = 25, *, certainty: Tensor | None = None, k: float | None = None
    ) -> list[Policy]:
        """`points` values of delta, from everybody at layer 1 to nobody early.

        V takes few values (at most E(E-1)/2 for one k), so unless `k` is fixed the settings come from all four values
        of k that the paper tries. With few layers or classes fewer than `points` settings may differ.
        """
        num_exits, num_labels = logits.shape[1:]
        cls(1.0).check(num_exits, num_labels)
        votes = torch.nn.functional.one_hot(logits.argmax(dim=-1), num_labels).cumsum(dim=1).amax(dim=-1).double()
        layer = torch.arange(1, num_exits + 1, device=logits.device, dtype=torch.float64)
        settings: list[Policy] = []
        layers = []
        for power in PAPER_K if k is None else (k,):
            # a delta above E is out of reach for every k, a delta of 1 is reached at layer 1
            thresholds, executed = cut_points(-votes / layer**power, -(num_exits + 1.0), -1.0)
            settings += [cls(-cut, power) for cut in thresholds.tolist()]
            layers.append(executed)
        return [settings[index] for index in spread(torch.cat(layers), points)]
