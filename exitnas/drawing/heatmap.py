"""A heat map of loss weights: one row per exit, one column per term, one panel per seed."""

from pathlib import Path
from typing import Any

from exitnas.errors import ExitnasError
from exitnas.files import read_json, replacing


def heatmap(matrices: dict[str, list[list[float]]], terms: list[str], title: str = "") -> Any:
    """A matplotlib `Figure` (Agg, no global state) of weight matrices.

    Args:
        matrices: panel title -> `[E][K]` weights; rows sum to 1, zero means the exit has no such term.
        terms: the K names of the columns.

    Raises:
        ExitnasError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ExitnasError('a heat map needs matplotlib: pip install "exitnas[viz]"') from None

    exits, columns = len(next(iter(matrices.values()))), len(terms)
    width, height = 1.2 + 0.55 * columns, 1.3 + 0.36 * exits
    figure = Figure(figsize=(width * len(matrices) + 0.9, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    high = max(value for matrix in matrices.values() for row in matrix for value in row)
    image: Any = None
    for panel, (name, matrix) in zip(panels, matrices.items(), strict=True):
        shown = [[value if value > 0 else float("nan") for value in row] for row in matrix]
        image = panel.imshow(shown, cmap="Blues", vmin=0.0, vmax=high or 1.0, aspect="auto")
        panel.set_title(name, fontsize=9)
        panel.set_xticks(range(columns), terms, rotation=45, ha="right", fontsize=8)
        panel.set_yticks(range(exits), [f"exit {number}" for number in range(1, exits + 1)], fontsize=8)
        for m, row in enumerate(matrix):
            for k, value in enumerate(row):
                if value > 0:
                    dark = value > 0.6 * high
                    panel.text(
                        k,
                        m,
                        f"{value:.2f}",
                        ha="center",
                        va="center",
                        fontsize=7,
                        color="#ffffff" if dark else "#222222",
                    )
    figure.colorbar(image, ax=list(panels), label="weight", fraction=0.05)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def draw_loss_weights(source: Path | str, output: Path | str) -> None:
    """Draw the `loss_weights.json` of a run directory as PNG, SVG or PDF, by the suffix of `output`.

    Raises:
        ExitnasError: the file is missing or damaged, or matplotlib is not installed.
    """
    output = Path(output)
    record = read_json(source)
    try:
        matrices = {f"seed {seed}": matrix for seed, matrix in record["seeds"].items()}
        terms, title = record["terms"], f"loss weights ({record['weighting']})"
    except (KeyError, TypeError, AttributeError):
        raise ExitnasError(f"{source}: expected weighting, terms and seeds, as `exitnas retrain` writes them") from None
    figure = heatmap(matrices, terms, title)
    with replacing(output) as temporary:
        figure.savefig(temporary, format=output.suffix.removeprefix(".") or "png", dpi=150)
