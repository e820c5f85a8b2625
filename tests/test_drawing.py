"""What a picture of a genotype shows: the graph, where it stands on the sheet, and its Graphviz source."""

import re
from itertools import pairwise

import networkx as nx
import pytest

from exitnas.drawing.graph import genotype_graph
from exitnas.drawing.layout import arrange
from exitnas.drawing.sheet import STYLES
from exitnas.drawing.source import dot_source
from exitnas.exits.genotype import Genotype, Origin
from exitnas.supernet.space import load_space
from tests.drawn_genotype import make

PATH = ["activation_in", "encoder_1", "sum", "pooling", "activation_out", "classifier"]


def test_graph_of_one_exit_is_the_equation_of_the_exit() -> None:
    graph = genotype_graph(make(1))
    expected = {("layer", "down"), ("down", "activation_in"), ("activation_in", "encoder_2"), ("encoder_2", "sum")}
    expected |= set(pairwise(PATH))
    assert {(a.removeprefix("1."), b.removeprefix("1.")) for a, b in graph.edges} == expected


def test_encoder_layers_are_chained_and_every_exit_hangs_on_its_own() -> None:
    graph = genotype_graph(make(4))
    trunk = [name for name in graph if name.endswith(".layer")]
    assert trunk == ["1.layer", "2.layer", "3.layer", "4.layer"]
    assert [(a, b) for a, b in graph.edges if b in trunk] == [*pairwise(trunk)]
    assert nx.is_directed_acyclic_graph(graph)
    for layer in range(1, 5):
        assert nx.has_path(graph, f"{layer}.layer", f"{layer}.classifier")
    crossing = [(a, b) for a, b in graph.edges if a.split(".")[0] != b.split(".")[0] and b not in trunk]
    assert crossing == []


def test_attributes_name_operation_kind_probability_and_repair() -> None:
    nodes = genotype_graph(make(3)).nodes
    assert nodes["1.encoder_2"]["operation"] == "mha_4"
    assert nodes["1.encoder_2"]["kind"] == "attention"
    assert nodes["1.encoder_2"]["probability"] == 0.625
    assert nodes["1.encoder_1"]["kind"] == "convolution"
    assert nodes["2.encoder_1"]["kind"] == "skip"
    assert nodes["1.activation_in"]["kind"] == "activation"
    assert nodes["1.activation_out"]["kind"] == "null"
    assert nodes["1.pooling"]["kind"] == "pooling"
    assert [nodes[f"{layer}.encoder_2"]["repaired"] for layer in (1, 2, 3)] == [False, False, True]
    assert {nodes[name]["layer"] for name in nodes if name.startswith("3.")} == {3}


def test_searched_null_is_faint_and_unsearched_null_is_left_out() -> None:
    searched = genotype_graph(make(2))
    assert searched.edges["2.activation_in", "2.encoder_2"]["faint"]
    assert searched.edges["2.encoder_2", "2.sum"]["faint"]
    assert not searched.edges["2.encoder_1", "2.sum"]["faint"]
    plain = genotype_graph(make(2, searched=False))
    assert "2.encoder_2" not in plain
    assert "2.sum" not in plain
    assert ("2.encoder_1", "2.pooling") in plain.edges
    assert "1.sum" in plain


def test_no_down_projection_no_node() -> None:
    graph = genotype_graph(load_space("linear").only_genotype("tiny", 2, 64, Origin()))
    assert "1.down" not in graph
    assert ("1.layer", "1.activation_in") in graph.edges
    assert graph.nodes["1.classifier"]["detail"] == "64 → classes"


@pytest.mark.parametrize("layers", [1, 6, 12, 24])
def test_nothing_overlaps_on_the_sheet_and_in_one_column_every_layer_is_a_row(layers: int) -> None:
    sheet = arrange(make(layers), columns=1)
    solid = [box for box in sheet.boxes if box.shape != "band"]
    for index, one in enumerate(solid):
        for other in solid[index + 1 :]:
            apart_x = abs(one.x - other.x) >= (one.width + other.width) / 2 - 1e-6
            apart_y = abs(one.y - other.y) >= (one.height + other.height) / 2 - 1e-6
            assert apart_x or apart_y, (one.name, other.name)
    rows = [box.y for box in sheet.boxes if box.name.endswith(".layer")]
    assert len(rows) == layers
    assert rows == sorted(set(rows), reverse=True)


def test_long_names_get_wide_boxes() -> None:
    narrow, wide = (
        next(box.width for box in arrange(genotype).boxes if box.name == "1.activation_in")
        for genotype in (load_space("mha").only_genotype("b", 2, 64, Origin()), make(2))
    )
    assert wide > narrow


def test_title_names_backbone_task_and_space_unless_given() -> None:
    texts = {box.name: box.label for box in arrange(make(2)).boxes}
    assert texts["title.0"] == "Exits of bert <base> & co"
    for part in ("task rte", "space leco", "2 layers", "exit width 32", "seed 3"):
        assert part in texts["title.1"]
    assert arrange(make(2), "My own").boxes[0].label == "My own"
    folder = arrange(make(1, backbone="/far/" + "x" * 90 + "/tail")).boxes[0].label
    assert folder.startswith("Exits of …")
    assert folder.endswith("/tail")
    assert len(folder) < 75


def test_legend_shows_the_kinds_that_occur_and_no_others() -> None:
    def legend(genotype: Genotype) -> set[str]:
        return {b.name.removeprefix("legend.") for b in arrange(genotype).boxes if b.name.startswith("legend.")}

    assert legend(load_space("mha").only_genotype("b", 2, 64, Origin())) == {
        "backbone", "linear", "activation", "attention", "pooling",
    }  # fmt: skip
    assert "null" in legend(make(3))
    assert any("won on both encoder edges" in box.label for box in arrange(make(3)).boxes)
    assert not any("won on both encoder edges" in box.label for box in arrange(make(2)).boxes)


def test_source_pins_positions_and_has_six_digit_colours_and_fonts_on_edges() -> None:
    source = dot_source(arrange(make(3)))
    assert "layout=neato" in source
    assert re.search(r"\bedge \[.*fontname=", source)
    colours = re.findall(r'color="?(#[0-9a-fA-F]*)', source)
    assert colours
    assert all(re.fullmatch(r"#[0-9a-f]{6}", colour) for colour in colours)
    nodes = [line for line in source.splitlines() if " -> " not in line and "label=" in line]
    assert all(re.search(r'pos="-?[\d.]+,-?[\d.]+!"', line) for line in nodes)
    assert all(re.fullmatch("#[0-9a-f]{6}", c) for s in STYLES.values() for c in (s.fill, s.line, s.text))
