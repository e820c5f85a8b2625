"""`exitnas draw`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exitnas.cli import options, render

if TYPE_CHECKING:
    from exitnas.drawing.layout import Panel
    from exitnas.drawing.sheet import Sheet
    from exitnas.supernet.space import SearchSpace


@click.command("draw")
@click.argument("genotypes", nargs=-1, metavar="[GENOTYPE]...", type=click.Path())
@click.option("--space", metavar="NAME|FILE.yaml", help="Draw the search cell of a space instead.")
@click.option("--output", "-o", metavar="FILE", help="Picture to write: .svg, .png, .pdf or .dot; else print tables.")
@click.option("--layer", "layers", multiple=True, metavar="N|all", help="Show this layer only; repeat.  [all]")
@click.option("--columns", type=click.IntRange(1, 1000), metavar="N", help="Wrap the layers into N columns.  [to fit]")
@click.option("--tokens", type=click.IntRange(1, 1_000_000), metavar="N", help="Count MACs of rows of N tokens.  [128]")
@click.option("--title", help="Title of the picture.")
@options.as_json
def command(genotypes: tuple[str, ...], space: str | None, as_json: bool, **values: Any) -> None:
    """Draw the exits of one GENOTYPE, or of several side by side; without -o, print them as tables.

    A GENOTYPE is a file or the run directory of a search. The .dot is always written beside a picture.

    Example: exitnas draw runs/search-rte-leco/genotype.json -o exits.svg
    """
    output, title = values["output"], values["title"]
    if space is not None and genotypes:
        raise click.UsageError(f"--space {space} draws a search cell and {genotypes[0]} exits; give one of the two")
    if space is None and not genotypes:
        raise click.UsageError("nothing to draw; give a genotype.json, the run directory of a search, or --space NAME")
    not_for_spaces = {"--layer": values["layers"], "--columns": values["columns"], "--tokens": values["tokens"]}
    for option, given in not_for_spaces.items():
        if space is not None and given:
            raise click.UsageError(f"{option} is for genotypes; a search cell looks the same in every layer")
    for option in ("columns", "title"):
        if output is None and values[option] is not None:
            raise click.UsageError(f"--{option} is for pictures; name the picture with -o FILE.svg")
    if output is not None:
        from exitnas.drawing.render import picture_kind

        picture_kind(output)
    layers = _layers(values["layers"])
    if space is not None:
        from exitnas.supernet.space import load_space

        found = load_space(space)
        if output is None:
            _print_space(found, as_json)
            return
        from exitnas.drawing.cell import arrange_cell

        _write(arrange_cell(found, title), output, as_json)
        return
    from exitnas.drawing.layout import TOKENS, arrange_panels

    panels, tokens = _panels(genotypes), values["tokens"] or TOKENS
    if output is None:
        _print_genotypes(panels, layers, tokens, as_json)
        return
    _write(arrange_panels(panels, title, layers=layers, columns=values["columns"], tokens=tokens), output, as_json)


def _write(sheet: "Sheet", output: str, as_json: bool) -> None:
    from exitnas.drawing.render import draw_sheet

    drawn = draw_sheet(sheet, output)
    paths = [str(path) for path in drawn.paths]
    if as_json:
        render.print_json({"pictures": paths, "renderer": drawn.renderer})
        return
    for path in paths:
        click.echo(path)


def _layers(given: Sequence[str]) -> list[int] | None:
    """The layers asked for; None for all."""
    wrong = [word for word in given if word != "all" and not (word.isascii() and word.isdigit())]
    if wrong or ("all" in given and len(set(given)) > 1):
        raise click.UsageError(f"--layer {' '.join(given)}: expected numbers of layers, from 1, or all")
    # Nobody has a layer of twenty digits, and Python reads no number of thousands.
    return None if not given or "all" in given else [int(word[:20]) for word in given]


def _panels(paths: Sequence[str]) -> list["Panel"]:
    """The genotypes, each named by its file, or by its run where that says more, and by its path where two agree."""
    from exitnas.cli.genotypes import load_genotype
    from exitnas.drawing.layout import Panel

    names = []
    for path in map(Path, paths):
        run = path if path.is_dir() else path.parent if path.name == "genotype.json" else None
        names.append(path.stem if run is None else run.resolve().name)
    names = [path if names.count(name) > 1 else name for path, name in zip(paths, names, strict=True)]
    genotypes = [load_genotype(path) for path in paths]
    return [Panel(g, name, _classes(g.origin.task)) for g, name in zip(genotypes, names, strict=True)]


def _classes(task: str | None) -> int:
    """C of the genotype's task; 2 when that is not known here."""
    from exitnas.drawing.layout import CLASSES
    from exitnas.errors import ExitnasError
    from exitnas.tasks import get_task

    try:
        return get_task(task).num_labels if task else CLASSES
    except (ExitnasError, OSError, ValueError):
        return CLASSES


def _print_genotypes(panels: Sequence["Panel"], layers: list[int] | None, tokens: int, as_json: bool) -> None:
    from exitnas.drawing.layout import subtitle
    from exitnas.drawing.rows import check_layers
    from exitnas.drawing.sheet import shorten
    from exitnas.drawing.table import COLUMNS, exit_records, notes, table_rows

    for panel in panels:
        check_layers(layers, panel.genotype, panel.name)
    documents = []
    for index, panel in enumerate(panels):
        genotype, reference = panel.genotype, panels[0].genotype if index else None
        records = exit_records(genotype, layers=layers, tokens=tokens, classes=panel.classes, reference=reference)
        origin = {"task": genotype.origin.task, "space": genotype.origin.space, "seed": genotype.origin.seed}
        size = {"layers": genotype.layers, "hidden_size": genotype.hidden_size, "width": genotype.width}
        counted = {"tokens": tokens, "classes": panel.classes}
        documents.append(
            {"name": panel.name, "backbone": genotype.backbone, **origin, **size, **counted, "exits": records}
        )
        if as_json:
            continue
        title = f"{shorten(panel.name)}: exits of {shorten(genotype.backbone)}\n{subtitle(genotype)}"
        cost = f"parameters and MMACs: of the exit alone, one row of {tokens} tokens, C = {panel.classes}"
        render.print_table(title, COLUMNS, table_rows(records), "\n".join([*notes(records), cost]))
    if as_json:
        render.print_json(documents)


def _print_space(space: "SearchSpace", as_json: bool) -> None:
    from exitnas.drawing.cell import count_line
    from exitnas.exits.operations import EDGES

    candidates = {edge: list(space.candidates(edge)) for edge in EDGES}
    if as_json:
        document = {"space": space.name, "description": space.description, "width": space.width}
        render.print_json({**document, "candidates": candidates, "exits": space.exits()})
        return
    rows = [[edge, str(len(names)), " ".join(names)] for edge, names in candidates.items()]
    width = "hidden size" if space.width is None else space.width
    title = f"{space.name}: {space.description}\nexit width {width}"
    render.print_table(title, ["edge", "candidates", "operations"], rows, count_line(space))
