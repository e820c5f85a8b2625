"""Genotypes drawn at random from a search space, for tests of what shows them."""

import random

from exitnas.exits.genotype import ExitGenotype, Genotype, Origin
from exitnas.exits.operations import EDGES
from exitnas.supernet.space import load_space


def random_genotype(
    layers: int, seed: int = 0, space: str = "leco-appendix", task: str = "rte", searched: bool = True
) -> Genotype:
    """Arg-max of random probabilities; where both encoder edges are null the first is repaired to `conv_3`."""
    generator, candidates = random.Random(seed), load_space(space)
    exits, probabilities = [], []
    for _ in range(layers):
        found = {}
        for edge in EDGES:
            weights = [generator.random() ** 4 + 0.01 for _ in candidates.candidates(edge)]
            found[edge] = {
                name: weight / sum(weights)
                for name, weight in zip(candidates.candidates(edge), weights, strict=True)
            }  # fmt: skip
        best = {edge: max(values, key=lambda name: values[name]) for edge, values in found.items()}
        repaired = best["encoder_1"] == best["encoder_2"] == "null"
        exits.append(
            ExitGenotype(
                activation_in=best["activation_in"],
                encoder=("conv_3" if repaired else best["encoder_1"], best["encoder_2"]),
                pooling=best["pooling"],
                activation_out=best["activation_out"],
                repaired="encoder_1" if repaired else None,
                refined=generator.random() < 0.3,
            )
        )
        probabilities.append(found)
    return Genotype(
        backbone="bert-base-uncased",
        layers=layers,
        hidden_size=768,
        width=32,
        exits=tuple(exits),
        probabilities=tuple(probabilities) if searched else None,
        origin=Origin(task=task, space=space, seed=seed),
    )
