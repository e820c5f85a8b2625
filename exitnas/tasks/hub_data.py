"""Data sets of the Hugging Face hub, through the `datasets` library."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from exitnas.errors import ExitnasError
from exitnas.tasks.local import Tables
from exitnas.tasks.spec import TaskSpec
from exitnas.tasks.tables import Table, check_columns

WAY_OUT = "give a folder with --data-dir, use a cached copy with --offline, or take the packaged task bbc-news"


def read_hub(spec: TaskSpec, offline: bool) -> tuple[dict[str, Tables], str]:
    """Tables by split (`train`, `validation`, `test`) and a line naming the source.

    Args:
        offline: take the copy in the local cache and do not touch the network; `HF_HUB_OFFLINE=1` means the same.

    Raises:
        ExitnasError: the hub does not answer, the data set is not cached, or it lacks a split or column.
    """
    assert spec.hub is not None
    from exitnas.hub import offline_by_environment, require_hub

    offline = offline or offline_by_environment()
    if not offline:
        require_hub(f"task {spec.name}", WAY_OUT)
    where = f"{spec.hub.path}{f' ({spec.hub.config})' if spec.hub.config else ''}"
    columns = (*spec.text_columns, spec.label_column)
    dataset = _load(spec, where, offline)
    tables: dict[str, Tables] = {"train": [(_table(dataset, "train", where, columns), None)]}
    if spec.parts:
        names: list[tuple[str, str | None]] = [(f"validation_{part}", part) for part in spec.parts]
    else:
        names = [("validation", None)] if "validation" in dataset or not spec.public_test else []
    if names:
        tables["validation"] = [(_table(dataset, name, where, columns), part) for name, part in names]
    if spec.public_test:
        tables["test"] = [(_table(dataset, "test", where, columns), None)]
    return tables, f"hub {where}{', cached' if offline else ''}"


def _load(spec: TaskSpec, where: str, offline: bool) -> Any:
    import datasets

    assert spec.hub is not None
    try:
        with _offline(datasets.config, offline):
            return datasets.load_dataset(spec.hub.path, spec.hub.config, revision=spec.hub.revision)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        if offline:
            raise ExitnasError(
                f"task {spec.name}: {where} is not in the cache ({reason}); load it once with the network, "
                "give a folder with --data-dir, or take the packaged task bbc-news"
            ) from None
        raise ExitnasError(f"task {spec.name}: {where} could not be loaded ({reason}); {WAY_OUT}") from None


@contextmanager
def _offline(config: Any, offline: bool) -> Iterator[None]:
    """Keep `datasets` off the network for the time of one call; the environment is read only when it is imported."""
    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before


def _table(dataset: Any, split: str, where: str, columns: tuple[str, ...]) -> Table:
    if split not in dataset:
        raise ExitnasError(f"{where}: expected a split {split!r}, found {', '.join(dataset)}")
    rows = dataset[split]
    check_columns(f"{where}: {split}", columns, list(rows.column_names))
    return Table(
        f"{where}: {split}", {name: list(rows[name]) for name in columns}, "row", list(range(1, len(rows) + 1))
    )
