"""`exitnas draw`."""

import click


@click.command("draw")
@click.argument("genotype", type=click.Path())
@click.option("--output", "-o", metavar="FILE", help="Picture to write: .svg, .png, .pdf or .dot.  [exits.svg]")
@click.option("--title", help="Title of the picture.")
def command(genotype: str, output: str | None, title: str | None) -> None:
    """Draw the exits of GENOTYPE; the .dot is always written beside the picture.

    Example: exitnas draw runs/search-rte-leco/genotype.json -o exits.svg
    """
    from pathlib import Path

    from exitnas.cli.genotypes import load_genotype
    from exitnas.drawing.render import draw

    drawn = draw(load_genotype(genotype), Path(output or "exits.svg"), title=title)
    for path in drawn.paths:
        click.echo(path)
