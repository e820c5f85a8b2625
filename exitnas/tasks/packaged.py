"""Corpora that come inside an installed Python package, one folder of text files per class."""

import importlib.util
from pathlib import Path

from exitnas.errors import ExitnasError
from exitnas.tasks.spec import TaskSpec
from exitnas.tasks.tables import Table


def read_package(spec: TaskSpec) -> tuple[Table, str]:
    """All documents of a packaged corpus in the order of their paths, and a line naming the source.

    The package is located but not imported, so none of its code runs. Documents that are not UTF-8 are read as
    Windows-1252.

    Raises:
        ExitnasError: the package is not installed, or does not hold the expected files.
    """
    source = spec.package
    assert source is not None
    assert spec.labels is not None
    found = importlib.util.find_spec(source.module)
    if found is None or not found.submodule_search_locations:
        raise ExitnasError(
            f"task {spec.name}: its data package is not installed; pip install {source.distribution}, "
            "or give a folder with --data-dir"
        )
    folder = Path(next(iter(found.submodule_search_locations)), *source.folder.split("/"))
    texts: list[str] = []
    labels: list[str] = []
    for label in spec.labels:
        files = sorted((folder / label).glob("*.txt"), key=lambda path: path.name)
        if not files:
            raise ExitnasError(f"{folder / label}: expected .txt files of package {source.distribution}, found none")
        texts += [_decode(path.read_bytes()) for path in files]
        labels += [label] * len(files)
    table = Table(
        str(folder),
        dict(zip((*spec.text_columns, spec.label_column), (texts, labels), strict=True)),
        "document",
        list(range(1, len(texts) + 1)),
    )
    return table, f"package {source.distribution}"


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return text.replace("\r\n", "\n").strip()
