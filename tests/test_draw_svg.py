"""The SVG that exitnas writes itself: well-formed, self-contained, and all of the genotype in it."""

import xml.etree.ElementTree as ET

import pytest
from random_genotype import random_genotype

from exitnas.drawing.cell import arrange_cell
from exitnas.drawing.graph import genotype_graph
from exitnas.drawing.layout import arrange
from exitnas.drawing.sheet import PAPER
from exitnas.drawing.svg import svg_of
from exitnas.supernet.space import load_space

SVG = "{http://www.w3.org/2000/svg}"


def groups(text: str, kind: str) -> dict[str, ET.Element]:
    return {g.attrib["data-name"]: g for g in ET.fromstring(text).iter(f"{SVG}g") if g.attrib["class"] == kind}


@pytest.mark.parametrize("layers", [1, 6, 12, 24])
def test_nodes_edges_texts_and_hints_of_a_genotype(layers: int) -> None:
    genotype = random_genotype(layers)
    graph, text = genotype_graph(genotype), svg_of(arrange(genotype, "Mine <&>", columns=1))
    nodes, edges = groups(text, "node"), groups(text, "edge")
    assert set(graph) <= set(nodes)
    assert set(edges) == {f"{tail}->{head}" for tail, head in graph.edges}
    for name, data in graph.nodes(data=True):
        texts = [element.text for element in nodes[name].iter(f"{SVG}text")]
        assert texts == [line for line in (data["label"], data["detail"]) if line is not None]
        if data["operation"]:
            hint = nodes[name].findtext(f"{SVG}title", "")
            other, value = data["runner_up"]
            assert f"{data['probability']:.3f}; runner-up {other} {value:.3f}" in hint
            assert all(candidate in hint for candidate in data["candidates"])
    assert ET.fromstring(text).findtext(f"{SVG}title") == "Mine <&>"


def test_everything_is_inside_the_frame_on_a_background_of_its_own() -> None:
    root = ET.fromstring(svg_of(arrange(random_genotype(12))))
    assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    background = next(iter(root.iter(f"{SVG}rect")))
    assert background.attrib == {"width": f"{width:.1f}", "height": f"{height:.1f}", "fill": PAPER}
    for rect in list(root.iter(f"{SVG}rect"))[1:]:
        x, y, w, h = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height


def test_several_can_stand_in_one_page_and_nothing_is_loaded() -> None:
    text = svg_of(arrange(random_genotype(3), layers=[2], tokens=9, classes=5))
    root = ET.fromstring(text)
    assert {name for element in root.iter() for name in element.attrib} & {"id", "href", "style"} == set()
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg", "title", "g", "rect", "circle", "text", "line", "polygon",
    }  # fmt: skip
    assert "at 9 tokens, for 5 classes" in text
    assert "1.layer" not in groups(text, "node")


def test_hostile_text_is_text() -> None:
    title = "<script>alert('x')</script> \"q\" \x00\ud800\x1b\n end"
    root = ET.fromstring(svg_of(arrange(random_genotype(1), title)))
    shown = "<script>alert('x')</script> \"q\" \ufffd\ufffd\ufffd  end"
    assert root.findtext(f"{SVG}title") == shown
    assert shown in [element.text for element in root.iter(f"{SVG}text")]


def test_thick_thin_and_dashed_lines() -> None:
    sheet = arrange(random_genotype(2, seed=3))
    edges = groups(svg_of(sheet), "edge")
    for arrow in sheet.arrows:
        line = edges[f"{arrow.tail}->{arrow.head}"].find(f"{SVG}line")
        assert line is not None
        assert line.attrib["stroke-width"] == f"{arrow.width:.2f}"
        assert ("stroke-dasharray" in line.attrib) == arrow.dashed


def test_every_candidate_of_the_search_cell_is_a_path_of_its_own() -> None:
    space = load_space("leco")
    text = svg_of(arrange_cell(space))
    edges = set(groups(text, "edge"))
    between = {
        "activation_in": ("state_0", "state_1"),
        "encoder_1": ("state_1", "sum"),
        "encoder_2": ("state_1", "sum"),
        "pooling": ("sum", "state_2"),
        "activation_out": ("state_2", "state_3"),
    }
    expected = {"layer->down", "down->state_0", "state_3->classifier"}
    for edge, (before, after) in between.items():
        for operation in space.candidates(edge):
            expected |= {f"{before}->{edge}.{operation}", f"{edge}.{operation}->{after}"}
    assert edges == expected
    assert len(edges) == 2 * (5 + 8 + 8 + 4 + 5) + 3
    assert "5 × 8 × 8 × 4 × 5 = 6,400 exits per layer  ·  6,400^12 = 4.72e+45 models of 12 layers" in text


def test_a_cell_without_down_projection_and_with_one_point() -> None:
    text = svg_of(arrange_cell(load_space("linear"), "Nothing to search"))
    assert "layer->state_0" in groups(text, "edge")
    assert "1 × 1 × 1 × 1 × 1 = 1 exit per layer  ·  1^12 = 1 model of 12 layers" in text
    assert "1 candidate<" in text
    assert "Nothing to search" in text
