"""Picture files: every renderer, the order they are tried in, and what is said when there is none."""

import re
import subprocess
import sys
import sysconfig
from html import unescape
from pathlib import Path

import pytest

from exitnas.drawing import render
from exitnas.drawing.graph import genotype_graph
from exitnas.drawing.layout import arrange
from exitnas.drawing.render import RENDERERS, UnavailableError, draw
from exitnas.drawing.sheet import Sheet
from exitnas.drawing.source import dot_source
from exitnas.errors import ExitnasError, UsageError
from exitnas.exits.genotype import Genotype
from exitnas.exits.operations import EDGES
from tests.drawn_genotype import make


def only(monkeypatch: pytest.MonkeyPatch, keep: str | None) -> None:
    """Leave only the renderer `keep`."""
    monkeypatch.setattr(render, "RENDERERS", {name: RENDERERS[name] for name in RENDERERS if name == keep})


def available(name: str, tmp_path: Path) -> bool:
    try:
        RENDERERS[name](arrange(make(1)), tmp_path / "probe.svg", "svg")
    except UnavailableError:
        return False
    return True


def check_svg(path: Path, genotype: Genotype) -> None:
    """Titles, edges and texts that Graphviz writes into an SVG: all of the genotype is there."""
    svg = path.read_text(encoding="utf-8")
    titles = {re.sub(r":[ew]\b", "", unescape(title)) for title in re.findall(r"<title>([^<]*)</title>", svg)}
    graph = genotype_graph(genotype)
    assert set(graph) <= titles
    assert {f"{tail}->{head}" for tail, head in graph.edges} <= titles
    texts = [unescape(text).strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
    for layer, exit_ in enumerate(genotype.exits, start=1):
        assert f"layer {layer}" in texts
        assert f"exit {layer}" in texts
        for edge in EDGES:
            name = exit_.operation(edge)
            block = svg.split(f"<title>{layer}.{edge}</title>")[1].split("<title>")[0]
            assert re.search(rf">{re.escape(name)}( \*)?<", block), (layer, edge, name)
    assert f"Exits of {genotype.backbone}" in texts


@pytest.mark.parametrize("name", ["graphviz", "graphviz-pure"])
def test_svg_of_the_graphviz_renderers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not available(name, tmp_path):
        pytest.skip(f"{name} is not installed")
    only(monkeypatch, name)
    drawn = draw(make(3), tmp_path / "exits.svg")
    assert drawn.renderer == name
    assert drawn.paths == (tmp_path / "exits.svg", tmp_path / "exits.dot")
    check_svg(drawn.paths[0], make(3))
    png = draw(make(2), tmp_path / "exits.png")
    assert png.paths[0].read_bytes().startswith(b"\x89PNG")


def test_svg_and_png_of_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    only(monkeypatch, "matplotlib")
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
    only(monkeypatch, "matplotlib")
    drawn = draw(make(1), tmp_path / "exits.svg", title=r"costs $5 & <10$ \frac")
    assert r"<!-- costs $5 & <10$ \frac -->" in unescape(drawn.paths[0].read_text(encoding="utf-8"))


def test_awkward_names_survive_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not available("graphviz-pure", tmp_path):
        pytest.skip("graphviz-pure is not installed")
    only(monkeypatch, "graphviz-pure")
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

    assert list(RENDERERS) == ["exitnas", "graphviz", "graphviz-pure", "matplotlib"]
    monkeypatch.setattr(render, "RENDERERS", {"first": broken, "second": works, "third": broken})
    drawn = draw(make(1), tmp_path / "deep" / "exits.SVG")
    assert drawn.renderer == "second"
    assert drawn.paths[0].read_text() == "svg of 9 arrows"
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["exits.SVG", "exits.dot"]


def test_no_renderer_names_the_extra_and_leaves_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, None)
    with pytest.raises(ExitnasError, match=r'pip install "exitnas\[viz\]"') as caught:
        draw(make(1), tmp_path / "exits.png")
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["exits.dot"]
    assert "digraph exits" in (tmp_path / "exits.dot").read_text(encoding="utf-8")


def test_missing_programs_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert draw(make(1), tmp_path / "exits.svg").renderer == "exitnas"
    with pytest.raises(ExitnasError) as caught:
        draw(make(1), tmp_path / "exits.png")
    for part in ("graphviz: no dot on PATH", "graphviz-pure: not installed", "matplotlib: not installed"):
        assert part in str(caught.value)


def test_failing_program_is_reported_with_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **more: object) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.CompletedProcess(command, 1, b"", b"noise\nout of memory\n")

    monkeypatch.setattr("shutil.which", lambda name, path=None: f"/nowhere/{name}")
    monkeypatch.setattr(subprocess, "run", fail)
    only(monkeypatch, "graphviz")
    with pytest.raises(ExitnasError, match="graphviz: failed: out of memory"):
        draw(make(1), tmp_path / "exits.svg")


def test_pdf_needs_graphviz_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
