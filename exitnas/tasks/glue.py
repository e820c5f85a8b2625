"""GLUE's own archive: tab-separated files in which a quote is just a character.

The traps: a byte-order mark (MRPC), no header (CoLA), unbalanced quotes (QNLI and others), other column names than the
hub's (MRPC, QQP, MNLI, STS-B), label names in one task and numbers in the next, rows with missing fields (QQP).
"""

from pathlib import Path

from exitnas.errors import ExitnasError
from exitnas.tasks.spec import GlueLayout, TaskSpec
from exitnas.tasks.tables import Table, check_columns, read_lines


def glue_files(spec: TaskSpec, folder: Path) -> dict[str, list[tuple[Path, str | None]]] | None:
    """The files of the task when `folder` is laid out as GLUE's archive, else None.

    A `train.tsv` with a `dev.tsv` beside it is GLUE's, unless its header holds the hub's column names and GLUE's are
    others; `train.tsv` with `validation.tsv` never is.

    Returns:
        `train` and `validation`, each a list of (file, name of the evaluation set or None). GLUE's `test.tsv` has no
        labels and is left alone.
    """
    train = folder / "train.tsv"
    dev: list[tuple[Path, str | None]] = [(folder / "dev.tsv", None)]
    if spec.parts:
        dev = [(folder / f"dev_{part}.tsv", part) for part in spec.parts]
    if spec.glue is None or not train.is_file() or not all(path.is_file() for path, _ in dev):
        return None
    if _uses_hub_columns(spec, spec.glue, train):
        return None
    return {"train": [(train, None)], "validation": [(path, part) for path, part in dev]}


def read_glue_tsv(path: Path, spec: TaskSpec) -> Table:
    """Read one file of GLUE's archive, its columns renamed to those of the spec.

    Raises:
        ExitnasError: a missing column, or a row with too few or too many fields (QQP: counted in `skipped`).
    """
    layout = spec.glue
    assert layout is not None
    lines = read_lines(path)
    first = 1
    header = list(layout.columns or ())
    if layout.columns is None:
        header = lines[0].split("\t")
        check_columns(f"{path}: line 1", (*layout.text, layout.label), header)
        first = 2
    wanted = {
        name: header.index(glue_name)
        for name, glue_name in zip((*spec.text_columns, spec.label_column), (*layout.text, layout.label), strict=True)
    }
    columns: dict[str, list[str]] = {name: [] for name in wanted}
    numbers, skipped = [], 0
    for number, line in enumerate(lines[first - 1 :], start=first):
        if not line:
            continue
        fields = line.split("\t")
        if len(fields) != len(header):
            if layout.skip_broken_rows:
                skipped += 1
                continue
            raise ExitnasError(
                f"{path}: line {number}: expected {len(header)} tab-separated fields ({', '.join(header)}), "
                f"got {len(fields)}"
            )
        for name, index in wanted.items():
            columns[name].append(fields[index])
        numbers.append(number)
    return Table(str(path), columns, "line", numbers, skipped)


def _uses_hub_columns(spec: TaskSpec, layout: GlueLayout, train: Path) -> bool:
    """Whether a `train.tsv` beside a `dev.tsv` is a user's file with the hub's column names, not GLUE's."""
    with train.open(encoding="utf-8-sig", errors="replace") as file:
        header = set(file.readline().rstrip("\r\n").split("\t"))
    named_as_glue = layout.columns is None and {*layout.text, layout.label} <= header
    return {*spec.text_columns, spec.label_column} <= header and not named_as_glue
