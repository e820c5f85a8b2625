"""A genotype with everything that a picture shows in its own way: nulls, a repaired edge, a name with markup."""

from exitnas.exits.genotype import ExitGenotype, Genotype, Origin
from exitnas.exits.operations import EDGES


def make(layers: int = 3, searched: bool = True, backbone: str = "bert <base> & co") -> Genotype:
    """Layer 1: two operations; layer 2: a searched null; layer 3: a repaired edge; then again."""
    encoders = [("conv_1", "mha_4"), ("skip", "null"), ("null", "conv_5")]
    exits = tuple(
        ExitGenotype(
            activation_in="leaky_relu",
            encoder=encoders[layer % 3],
            pooling="sa",
            activation_out="null",
            repaired="encoder_2" if layer % 3 == 2 else None,
        )
        for layer in range(layers)
    )
    probabilities = tuple({e: {x.operation(e): 0.625, "gelu": 0.375} for e in EDGES} for x in exits)
    return Genotype(
        backbone=backbone,
        layers=layers,
        hidden_size=768,
        width=32,
        exits=exits,
        probabilities=probabilities if searched else None,
        origin=Origin(task="rte", space="leco", seed=3),
    )
