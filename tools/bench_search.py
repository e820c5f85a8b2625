"""How fast one search epoch is: against plain fine-tuning, and against a textbook DARTS epoch.

Measured side by side on the same rows of RTE (or any task): (a) one plain fine-tuning epoch of the backbone with a
classifier on the last layer; (b) exitnas' search epoch: weight steps on D1, architecture steps on D2; (c) the same
with second-order architecture steps; (d) a textbook first-order DARTS epoch, written here: candidates one by one,
gradient through the backbone in the architecture step too, every row padded to 128 tokens. Rounds are interleaved;
medians are reported.

    python tools/bench_search.py --data-dir glue --limit-train 640 --rounds 3
"""

from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import click
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from exitnas.cli import options
from exitnas.errors import ExitnasError
from exitnas.exits.operations import EDGES
from exitnas.files import write_json
from exitnas.machine import describe_machine
from exitnas.objectives.base import task_losses
from exitnas.search.second_order import second_order_step
from exitnas.search.state import SearchState
from exitnas.search.steps import architecture_step, weight_step
from exitnas.settings import SearchSettings, make_settings
from exitnas.supernet.space import load_space
from exitnas.training.batches import shuffled
from exitnas.training.device import seeded, to_device
from exitnas.training.setup import Setup, prepare

TEXTBOOK_LENGTH = 128


def fine_tuning_epoch(setup: Setup, settings: SearchSettings) -> float:
    """Seconds of one epoch of plain fine-tuning on all rows: last layer, first token, linear classifier."""
    backbone = setup.fresh_backbone()
    head = nn.Linear(backbone.hidden_size, setup.spec.num_labels).to(setup.device)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, fused=True)
    rows = list(range(len(setup.train)))
    order = shuffled(setup.train, rows, settings.batch_size, torch.Generator().manual_seed(0))
    began = perf_counter()
    for indices in order:
        batch = to_device(setup.train.batch(indices), setup.device)
        states, _ = backbone(batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids"))
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(head(states[-1][:, 0]), batch["labels"]).backward()
        clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
    return _elapsed(began, setup)


def search_epoch(setup: Setup, settings: SearchSettings, second_order: bool = False) -> float:
    """Seconds of one epoch of exitnas' bilevel search on all rows."""
    state = SearchState.start(setup, settings, load_space(settings.space))
    began = perf_counter()
    state.split(len(setup.train))
    first, second = (shuffled(setup.train, half, settings.batch_size, state.generator) for half in state.halves)
    for rows, other_rows in zip(first, second, strict=False):
        batch, other = (to_device(setup.train.batch(half), setup.device) for half in (rows, other_rows))
        if second_order:
            second_order_step(state, other, batch, 1.0, settings.clip)
        else:
            architecture_step(state, other, settings.precision)
        weight_step(state, batch, settings.precision, 1.0, settings.clip)
    return _elapsed(began, setup)


def textbook_epoch(setup: Setup, settings: SearchSettings) -> float:
    """Seconds of one first-order DARTS epoch as its papers' scripts write it."""
    state = SearchState.start(setup, settings, load_space(settings.space))
    supernet, generator = state.supernet, torch.Generator().manual_seed(0)
    order = torch.randperm(len(setup.train), generator=generator).tolist()
    middle, size = len(order) // 2, settings.batch_size
    began = perf_counter()
    for start in range(0, middle, size):
        for optimizer, rows in ((state.architecture, order[middle:]), (state.weights, order[:middle])):
            batch = to_device(setup.train.batch(rows[start : start + size], TEXTBOOK_LENGTH), setup.device)
            states, mask = supernet.backbone(batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids"))
            logits = [_plain_exit(supernet, layer, hidden, mask) for layer, hidden in enumerate(states)]
            supernet.zero_grad(set_to_none=True)
            task_losses(logits, batch["labels"]).sum().backward()
            clip_grad_norm_(supernet.parameters(), settings.clip)
            optimizer.step()
    return _elapsed(began, setup)


def _plain_exit(supernet: Any, layer: int, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A mixed exit with every candidate run by itself, as in DARTS' `MixedOp`."""
    exit_ = supernet.exits[layer]
    weights = {edge: supernet.architecture.alphas[edge][layer].softmax(-1) for edge in EDGES}
    x = exit_.activation_in(exit_.down(hidden), weights["activation_in"])
    x = exit_.encoder.candidate_by_candidate(x, mask, [weights["encoder_1"], weights["encoder_2"]])
    return exit_.classifier(exit_.activation_out(exit_.pooling(x, mask, weights["pooling"]), weights["activation_out"]))


def _elapsed(began: float, setup: Setup) -> float:
    if setup.device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - began


def bench(rounds: int, output: str | None, **values: Any) -> None:
    """Print the median seconds of the epochs and their ratios."""
    settings = make_settings(SearchSettings, **values)
    setup = prepare(settings)
    contestants = {
        "fine-tuning": fine_tuning_epoch,
        "search": search_epoch,
        "second order": partial(search_epoch, second_order=True),
        "textbook DARTS": textbook_epoch,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    with seeded(settings.seed, setup.device):
        for number in range(rounds):
            for name, epoch in contestants.items():
                seconds[name].append(epoch(setup, settings))
                click.echo(f"round {number + 1}: {name} {seconds[name][-1]:.1f} s", err=True)
    medians = {name: median(values) for name, values in seconds.items()}
    result = {
        "rows": len(setup.train),
        "rounds": rounds,
        "seconds": seconds,
        "medians": medians,
        "search_over_fine_tuning": medians["search"] / medians["fine-tuning"],
        "textbook_over_search": medians["textbook DARTS"] / medians["search"],
        "second_order_over_search": medians["second order"] / medians["search"],
        "machine": describe_machine(setup.device),
    }
    for name, value in medians.items():
        click.echo(f"{name:15s} {value:8.1f} s")
    click.echo(f"search over fine-tuning: {result['search_over_fine_tuning']:.2f}x (at most 1.0x wanted)")
    click.echo(f"textbook over search:    {result['textbook_over_search']:.2f}x (at least 2.5x wanted)")
    click.echo(f"second order over search: {result['second_order_over_search']:.2f}x")
    if output:
        write_json(output, result)


@click.command()
@click.option("--task", default="rte", show_default=True)
@click.option("--backbone", default="minilm-l6", show_default=True)
@options.data_dir
@options.limit_train
@click.option("--rounds", type=int, default=3, show_default=True)
@options.device
@click.option("--output", help="JSON file to write.")
def main(**values: Any) -> None:
    """Print the median seconds of the epochs and their ratios."""
    try:
        bench(**values)
    except ExitnasError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
