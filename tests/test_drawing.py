"""Pictures of a genotype: the graph, the sheet, every renderer, and what is said when there is none."""

import re
import subprocess
import sysconfig
from html import unescape
from pathlib import Path

import networkx as nx
import pytest

from exitnas.drawing import render
from exitnas.drawing.graph import genotype_graph
from exitnas.drawing.layout import STYLES, Sheet, arrange
from exitnas.drawing.render import RENDERERS, UnavailableError, draw
from exitnas.drawing.source import dot_source
from exitnas.errors import ExitnasError, UsageError
from exitnas.exits.genotype import ExitGenotype, Genotype, Origin
from exitnas.exits.operations import EDGES
from exitnas.supernet.space import load_space

PATH = ["activation_in", "encoder_1", "sum", "pooling", "activation_out", "classifier"]


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


def without_graphviz(monkeypatch: pytest.MonkeyPatch, keep: str | None) -> None:
    """Leave only the renderer `keep`."""
    monkeypatch.setattr(render, "RENDERERS", {name: RENDERERS[name] for name in RENDERERS if name == keep})


def available(name: str, tmp_path: Path) -> bool:
    try:
        RENDERERS[name](arrange(make(1)), tmp_path / "probe.svg", "svg")
    except UnavailableError:
        return False
    return True


def test_graph_of_one_exit_is_the_equation_of_the_exit() -> None:
    graph = genotype_graph(make(1))
    expected = {("layer", "down"), ("down", "activation_in"), ("activation_in", "encoder_2"), ("encoder_2", "sum")}
    expected |= set(zip(PATH, PATH[1:], strict=False))
    assert {(a.removeprefix("1."), b.removeprefix("1.")) for a, b in graph.edges} == expected


def test_encoder_layers_are_chained_and_every_exit_hangs_on_its_own() -> None:
    graph = genotype_graph(make(4))
    trunk = [name for name in graph if name.endswith(".layer")]
    assert trunk == ["1.layer", "2.layer", "3.layer", "4.layer"]
    assert [(a, b) for a, b in graph.edges if b in trunk] == [*zip(trunk, trunk[1:], strict=False)]
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
def test_nothing_overlaps_on_the_sheet_and_every_layer_is_a_row(layers: int) -> None:
    sheet = arrange(make(layers))
    solid = [box for box in sheet.boxes if box.shape != "band"]
    for index, one in enumerate(solid):
        for other in solid[index + 1 :]:
            apart_x = abs(one.x - other.x) >= (one.width + other.width) / 2 - 1e-6
            apart_y = abs(one.y - other.y) >= (one.height + other.height) / 2 - 1e-6
            assert apart_x or apart_y, (one.name, other.name)
    rows = [box.y for box in sheet.boxes if box.name.endswith(".layer")]
    assert len(rows) == layers
    assert rows == sorted(rows, reverse=True)


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
    assert any("null won on both" in box.label for box in arrange(make(3)).boxes)
    assert not any("null won on both" in box.label for box in arrange(make(2)).boxes)


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


def check_svg(path: Path, genotype: Genotype) -> None:
    """Titles, edges and texts that Graphviz writes into an SVG: all of the genotype is there."""
    svg = path.read_text(encoding="utf-8")
    titles = {unescape(title) for title in re.findall(r"<title>([^<]*)</title>", svg)}
    graph = genotype_graph(genotype)
    assert set(graph) <= titles
    assert {f"{tail}->{head}" for tail, head in graph.edges} <= titles
    texts = [unescape(text).strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
    for layer, exit_ in enumerate(genotype.exits, start=1):
        assert f"layer {layer}" in texts
        assert f"exit {layer}" in texts
        for edge in EDGES:
            name = exit_.operation(edge)
            block = svg.split(f"<title>{layer}.{edge}</title>")[1].split("</g>\n</g>")[0].split("<title>")[0]
            assert re.search(rf">{re.escape(name)}( \*)?<", block), (layer, edge, name)
    assert f"Exits of {genotype.backbone}" in texts


@pytest.mark.parametrize("name", ["graphviz", "graphviz-pure"])
def test_svg_of_the_graphviz_renderers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not available(name, tmp_path):
        pytest.skip(f"{name} is not installed")
    without_graphviz(monkeypatch, name)
    drawn = draw(make(3), tmp_path / "exits.svg")
    assert drawn.renderer == name
    assert drawn.paths == (tmp_path / "exits.svg", tmp_path / "exits.dot")
    check_svg(drawn.paths[0], make(3))
    png = draw(make(2), tmp_path / "exits.png")
    assert png.paths[0].read_bytes().startswith(b"\x89PNG")


def test_svg_and_png_of_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    without_graphviz(monkeypatch, "matplotlib")
    genotype = make(2)
    drawn = draw(genotype, tmp_path / "exits.svg")
    assert drawn.renderer == "matplotlib"
    svg = unescape(drawn.paths[0].read_text(encoding="utf-8"))
    graph = genotype_graph(genotype)
    for mark in (*graph, *(f"{tail}->{head}" for tail, head in graph.edges)):
        assert f'<g id="{mark}">' in svg
    for word in ("leaky_relu", "conv_1", "mha_4", "skip", "null", "sa", "layer 1", "exit 2", "0.62"):
        assert f"<!-- {word} -->" in svg
    assert draw(genotype, tmp_path / "exits.png").paths[0].read_bytes().startswith(b"\x89PNG")


def test_matplotlib_takes_dollar_signs_and_brackets_literally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    without_graphviz(monkeypatch, "matplotlib")
    drawn = draw(make(1), tmp_path / "exits.svg", title=r"costs $5 & <10$ \frac")
    assert r"<!-- costs $5 & <10$ \frac -->" in unescape(drawn.paths[0].read_text(encoding="utf-8"))


def test_awkward_names_survive_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not available("graphviz-pure", tmp_path):
        pytest.skip("graphviz-pure is not installed")
    without_graphviz(monkeypatch, "graphviz-pure")
    title = '<b> "quoted" & back\\slash α → é'
    svg = draw(make(1), tmp_path / "e.svg", title=title).paths[0].read_text(encoding="utf-8")
    assert title in [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def test_first_renderer_that_works_is_taken_and_broken_ones_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(sheet: Sheet, path: Path, kind: str) -> None:
        path.write_text("half a picture")
        raise UnavailableError("broke")

    def works(sheet: Sheet, path: Path, kind: str) -> None:
        path.write_text(f"{kind} of {len(sheet.arrows)} arrows")

    assert list(RENDERERS) == ["graphviz", "graphviz-pure", "matplotlib"]
    monkeypatch.setattr(render, "RENDERERS", {"first": broken, "second": works, "third": broken})
    drawn = draw(make(1), tmp_path / "deep" / "exits.SVG")
    assert drawn.renderer == "second"
    assert drawn.paths[0].read_text() == "svg of 9 arrows"
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["exits.SVG", "exits.dot"]


def test_no_renderer_names_the_extra_and_leaves_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_graphviz(monkeypatch, None)
    with pytest.raises(ExitnasError, match=r'pip install "exitnas\[viz\]"') as caught:
        draw(make(1), tmp_path / "exits.png")
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["exits.dot"]
    assert "digraph exits" in (tmp_path / "exits.dot").read_text(encoding="utf-8")


def test_missing_programs_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ExitnasError) as caught:
        draw(make(1), tmp_path / "exits.svg")
    for part in ("graphviz: no dot on PATH", "graphviz-pure: not installed", "matplotlib: not installed"):
        assert part in str(caught.value)


def test_failing_program_is_reported_with_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **more: object) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.CompletedProcess(command, 1, b"", b"noise\nout of memory\n")

    monkeypatch.setattr("shutil.which", lambda name, path=None: f"/nowhere/{name}")
    monkeypatch.setattr(subprocess, "run", fail)
    without_graphviz(monkeypatch, "graphviz")
    with pytest.raises(ExitnasError, match="graphviz: failed: out of memory"):
        draw(make(1), tmp_path / "exits.svg")


def test_pdf_needs_graphviz_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(render.RENDERERS, "graphviz", RENDERERS["graphviz"])
    if available("graphviz", tmp_path):
        assert draw(make(1), tmp_path / "exits.pdf").paths[0].read_bytes().startswith(b"%PDF")
        monkeypatch.delitem(render.RENDERERS, "graphviz")
    with pytest.raises(ExitnasError, match="install Graphviz, or write svg or png"):
        draw(make(1), tmp_path / "other.pdf")
    assert (tmp_path / "other.dot").is_file()


def test_only_the_source(tmp_path: Path) -> None:
    drawn = draw(make(2), tmp_path / "exits.dot")
    assert drawn.paths == (tmp_path / "exits.dot",)
    assert drawn.renderer == "none"
    assert drawn.paths[0].read_text(encoding="utf-8") == dot_source(arrange(make(2)))


@pytest.mark.parametrize("name", ["exits.jpg", "exits"])
def test_other_endings_are_refused_with_the_known_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.svg, \.png, \.pdf, \.dot"):
        draw(make(1), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExitnasError, match="cannot write there"):
        draw(make(1), tmp_path / "file" / "exits.svg")
