"""Architecture parameters and the discretizer: arg-max, ties, repairs and how decided a choice is, by hand."""

from math import log
from typing import Any

import pytest
import torch

from exitnas.exits.genotype import Genotype, Origin
from exitnas.exits.operations import EDGES
from exitnas.supernet.architecture import Architecture
from exitnas.supernet.discretize import DECIDED, collapse_warning, decisions, discretize, undecided_warning
from exitnas.supernet.space import SearchSpace, load_space

HIDDEN = 12
LECO = load_space("leco")


def architecture(space: SearchSpace, **alphas: Any) -> Architecture:
    """One layer; `alphas` maps an edge to candidate -> alpha, unnamed ones are 0."""
    made = Architecture(space, 1)
    for edge, values in alphas.items():
        for name, value in values.items():
            made.alphas[edge].data[0, space.candidates(edge).index(name)] = value
    return made


def chosen(space: SearchSpace, **alphas: Any) -> Genotype:
    return discretize(architecture(space, **alphas), "tiny", HIDDEN, Origin(task="rte"))


def test_architecture_starts_uniform_with_its_own_row_per_layer() -> None:
    made = Architecture(LECO, 4)
    for edge, weight in made.weights().items():
        count = len(LECO.candidates(edge))
        assert weight.shape == (4, count)
        assert torch.allclose(weight, torch.full((4, count), 1 / count))
    assert sum(parameter.numel() for parameter in made.parameters()) == 4 * (5 + 8 + 8 + 4 + 5)
    made.alphas["pooling"].data[2, 1] = log(3.0)
    table = made.probabilities()
    assert table[2]["pooling"] == {"cls": 0.166667, "max": 0.5, "avg": 0.166667, "sa": 0.166667}
    assert table[1]["pooling"] == {"cls": 0.25, "max": 0.25, "avg": 0.25, "sa": 0.25}
    assert list(table[0]) == list(EDGES)


def test_arg_max_per_edge_and_layer() -> None:
    made = Architecture(LECO, 2)
    for layer, picks in enumerate([("gelu", "mha_8", "skip", "sa", "null"), ("null", "null", "conv_5", "max", "tanh")]):
        for edge, name in zip(EDGES, picks, strict=True):
            made.alphas[edge].data[layer, LECO.candidates(edge).index(name)] = 0.01
    genotype = discretize(made, "tiny", HIDDEN, Origin(seed=5))
    assert [genotype.exits[0].operation(edge) for edge in EDGES] == ["gelu", "mha_8", "skip", "sa", "null"]
    assert [genotype.exits[1].operation(edge) for edge in EDGES] == ["null", "null", "conv_5", "max", "tanh"]
    assert [exit_.repaired for exit_ in genotype.exits] == [None, None]
    assert (genotype.backbone, genotype.layers, genotype.hidden_size, genotype.width) == ("tiny", 2, HIDDEN, 32)
    assert genotype.origin.seed == 5
    assert genotype.probabilities == made.probabilities()
    assert Genotype.model_validate_json(genotype.to_json()) == genotype


def test_ties_go_to_the_candidate_listed_first() -> None:
    genotype = chosen(LECO)
    assert [genotype.exits[0].operation(edge) for edge in EDGES] == ["relu", "conv_1", "conv_1", "cls", "relu"]
    two = chosen(LECO, pooling={"sa": 1.0, "max": 1.0})
    assert two.exits[0].pooling == "max"


@pytest.mark.parametrize(("one", "two", "encoder", "repaired"), [
    # null wins both edges; the edge whose null is weaker gives way to its runner-up
    ({"null": 3.0, "mha_4": 1.0}, {"null": 2.0, "conv_5": 1.0}, ("null", "conv_5"), "encoder_2"),
    ({"null": 2.0, "mha_4": 1.0}, {"null": 3.0, "conv_5": 1.0}, ("mha_4", "null"), "encoder_1"),
    # equal: the first edge
    ({"null": 2.0, "skip": 1.0}, {"null": 2.0, "skip": 1.0}, ("skip", "null"), "encoder_1"),
    # two skips are one skip twice as large
    ({"skip": 3.0, "mha_4": 1.0}, {"skip": 2.0, "conv_5": 1.0}, ("skip", "conv_5"), "encoder_2"),
    ({"skip": 2.0, "null": 1.0}, {"skip": 3.0, "conv_5": 1.0}, ("null", "skip"), "encoder_1"),
    # two convolutions are two operations
    ({"conv_3": 3.0}, {"conv_3": 2.0}, ("conv_3", "conv_3"), None),
    # null on one edge alone stays
    ({"null": 3.0}, {"conv_5": 1.0}, ("null", "conv_5"), None),
])  # fmt: skip
def test_both_null_or_both_skip_is_repaired(
    one: dict, two: dict, encoder: tuple[str, str], repaired: str | None
) -> None:
    exit_ = chosen(LECO, encoder_1=one, encoder_2=two).exits[0]
    assert exit_.encoder == encoder
    assert exit_.repaired == repaired


def test_repair_leaves_an_edge_that_has_null_alone() -> None:
    space = LECO.model_copy(update={"encoder_1": ("skip", "null"), "encoder_2": ("null",)})
    exit_ = chosen(space, encoder_1={"null": 4.0}).exits[0]
    assert exit_.encoder == ("skip", "null")
    assert exit_.repaired == "encoder_1"


def test_decisions_by_hand() -> None:
    # four poolings with alphas log 5, 0, 0, log 2: probabilities 5/9, 1/9, 1/9, 2/9
    space = LECO.model_copy(update={"activation_in": ("tanh",)})
    genotype = chosen(space, pooling={"avg": log(5.0), "sa": log(2.0)})
    rows = {row["edge"]: row for row in decisions(genotype)}
    assert list(rows) == ["encoder_1", "encoder_2", "pooling", "activation_out"]
    row = rows["pooling"]
    assert (row["layer"], row["chosen"], row["uniform"], row["decided"]) == (1, "avg", 0.25, True)
    assert row["probability"] == pytest.approx(5 / 9, abs=1e-6)
    assert row["margin"] == pytest.approx(3 / 9, abs=1e-6)
    entropy = -(5 / 9 * log(5 / 9) + 2 * 1 / 9 * log(1 / 9) + 2 / 9 * log(2 / 9)) / log(4)
    assert row["entropy"] == pytest.approx(entropy, abs=1e-5)
    even = rows["activation_out"]
    assert (even["margin"], even["decided"]) == (0.0, False)
    assert even["entropy"] == pytest.approx(1.0, abs=1e-9)


def test_a_repaired_edge_has_a_negative_margin_and_is_not_decided() -> None:
    genotype = chosen(LECO, encoder_1={"null": 3.0}, encoder_2={"null": 2.0, "conv_5": 1.0})
    row = next(row for row in decisions(genotype) if row["edge"] == "encoder_2")
    null, best = genotype.probabilities[0]["encoder_2"]["null"], genotype.probabilities[0]["encoder_2"]["conv_5"]
    assert row["chosen"] == "conv_5"
    assert row["margin"] == pytest.approx(best - null)
    assert row["margin"] < 0


def test_certain_choices_have_no_entropy() -> None:
    genotype = chosen(LECO, pooling={"avg": 400.0})
    row = next(row for row in decisions(genotype) if row["edge"] == "pooling")
    assert (row["probability"], row["entropy"], row["margin"]) == (1.0, 0.0, 1.0)


def test_undecided_warning_when_more_than_half_is_near_uniform() -> None:
    strong = {"activation_in": {"gelu": 3.0}, "encoder_1": {"skip": 3.0}, "encoder_2": {"mha_2": 3.0}}
    assert undecided_warning(chosen(LECO, **strong)) is None
    text = undecided_warning(chosen(LECO, activation_in={"gelu": 3.0}, encoder_1={"skip": 3.0}))
    assert text is not None
    assert text.startswith("3 of 5 choices")
    assert str(DECIDED) in text
    assert "\n" not in text
    nothing_searched = load_space("mha").only_genotype("tiny", 2, HIDDEN, Origin())
    assert decisions(nothing_searched) == []
    assert undecided_warning(nothing_searched) is None


def test_collapse_warning_when_null_wins_both_edges() -> None:
    null, skip = {"null": 3.0}, {"skip": 3.0}
    warning = collapse_warning(chosen(LECO, encoder_1=null, encoder_2=null))
    assert warning is not None
    assert "null won both encoder edges of layer 1" in warning
    assert collapse_warning(chosen(LECO, encoder_1=null, encoder_2=skip)) is None
    assert collapse_warning(chosen(LECO, encoder_1=skip, encoder_2=skip)) is None
