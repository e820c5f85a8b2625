"""Running a stream of batches so that deep layers work on full batches: survivors of several batches are pooled."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from exitnas.errors import require
from exitnas.inference.engine import Plan, Running, embed, read_exit
from exitnas.inference.simulate import Outcome
from exitnas.policies.base import Policy


def run_stream(
    model: Any, batches: Iterable[Mapping[str, Tensor]], policy: Policy, batch_size: int = 32, *, lag: int = 64
) -> Iterator[Outcome]:
    """Answer batches one after the other, each sample as `exitnas.inference.engine.run` does.

    Samples that stay after a layer wait until `batch_size` of them can enter the next one together; what still waits
    runs in smaller batches at the end. So fewer than `batch_size` samples wait before each layer, besides the batch
    that came last. Batches of different lengths are padded to the longest when pooled, so similar lengths cost least.

    Per layer that somebody can leave at there is one device synchronization, which fetches the answers too, and one at
    the end; elsewhere none.

    Args:
        model, policy: as for `run`.
        batches: as for `run`, of any sizes and lengths; read as answers are asked for.
        batch_size: rows per layer call, at least 1; larger batches are cut.
        lag: at most so many batches wait for their answers, at least 1; one more, and all that waits is run. Without
            it a sample could wait for company in a deep layer for as long as the stream lasts.

    Yields:
        one outcome per batch in the order of the batches, on CPU.

    Raises:
        UsageError: as `run`, or `batch_size` or `lag` is below 1.
    """
    require(batch_size >= 1, f"batch_size: expected at least 1, got {batch_size}")
    require(lag >= 1, f"lag: expected at least 1, got {lag}")
    return _outcomes(_Pools(model, policy, batch_size), batches, lag)


@torch.inference_mode()
def _outcomes(pools: "_Pools", batches: Iterable[Mapping[str, Tensor]], lag: int) -> Iterator[Outcome]:
    pending: deque[_Answers] = deque()
    for batch in batches:
        pending.append(pools.add(batch))
        pools.work()
        if len(pending) > lag:
            pools.work(flush=True)
        while pending and pending[0].missing == 0:
            yield pending.popleft().outcome()
    pools.work(flush=True)
    while pending:
        yield pending.popleft().outcome()


class _Answers:
    """The answers of one batch of B samples as they come in: per row its exit, prediction and C scores."""

    def __init__(self, size: int):
        self.rows: list[list[float]] = [[] for _ in range(size)]
        self.missing = size

    def put(self, row: int, answer: list[float]) -> None:
        self.rows[row] = answer
        self.missing -= 1

    def outcome(self) -> Outcome:
        table = torch.tensor(self.rows).reshape(len(self.rows), -1) if self.rows else torch.zeros(0, 2)
        scores = table[:, 2:]
        kind = torch.float32 if scores.shape[1] == 1 else torch.int64
        return Outcome(table[:, 0].long(), table[:, 1].to(kind), scores)


@dataclass
class _Part:
    """Samples that wait together, and for each the answers of its batch and its row there."""

    running: Running
    places: list[tuple[_Answers, int]]

    def split(self, count: int) -> tuple["_Part", "_Part"]:
        """The first `count` samples, and the others."""
        head, tail = torch.arange(len(self.places), device=self.running.hidden.device).tensor_split([count])
        return (
            _Part(self.running.select(head), self.places[:count]),
            _Part(self.running.select(tail), self.places[count:]),
        )


class _Pools:
    """The samples waiting before every layer."""

    def __init__(self, model: Any, policy: Policy, batch_size: int):
        self.model, self.policy, self.batch_size = model, policy, batch_size
        self.plan = Plan.of(model, policy)
        self.waiting: list[list[_Part]] = [[] for _ in range(self.plan.final + 1)]

    def add(self, batch: Mapping[str, Tensor]) -> _Answers:
        """Let the samples of a batch wait before layer 0; returns where their answers will be."""
        answers = _Answers(len(batch["input_ids"]))
        if answers.missing:
            places = [(answers, row) for row in range(answers.missing)]
            self.waiting[0].append(_Part(embed(self.model, batch, self.policy), places))
        return answers

    def count(self, layer: int) -> int:
        """How many samples wait before `layer`."""
        return sum(len(part.places) for part in self.waiting[layer])

    def work(self, *, flush: bool = False) -> None:
        """Run the deepest full batch until there is none; with `flush` then also what waits, the first layer first.

        Deepest first keeps few waiting; a flush from the first layer on lets small batches meet others on their way.
        """
        layers = range(len(self.waiting))
        while True:
            full = [layer for layer in layers if self.count(layer) >= self.batch_size]
            some = [layer for layer in layers if self.waiting[layer]] if flush else []
            if not full and not some:
                return
            layer = full[-1] if full else some[0]
            self.advance(layer, self.take(layer))

    def take(self, layer: int) -> _Part:
        """The first `batch_size` samples, or all there are, that wait before `layer`, as one batch."""
        chosen: list[_Part] = []
        room, parts = self.batch_size, self.waiting[layer]
        while parts and room:
            part = parts.pop(0)
            if len(part.places) > room:
                part, rest = part.split(room)
                parts.insert(0, rest)
            chosen.append(part)
            room -= len(part.places)
        return chosen[0] if len(chosen) == 1 else _merged(self.model, chosen)

    def advance(self, layer: int, part: _Part) -> None:
        """Run layers from `layer` on, until nobody is left or the rest had better wait for company."""
        running, places = part.running, part.places
        for index in range(layer, self.plan.final + 1):
            running.hidden = self.model.backbone.layer(index, running.hidden, running.context)
            if not self.plan.reads[index]:
                continue
            logits, leave = read_exit(self.model, self.policy, self.plan, index, running)
            if leave is None and index < self.plan.final:
                continue
            answers, shares = self.policy.answer(logits, running.state or {})
            gone = torch.ones(len(running), dtype=torch.bool, device=answers.device) if leave is None else leave
            columns = [gone[:, None].float(), answers[:, None].float(), shares.float()]
            table = torch.cat(columns, dim=1).tolist()  # the layer's one synchronization
            for (batch, row), answer in zip(places, table, strict=True):
                if answer[0]:
                    batch.put(row, [index + 1.0, *answer[1:]])
            places = [place for place, answer in zip(places, table, strict=True) if not answer[0]]
            if not places:
                return
            if len(places) < len(running):
                # who stays, in their order; the count is known, so this needs no synchronization
                running = running.select(gone.to(torch.uint8).argsort(stable=True)[: len(places)])
            if len(places) < self.batch_size:
                self.waiting[index + 1].append(_Part(running, places))
                return


def _merged(model: Any, parts: list[_Part]) -> _Part:
    """One part from several that wait before the same layer."""
    running = [part.running for part in parts]
    hidden, context = model.backbone.merge([(some.hidden, some.context.mask) for some in running])
    labels = [some.labels for some in running if some.labels is not None]
    states = [some.state for some in running if some.state is not None]
    return _Part(
        Running(
            hidden,
            context,
            torch.cat(labels) if labels else None,
            {key: torch.cat([state[key] for state in states]) for key in states[0]} if states else None,
        ),
        [place for part in parts for place in part.places],
    )
