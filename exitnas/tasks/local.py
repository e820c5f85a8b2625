"""A task's files in a folder of the user: GLUE's own archive, or files with the hub's column names."""

import re
from pathlib import Path

from exitnas.errors import ExitnasError, UsageError
from exitnas.tasks.glue import glue_files, read_glue_tsv
from exitnas.tasks.spec import TaskSpec
from exitnas.tasks.tables import SUFFIXES, Table, read_table

Tables = list[tuple[Table, str | None]]
"""Tables of one split, each with the name of its evaluation set (None where a task has one)."""

_STEMS = {"train": ("train",), "validation": ("validation", "dev", "valid", "val"), "test": ("test",)}
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


def read_data_dir(spec: TaskSpec, data_dir: str) -> tuple[dict[str, Tables], str, tuple[str, ...]]:
    """Read a task from `data_dir`: the folder with its files, or the parent of a folder named after the task.

    Returns:
        Tables by split (`train`, `validation`, `test`), a line naming the source, and notes.

    Raises:
        UsageError: no such folder.
        ExitnasError: no files of the task in it, or a malformed one.
    """
    root = Path(data_dir).expanduser()
    if not root.is_dir():
        what = "is a file, a folder was expected" if root.exists() else "no such folder"
        raise UsageError(f"--data-dir {data_dir}: {what}")
    for folder in _candidates(spec, root):
        files = glue_files(spec, folder)
        if files is not None:
            tables = {split: [(read_glue_tsv(p, spec), part) for p, part in found] for split, found in files.items()}
            skipped = sum(table.skipped for found in tables.values() for table, _ in found)
            notes = (f"{skipped} rows with missing fields skipped",) if skipped else ()
            return tables, f"GLUE files in {folder}", notes
        files = _plain_files(spec, folder)
        if "train" not in files:
            continue
        notes = ()
        if "test" in files and not spec.public_test:
            del files["test"]
            notes = ("test file ignored: the labels of GLUE's test set are hidden",)
        if "validation" not in files and "test" not in files:
            raise ExitnasError(
                f"{folder}: task {spec.name} found its training rows but no "
                f"{'validation or test' if spec.public_test else 'validation'} file ({_expected('validation')})"
            )
        columns = (*spec.text_columns, spec.label_column)
        tables = {split: [(read_table(p, columns), part) for p, part in found] for split, found in files.items()}
        return tables, f"files in {folder}", notes
    raise ExitnasError(f"{root}: no training file of task {spec.name}; {_expectations(spec)}, found {_listing(root)}")


def read_user_files(spec: TaskSpec, data_dir: str | None) -> tuple[dict[str, Tables], str, tuple[str, ...]]:
    """Read the files a user's YAML names, relative to its folder or to `data_dir`; returns as `read_data_dir`.

    Raises:
        ExitnasError: a file is missing, as when a model is used from another folder, or malformed.
    """
    assert spec.files is not None
    base = Path(data_dir or spec.base_dir or ".").expanduser()
    columns = (*spec.text_columns, spec.label_column)
    named = {"train": spec.files.train, "validation": spec.files.validation, "test": spec.files.test}
    for name in named.values():
        if name is not None and not (base / name).exists():
            raise ExitnasError(f"{base / name}: no such file; give its folder with --data-dir")
    tables: dict[str, Tables] = {
        split: [(read_table(base / name, columns), None)] for split, name in named.items() if name is not None
    }
    return tables, f"files in {base}", ()


def _candidates(spec: TaskSpec, root: Path) -> list[Path]:
    """`root` itself, then its sub-folders named after the task, in any mix of upper and lower case."""
    names = {spec.name.casefold()} | ({spec.glue.folder.casefold()} if spec.glue else set())
    return [root, *sorted(p for p in root.iterdir() if p.is_dir() and p.name.casefold() in names)]


def _plain_files(spec: TaskSpec, folder: Path) -> dict[str, list[tuple[Path, str | None]]]:
    """Files by split; a Parquet split may be cut into shards named `train-00000-of-00002.parquet`."""
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix.lower() in SUFFIXES:
            by_stem.setdefault(_SHARD.sub("", path.stem.lower()), []).append(path)
    files: dict[str, list[tuple[Path, str | None]]] = {}
    for split, stems in _STEMS.items():
        names: list[tuple[str, str | None]] = [(stem, None) for stem in stems]
        if split == "validation":
            names += [(f"{stem}_{part}", part) for part in spec.parts for stem in stems]
        found = [(path, part) for stem, part in names for path in by_stem.get(stem, [])]
        whole = [path for path, part in found if part is None and not _SHARD.search(path.stem)]
        if len(whole) > 1 or (whole and len(found) > 1):
            raise ExitnasError(
                f"{folder}: several {split} files ({', '.join(path.name for path, _ in found)}); keep one of them"
            )
        missing = [part for part in spec.parts if part not in {p for _, p in found}]
        if split == "validation" and found and not whole and missing:
            raise ExitnasError(f"{folder}: expected a file validation_{missing[0]} beside {found[0][0].name}")
        if found:
            files[split] = found
    return files


def _expected(split: str) -> str:
    return " or ".join(f"{split}{suffix}" for suffix in SUFFIXES)


def _expectations(spec: TaskSpec) -> str:
    columns = ", ".join((*spec.text_columns, spec.label_column))
    glue = f"{spec.glue.folder}/train.tsv with its dev file, or " if spec.glue else ""
    return f"expected {glue}{_expected('train')} with columns {columns}"


def _listing(folder: Path) -> str:
    names = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "an empty folder"
