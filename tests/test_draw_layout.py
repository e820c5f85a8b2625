"""Random genotypes on a sheet: nothing overlaps, nothing is crossed, the sheet keeps the shape of a page."""

import random
from itertools import combinations, pairwise

import pytest
from random_genotype import random_genotype

from exitnas.drawing.cell import arrange_cell
from exitnas.drawing.graph import genotype_graph
from exitnas.drawing.layout import Panel, arrange, arrange_panels
from exitnas.drawing.rows import THICKEST, THINNEST
from exitnas.drawing.sheet import Box, Sheet, ends
from exitnas.errors import UsageError
from exitnas.exits.genotype import ExitGenotype, Genotype, Origin
from exitnas.supernet.space import load_space, space_names


def apart(one: Box, other: Box) -> bool:
    return (
        abs(one.x - other.x) >= (one.width + other.width) / 2 - 1e-6
        or abs(one.y - other.y) >= (one.height + other.height) / 2 - 1e-6
    )


def check(sheet: Sheet) -> None:
    """No two boxes overlap, and no line meets a box other than the two it joins; bands and turns may be met."""
    boxes = {box.name: box for box in sheet.boxes}
    assert len(boxes) == len(sheet.boxes)
    solid = [box for box in sheet.boxes if box.shape != "band"]
    assert [(a.name, b.name) for a, b in combinations(solid, 2) if not apart(a, b)] == []
    visible = [box for box in solid if box.shape != "point"]
    for arrow in sheet.arrows:
        (x1, y1), (x2, y2) = ends(arrow, boxes[arrow.tail], boxes[arrow.head])
        for step in range(41):
            spot = Box("", x1 + (x2 - x1) * step / 40, y1 + (y2 - y1) * step / 40, 0, 0)
            near = [b.name for b in visible if not apart(b, spot) and b.name not in (arrow.tail, arrow.head)]
            assert near == [], (arrow.tail, arrow.head)


def shape(sheet: Sheet) -> float:
    left, right, low, high = sheet.frame()
    return (right - left) / (high - low)


@pytest.mark.parametrize("layers", range(1, 25))
def test_nothing_overlaps_and_the_sheet_is_neither_a_ribbon_nor_a_tower(layers: int) -> None:
    sheet = arrange(random_genotype(layers, seed=layers))
    check(sheet)
    assert layers < 3 or 0.7 < shape(sheet) < 2.4


@pytest.mark.parametrize("seed", range(6))
def test_nothing_overlaps_side_by_side_whatever_is_asked_for(seed: int) -> None:
    generator = random.Random(seed)
    counts = [generator.randint(4, 24) for _ in range(generator.randint(2, 5))]
    panels = [
        Panel(random_genotype(n, 10 * seed + i, searched=i != 1), f"run-{i}", 2 + i) for i, n in enumerate(counts)
    ]
    layers = generator.choice([None, [1], [4, 2, 2]])
    sheet = arrange_panels(panels, layers=layers, columns=generator.choice([None, 1, 3, 50]), tokens=7)
    check(sheet)
    for number, count in enumerate(counts, start=1):
        shown = list(range(1, count + 1)) if layers is None else sorted(set(layers))
        assert [int(b.name.split("/")[1].split(".")[0]) for b in sheet.boxes
                if b.name.startswith(f"{number}/") and b.name.endswith(".layer")] == shown  # fmt: skip


@pytest.mark.parametrize("name", space_names())
def test_nothing_overlaps_in_a_search_cell(name: str) -> None:
    check(arrange_cell(load_space(name)))


def test_layers_wrap_into_columns_that_are_read_downwards() -> None:
    boxes = {box.name: box for box in arrange(random_genotype(7), columns=2).boxes}
    places = [(boxes[f"{layer}.layer"].x, -boxes[f"{layer}.layer"].y) for layer in range(1, 8)]
    assert places == sorted(places)
    assert [place[0] for place in places] == [places[0][0]] * 4 + [places[4][0]] * 3
    assert places[0][1] == places[4][1]


def test_the_trunk_is_whole_across_the_columns() -> None:
    for genotype in (random_genotype(7), random_genotype(24)):
        arrows = {arrow.tail: arrow for arrow in arrange(genotype, columns=3).arrows if not arrow.level}
        place, seen = "1.layer", ["1.layer"]
        while place in arrows:
            assert arrows[place].pointed == arrows[place].head.endswith(".layer")
            place = arrows[place].head
            seen += [place] * place.endswith(".layer")
        assert seen == [f"{layer}.layer" for layer in range(1, genotype.layers + 1)]


def test_some_layers_only_with_the_gap_dashed() -> None:
    sheet = arrange(random_genotype(6), layers=[5, 2, 3])
    assert {box.name.split(".")[0] for box in sheet.boxes if box.name[0].isdigit()} == {"2", "3", "5"}
    trunk = [(arrow.tail, arrow.head, arrow.dashed) for arrow in sheet.arrows if not arrow.level]
    assert trunk == [("2.layer", "3.layer", False), ("3.layer", "5.layer", True)]
    for wrong in (0, 7):
        with pytest.raises(UsageError, match=f"layer {wrong}: expected 1 to 6"):
            arrange(random_genotype(6), layers=[1, wrong])


def test_side_by_side_each_has_its_name_and_rows_of_the_same_layer_are_level() -> None:
    panels = [
        Panel(random_genotype(4), "first"),
        Panel(random_genotype(6, 1, "linear", searched=False), "second", 3),
        Panel(random_genotype(4, 2), "third"),
    ]
    boxes = {box.name: box for box in arrange_panels(panels).boxes}
    assert [boxes[f"{n}/title.0"].label for n in (1, 2, 3)] == ["first", "second", "third"]
    assert "space linear  ·  6 layers" in boxes["2/title.1"].label
    assert boxes["title.0"].label == "Exits of bert-base-uncased"
    assert "title.1" not in boxes
    for one, other in pairwise("123"):
        assert boxes[f"{one}/title.0"].x < boxes[f"{other}/title.0"].x
        for layer in range(1, 5):
            assert boxes[f"{one}/{layer}.layer"].y == boxes[f"{other}/{layer}.layer"].y
    assert any("at 128 tokens, for 2 or 3 classes" in box.label for box in boxes.values())
    four = {box.name: box for box in arrange_panels([*panels, panels[0]]).boxes}
    assert four["1/title.0"].y == four["2/title.0"].y > four["3/title.0"].y == four["4/title.0"].y


def test_costs_beside_each_exit() -> None:
    exit_ = ExitGenotype(activation_in="relu", encoder=("conv_3", "skip"), pooling="avg", activation_out="tanh")
    genotype = Genotype(backbone="b", layers=1, hidden_size=768, width=32, exits=(exit_,), origin=Origin())
    box = next(box for box in arrange(genotype, tokens=10, classes=3).boxes if box.name == "1.cost")
    parameters = 768 * 32 + 32 + 3 * 32 * 32 + 32 + 32 * 3 + 3
    macs = 10 * (768 * 32 + 3 * 32 * 32 + 32) + 32 * 3  # the average adds 32 numbers per token
    assert (parameters, macs) == (27_811, 276_896)
    assert (box.label, box.detail) == ("27.8k parameters", "277k MACs")
    assert box.hint == "exit 1: 27,811 parameters, 276,896 MACs"
    labels = [box.label for box in arrange(genotype, tokens=1, classes=1).boxes]
    assert "cost: parameters and multiply-accumulates (MACs) of an exit at 1 token, for 1 class" in labels


def test_arrows_grow_with_probability_and_hints_name_the_runner_up() -> None:
    edges = {"activation_in": "relu", "encoder_1": "skip", "encoder_2": "null", "pooling": "cls"}
    exit_ = ExitGenotype(activation_in="relu", encoder=("skip", "null"), pooling="cls", activation_out="tanh")
    values = {edge: {name: 0.25, "gelu": 0.5, "swish": 0.05, "tanh\n": 0.2} for edge, name in edges.items()}
    values["activation_out"] = {"tanh": 1.0}
    genotype = Genotype(
        backbone="b", layers=1, hidden_size=8, width=4, exits=(exit_,), probabilities=(values,), origin=Origin()
    )
    sheet = arrange(genotype)
    boxes = {box.name: box for box in sheet.boxes}
    arrows = {(arrow.tail[2:], arrow.head[2:]): arrow for arrow in sheet.arrows}
    quarter = THINNEST + 0.25 * (THICKEST - THINNEST)
    assert arrows["down", "activation_in"].width == pytest.approx(quarter)
    assert arrows["encoder_1", "sum"].width == pytest.approx(quarter)
    assert arrows["pooling", "activation_out"].width == pytest.approx(THICKEST)
    assert arrows["activation_out", "classifier"].width == arrows["layer", "down"].width
    assert arrows["activation_in", "encoder_2"].dashed
    assert not arrows["activation_in", "encoder_1"].dashed
    assert boxes["1.pooling"].hint == (
        "layer 1, pooling: cls, probability 0.250; runner-up gelu 0.500; then tanh  0.200, swish 0.050"
    )
    assert boxes["1.activation_out"].hint == "layer 1, activation_out: tanh, probability 1.000"
    node = genotype_graph(genotype).nodes["1.pooling"]
    assert node["runner_up"] == ("gelu", 0.5)
