"""Refinement: whole candidate exits, trained by themselves on the hidden states that the search ended with.

The supernet judges operations edge by edge inside a mixture. What works only together (attention with the pooling of
the first token) or takes longer to learn than a skip-connection is judged too low there. But once hidden states are
given, exits of different layers do not interact, and they are tiny. So every layer's arg-max exit competes with others
drawn from the search space, each trained alone: successive halving (Jamieson and Talwalkar 2016). This step is ours,
not LECO's; `--refine 0` leaves it out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from exitnas.distributed import gathered, processes, rank
from exitnas.exits.exit import Exit
from exitnas.exits.genotype import ExitGenotype, Genotype
from exitnas.exits.operations import EDGES
from exitnas.objectives.base import exit_loss
from exitnas.reporting.progress import Reporter
from exitnas.search.state import SearchState
from exitnas.settings import SearchSettings
from exitnas.supernet.discretize import ONCE
from exitnas.training.batches import shuffled
from exitnas.training.device import to_device
from exitnas.training.evaluation import hidden_states
from exitnas.training.setup import Setup
from exitnas.training.temperature import best_temperature

#: Hidden states of all layers that are kept at once, in bytes; fewer rows are used where more would be needed.
CACHE_BYTES = 1.5e9
ROWS = 2560
#: Share of the candidates that survives a round; the steps per round double.
KEEP = 0.4


@dataclass(frozen=True)
class Cached:
    """A batch of training rows behind the backbone: per layer `[B, T, D]` (bf16), mask `[B, T]`, labels `[B]`.

    In the place of a layer that another process refines stands an empty tensor.
    """

    states: list[Tensor]
    mask: Tensor
    labels: Tensor


@dataclass
class Contender:
    """A candidate exit of one layer, its module and its optimizer."""

    genotype: ExitGenotype
    exit: Exit
    optimizer: torch.optim.AdamW
    loss: float = float("inf")


def refine(
    genotype: Genotype, state: SearchState, setup: Setup, settings: SearchSettings, report: Reporter
) -> Genotype:
    """The genotype whose every exit won against `settings.refine` others of its layer.

    Candidates learn on one half of the cached rows at the exits' learning rate and are ranked by their loss on the
    other, at their best temperature. Ties go to the arg-max exit. Candidates are drawn from `state.generator`, half of
    them by the supernet's probabilities and half evenly; initial weights are the same for equal candidates, whatever
    was drawn before.

    Several processes divide the layers among them; what a layer gets does not depend on how many they are.

    Returns:
        A genotype with the same probabilities; exits that replaced the arg-max one have `refined` set.
    """
    batches = cache(state, setup, settings)
    middle = (len(batches) + 1) // 2
    first, second = batches[:middle], batches[middle:] or batches
    found = []
    layers = report.track(range(genotype.layers), "refining layer by layer", genotype.layers)
    for layer in layers:
        original = genotype.exits[layer]
        candidates = [original, *draw(genotype, layer, settings.refine, state)]
        if layer % processes() != rank():
            continue
        winner = compete([_contender(c, genotype, setup, settings) for c in candidates], layer, first, second, settings)
        found.append((layer, original if winner == original else winner.model_copy(update={"refined": True})))
    exits = [exit_ for _, exit_ in sorted(gathered(found), key=lambda pair: pair[0])]
    changed = [str(number) for number, exit_ in enumerate(exits, start=1) if exit_.refined]
    report.line(f"refined the exits of layer {', '.join(changed)}" if changed else "refining changed nothing")
    return genotype.model_copy(update={"exits": tuple(exits)})


@torch.no_grad()
def cache(state: SearchState, setup: Setup, settings: SearchSettings) -> list[Cached]:
    """Training rows behind the search's backbone, in eval mode, as many as `ROWS` and `CACHE_BYTES` allow."""
    backbone = state.supernet.backbone
    row_bytes = 2 * setup.train.mean_length() * backbone.hidden_size * backbone.num_layers
    rows = torch.randperm(len(setup.train), generator=state.generator).tolist()
    rows = rows[: max(2 * settings.batch_size, min(ROWS, int(CACHE_BYTES / row_bytes)))]
    backbone.eval()
    batches = []
    for indices in shuffled(setup.train, rows, settings.batch_size, state.generator):
        batch = to_device(setup.train.batch(indices), setup.device)
        states, mask = hidden_states(backbone, batch, settings.precision)
        ours = [layer % processes() == rank() for layer in range(len(states))]
        kept = [h.to(torch.bfloat16) if mine else h.new_empty(0) for mine, h in zip(ours, states, strict=True)]
        batches.append(Cached(kept, mask, batch["labels"]))
    backbone.train()
    return batches


def draw(genotype: Genotype, layer: int, count: int, state: SearchState) -> list[ExitGenotype]:
    """At most `count` distinct exits of a layer other than the one it has."""
    space = state.supernet.space
    probabilities = genotype.probabilities[layer] if genotype.probabilities else {}
    found: dict[ExitGenotype, None] = {}
    for attempt in range(20 * count):
        chosen = {}
        for edge in EDGES:
            names = space.candidates(edge)
            even = torch.ones(len(names))
            learned = torch.tensor([probabilities[edge][name] for name in names]) if probabilities else even
            weights = learned if attempt % 2 else even
            chosen[edge] = names[int(torch.multinomial(weights, 1, generator=state.generator))]
        encoder = (chosen["encoder_1"], chosen["encoder_2"])
        if encoder[0] == encoder[1] and encoder[0] in ONCE:
            continue
        exit_ = ExitGenotype(
            activation_in=chosen["activation_in"],
            encoder=encoder,
            pooling=chosen["pooling"],
            activation_out=chosen["activation_out"],
        )
        if exit_ != genotype.exits[layer]:
            found[exit_] = None
        if len(found) == count:
            break
    return list(found)


def compete(
    contenders: list[Contender], layer: int, first: list[Cached], second: list[Cached], settings: SearchSettings
) -> ExitGenotype:
    """Train, rank, keep the better ones, train those twice as long, until one is left."""
    done, steps = 0, settings.refine_steps
    while True:
        for contender in contenders:
            for step in range(done, done + steps):
                batch = first[step % len(first)]
                loss = exit_loss(contender.exit(batch.states[layer].float(), batch.mask), batch.labels)
                contender.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                contender.optimizer.step()
            contender.loss = held_out_loss(contender.exit, layer, second)
        contenders = sorted(contenders, key=lambda contender: contender.loss)
        if len(contenders) <= 2:
            return contenders[0].genotype
        contenders = contenders[: max(2, round(KEEP * len(contenders)))]
        done, steps = done + steps, 2 * steps


@torch.no_grad()
def held_out_loss(exit_: Exit, layer: int, batches: list[Cached]) -> float:
    """Mean loss per row of an exit on cached batches; infinite where it is no number.

    Classes: at the exit's best temperature. A candidate that is merely too sure can be tamed, one that sees less
    cannot.
    """
    logits = torch.cat([exit_(batch.states[layer].float(), batch.mask) for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
    if not labels.is_floating_point():
        return best_temperature(logits, labels)[1]
    loss = float(exit_loss(logits, labels))
    return loss if loss - loss == 0 else float("inf")


def _contender(exit_: ExitGenotype, genotype: Genotype, setup: Setup, settings: SearchSettings) -> Contender:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        module = Exit(exit_, genotype.hidden_size, genotype.width, setup.spec.num_labels).to(setup.device)
    return Contender(exit_, module, torch.optim.AdamW(module.parameters(), lr=settings.exit_lr, fused=True))
