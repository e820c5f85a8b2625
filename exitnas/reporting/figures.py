"""Pictures of a search as PNG: the probabilities of a cell over time, and the genotype they give at the moment."""

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from exitnas.drawing.render import draw
from exitnas.errors import ExitnasError
from exitnas.exits.genotype import Genotype

#: Okabe and Ito's colours, told apart by colour-blind readers, and three more; null is grey.
_HUES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7a5195", "#8c6d31", "#2f4b4b")
_NULL, _INK, _QUIET = "#d5d9de", "#1f2733", "#5d6979"
_WIDTH, _ROW, _TOP, _BOTTOM = 7.5, 0.4, 0.5, 1.1  # inches
_BAND = 0.84  # of a row
_PALETTE = 96


def probability_png(edge: str, steps: list[int], history: list[list[dict[str, float]]]) -> bytes:
    """One cell of the search over time, a row per layer: candidates stacked, as high as they are probable.

    Rows are as high as the sum of their candidates. The leading candidate and its probability stand at the right.

    Args:
        edge: name of the cell's edge, for the title.
        steps: weight steps after which the architecture was looked at, rising.
        history: for every step, for every layer, candidate -> probability.

    Raises:
        ExitnasError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.collections import PolyCollection
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError:
        raise ExitnasError('they need matplotlib: pip install "exitnas[viz]"') from None

    layers, names = len(history[0]), list(history[0][0])
    height = _TOP + _ROW * layers + _BOTTOM
    figure = Figure(figsize=(_WIDTH, height), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.08, _BOTTOM / height, 0.76, _ROW * layers / height))
    axes.set_axis_off()  # its few labels are drawn as text: ticks take longer than all the rest
    times = steps if len(steps) > 1 else [steps[0], steps[0] + 1]
    axes.set_xlim(times[0], times[-1])
    axes.set_ylim(layers - 0.5, -0.5)
    bands = [_bands([looked[row] for looked in history], times, row) for row in range(layers)]
    colours = _candidate_colours(names)
    for name in names:
        polygons = [band[name] for band in bands]
        axes.add_collection(PolyCollection(polygons, facecolor=colours[name], edgecolor="#ffffff", linewidth=0.3))
    beside = axes.get_yaxis_transform()
    for row, candidates in enumerate(history[-1]):
        leader = max(names, key=lambda name: candidates[name])
        axes.text(-0.012, row, str(row + 1), transform=beside, va="center", ha="right", fontsize=9, color=_QUIET)
        text = f"{leader} {candidates[leader]:.2f}"
        axes.text(1.012, row, text, transform=beside, va="center", fontsize=9, color=_INK)
    for step in _marks(steps):
        axes.text(step, layers - 0.4, str(step), va="top", ha="center", fontsize=9, color=_QUIET)
    axes.text(0.5, -0.42 / (_ROW * layers), "step", transform=axes.transAxes, va="center", ha="center", color=_QUIET)
    figure.text(0.015, _BOTTOM / height + 0.5 * _ROW * layers / height, "layer", rotation=90, va="center", color=_QUIET)
    title = f"{edge}: probability of every candidate"
    figure.text(0.46, 1 - 0.25 / height, title, ha="center", va="center", fontsize=11, color=_INK)
    handles = [Patch(facecolor=colours[name], label=name) for name in names]
    figure.legend(handles=handles, loc="lower center", ncols=min(5, len(names)), fontsize=9, frameon=False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return small_png(buffer.getvalue())


def genotype_png(genotype: Genotype, title: str) -> bytes:
    """The graph of `genotype`, drawn by whichever renderer is there.

    Raises:
        ExitnasError: none is there.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "genotype.png"
        try:
            draw(genotype, path, title=title)
        except ExitnasError:
            raise ExitnasError('no renderer could draw them: pip install "exitnas[viz]", or install Graphviz') from None
        return small_png(path.read_bytes())


def small_png(png: bytes) -> bytes:
    """The same picture with a palette, about a third of the bytes; unchanged where Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:
        return png
    with Image.open(BytesIO(png)) as image:
        buffer = BytesIO()
        opaque = Image.new("RGB", image.size, "#ffffff")
        opaque.paste(image, mask=image.convert("RGBA").getchannel("A"))
        opaque.quantize(_PALETTE, dither=Image.Dither.NONE).save(buffer, format="PNG")
    return min(png, buffer.getvalue(), key=len)


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the header.

    Raises:
        ValueError: not a PNG.
    """
    if not png.startswith(b"\x89PNG\r\n\x1a\n") or len(png) < 24:
        raise ValueError("expected a PNG")
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def _bands(looked: list[dict[str, float]], times: list[int], row: int) -> dict[str, list[tuple[float, float]]]:
    """Candidate -> outline of its share over `times` in the band around height `row`, the first on top."""
    looked = looked * 2 if len(looked) == 1 else looked
    low = [row - _BAND / 2] * len(times)
    outlines: dict[str, list[Any]] = {}
    for name in looked[0]:
        high = [at + _BAND * now[name] / sum(now.values()) for at, now in zip(low, looked, strict=True)]
        outlines[name] = [*zip(times, low, strict=True), *reversed(list(zip(times, high, strict=True)))]
        low = high
    return outlines


def _marks(steps: list[int]) -> list[int]:
    """At most six of `steps`, evenly spread, with the first and the last."""
    parts = min(5, len(steps) - 1)
    return [steps[round(part * (len(steps) - 1) / parts)] for part in range(parts + 1)] if parts else steps


def _candidate_colours(names: list[str]) -> dict[str, str]:
    others = [name for name in names if name != "null"]
    return {"null": _NULL} | {name: _HUES[number % len(_HUES)] for number, name in enumerate(others)}
