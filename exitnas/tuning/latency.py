"""How long an exit takes, measured on the CPU."""

from statistics import fmean, median
from time import perf_counter

import torch

from exitnas.exits.exit import build_exits
from exitnas.exits.genotype import Genotype
from exitnas.training.device import seeded

ROUNDS = 25


@torch.inference_mode()
def mean_exit_milliseconds(genotype: Genotype, num_labels: int, tokens: int, rounds: int = ROUNDS) -> float:
    """Mean over exits of the milliseconds one exit takes on a single row of T = `tokens` tokens.

    Exits take turns, and of each the median over rounds counts, after a round that is not counted; the time does not
    depend on the weights, so fresh ones are timed. Workers that train beside it slow it down: compare trials of one
    study, made with the same number of workers.
    """
    with seeded(0):
        exits = build_exits(genotype, num_labels).eval()
        hidden = torch.randn(1, tokens, genotype.hidden_size)
    mask = torch.ones(1, tokens, dtype=torch.bool)
    seconds: list[list[float]] = [[] for _ in exits]
    for number in range(rounds + 1):
        for index, exit_ in enumerate(exits):
            began = perf_counter()
            exit_(hidden, mask)
            if number:
                seconds[index].append(perf_counter() - began)
    return 1000 * fmean(median(times) for times in seconds)
