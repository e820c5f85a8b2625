"""The pictures of a search on TensorBoard, what happens without them, and the size of the logs."""

import sys
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import save_backbone
from event_files import read, series
from PIL import Image

from exitnas.exits.genotype import Genotype
from exitnas.exits.operations import EDGES
from exitnas.reporting.tensorboard import Scalars, due
from exitnas.search.bilevel import search
from exitnas.training.runs import Run


class Heard:
    """A reporter that keeps the lines."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_pictures_of_a_search(searched: dict[str, Any]):
    events = read(Path(searched["run"]) / "tb")
    tags = {"genotype/arg_max", *(f"probability/{edge}" for edge in EDGES)}
    assert set(events.Tags()["images"]) == (tags | {"genotype/refined"} if searched["refined"] else tags)
    for tag in tags:
        found = events.Images(tag)
        assert [event.step for event in found] == [4, 8]
        assert len({event.encoded_image_string for event in found}) == 2  # not the same picture again
        for event in found:
            with Image.open(BytesIO(event.encoded_image_string)) as image:
                assert image.format == "PNG"
                assert image.size == (event.width, event.height)
                assert 300 <= image.width <= 4000
                assert 200 <= image.height <= 4000
                assert len(image.convert("RGB").getcolors(100_000) or ()) > 10  # not blank


@pytest.fixture
def genotype(searched: dict[str, Any]) -> Genotype:
    return Genotype.load(searched["genotype"])


def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("backends.backend_agg", "collections", "figure", "patches"):
        monkeypatch.setitem(sys.modules, f"matplotlib.{name}", None)


def no_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exitnas.drawing.render.RENDERERS", {})


def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exitnas.reporting.figures.small_png", lambda png: 1 / 0)


@pytest.mark.parametrize(
    ("spoil", "warnings"),
    [
        (no_matplotlib, ['probabilities: they need matplotlib: pip install "exitnas[viz]"']),
        (no_renderer, ['genotypes: no renderer could draw them: pip install "exitnas[viz]", or install Graphviz']),
        (broken, ["genotypes: division by zero", "probabilities: division by zero"]),
    ],
)
def test_scalars_go_on_without_pictures(
    genotype: Genotype, tmp_path: Path, monkeypatch: Any, spoil: Callable[[Any], None], warnings: list[str]
):
    spoil(monkeypatch)
    heard: Any = Heard()
    with Scalars(tmp_path, heard) as scalars:
        for step in (1, 2):
            scalars.architecture(step, genotype, {"all": 0.5})
    assert heard.warnings == [f"TensorBoard goes on without pictures of {warning}" for warning in warnings]
    events = read(tmp_path)
    assert series(events, "entropy/all") == {1: 0.5, 2: 0.5}
    gone = {warning.partition(":")[0] for warning in warnings}
    left = {"genotypes": "genotype/arg_max", "probabilities": "probability/pooling"}
    for kind, tag in left.items():
        assert (tag in events.Tags()["images"]) == (kind not in gone)


@pytest.mark.parametrize(("total", "at_most"), [(1, 10), (10, 10), (11, 10), (25, 10), (100, 10), (999, 50)])
def test_pictures_are_spread_over_a_long_search(total: int, at_most: int):
    chosen = [number for number in range(1, total + 1) if due(number, total, at_most)]
    assert len(chosen) == min(total, at_most)
    assert chosen[-1] == total
    gaps = {after - before for before, after in pairwise(chosen)}
    assert max(gaps, default=1) - min(gaps, default=1) <= 1


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_an_evaluation_of_24_layers_is_small(genotype: Genotype, tmp_path: Path):
    exits, probabilities = genotype.exits * 8, (genotype.probabilities or ()) * 8
    large = genotype.model_copy(update={"layers": 24, "exits": exits, "probabilities": probabilities})
    with Scalars(tmp_path) as scalars:
        scalars.architecture(100, large, {"all": 0.5})
    assert len(read(tmp_path).Tags()["images"]) == 6
    assert size_of(tmp_path) < 1_000_000


@pytest.mark.slow
def test_a_search_of_12_layers_logs_less_than_20_mb(world: Any, silent: Any, tmp_path: Path):
    backbone = save_backbone(tmp_path / "twelve", layers=12)
    settings = world.search(backbone=str(backbone), epochs=10, refine=0)
    summary = search(settings, Run.create(tmp_path / "run"), silent)
    events = read(tmp_path / "run" / "tb")
    assert len(events.Images("genotype/arg_max")) == len(events.Images("probability/encoder_1")) == 10
    assert len([tag for tag in events.Tags()["scalars"] if tag.startswith("probability")]) == 12 * 30
    size = size_of(Path(summary["run"]))
    assert size < 20_000_000
