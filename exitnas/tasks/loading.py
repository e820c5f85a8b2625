"""Loading a task: the first source that applies, labels encoded, splits made, limits applied."""

from exitnas.errors import ExitnasError
from exitnas.tasks import BINARY_METRICS
from exitnas.tasks.data import Split, TaskData
from exitnas.tasks.encode import read_labels, to_split
from exitnas.tasks.hub_data import read_hub
from exitnas.tasks.local import Tables, read_data_dir, read_user_files
from exitnas.tasks.packaged import read_package
from exitnas.tasks.spec import TaskSpec
from exitnas.tasks.splits import limit, make_splits


def load_task(
    spec: TaskSpec,
    *,
    data_dir: str | None = None,
    offline: bool = False,
    split_seed: int = 42,
    limit_train: int | None = None,
    limit_eval: int | None = None,
) -> TaskData:
    """Load a task's rows.

    Sources, first that applies: a user's own files; `data_dir`; the data package; the hub.

    Args:
        spec: what to load (`exitnas.tasks.get_task`).
        data_dir: folder with the task's files (GLUE's archive, or CSV, TSV, JSONL, Parquet with the hub's columns), or
            its parent. For a user's own task: the folder its files are relative to, instead of the YAML file's.
        offline: use the hub's cached copy only.
        split_seed: seed of the splits and limits, apart from the seed of training.
        limit_train: keep at most this many training rows, a seeded random subset.
        limit_eval: keep at most this many rows of dev and of test each, likewise.

    Raises:
        UsageError: a folder or limit that cannot be meant.
        ExitnasError: data that is missing, unreachable or malformed.
    """
    tables, source, notes = _read(spec, data_dir, offline)
    if spec.labels is None and not spec.regression:
        labels = read_labels([table for table, _ in tables["train"]], spec.label_column)
        if spec.metric in BINARY_METRICS and len(labels) != 2:
            raise ExitnasError(
                f"task {spec.name}: metric {spec.metric} needs exactly two labels, the training data has "
                f"{len(labels)} ({', '.join(labels[:8])}); use accuracy or macro_f1"
            )
        spec = spec.model_copy(update={"labels": labels})
    encoded: dict[str, Split | None] = {split: to_split(found, spec) for split, found in tables.items()}
    original = encoded["train"]
    assert original is not None
    (train, dev, test), split_notes = make_splits(
        original, encoded.get("validation"), encoded.get("test"), split_seed, f"task {spec.name}, {source}"
    )
    limited = tuple(
        f"limit: {name} cut from {rows} to {count} rows (seed {split_seed})"
        for name, rows, count in (
            ("train", len(train), limit_train),
            ("dev", len(dev), limit_eval),
            ("test", len(test), limit_eval),
        )
        if count is not None and count < rows
    )
    return TaskData(
        spec=spec,
        train=limit(train, limit_train, split_seed, "--limit-train"),
        dev=limit(dev, limit_eval, split_seed, "--limit-eval"),
        test=limit(test, limit_eval, split_seed, "--limit-eval"),
        source=source,
        notes=(*notes, *_empty_texts(tables, spec.text_columns), *split_notes, *limited),
    )


def _empty_texts(tables: dict[str, Tables], columns: tuple[str, ...]) -> tuple[str, ...]:
    """A note on rows with an empty text, which are kept."""
    empty = [
        (table, index)
        for found in tables.values()
        for table, _ in found
        for index, texts in enumerate(zip(*(table.columns[column] for column in columns), strict=True))
        if any(isinstance(text, str) and not text.strip() for text in texts)
    ]
    if not empty:
        return ()
    count = f"{len(empty)} rows have" if len(empty) > 1 else "1 row has"
    table, index = empty[0]
    return (f"{count} an empty text, the first is {table.place(index)}",)


def _read(spec: TaskSpec, data_dir: str | None, offline: bool) -> tuple[dict[str, Tables], str, tuple[str, ...]]:
    """Tables by split, the source in one line, and notes."""
    if spec.files is not None:
        return read_user_files(spec, data_dir)
    if data_dir is not None:
        return read_data_dir(spec, data_dir)
    if spec.package is not None:
        table, source = read_package(spec)
        return {"train": [(table, None)]}, source, ()
    if spec.hub is None:
        raise ExitnasError(f"task {spec.name}: has no source of its own; give a folder with --data-dir")
    tables, source = read_hub(spec, offline)
    return tables, source, ()
