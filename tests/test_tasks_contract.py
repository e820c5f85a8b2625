"""Every task of the catalog: a valid row, and a local copy of its data loads."""

import csv
import subprocess
import sys

import pytest

from exitnas.errors import UsageError
from exitnas.tasks import METRICS, REGRESSION_METRICS, get_task, task_names
from exitnas.tasks.loading import load_task
from exitnas.tasks.spec import TaskSpec


def write_csv(path, columns, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.mark.parametrize("name", task_names())
def test_row_is_complete(name):
    spec = get_task(name)
    assert spec.name == name
    assert spec.description
    assert spec.metric in METRICS
    assert callable(METRICS.get(spec.metric))
    assert (spec.metric in REGRESSION_METRICS) == spec.regression
    assert spec.num_labels == (1 if spec.regression else len(spec.labels))
    assert spec.hub is not None or spec.package is not None
    assert (spec.value_range is not None) == spec.regression
    assert TaskSpec.model_validate_json(spec.model_dump_json()) == spec
    if spec.glue is not None:
        assert not spec.public_test
        assert len(spec.glue.text) == len(spec.text_columns)


@pytest.mark.parametrize("by_number", [False, True], ids=["names", "numbers"])
@pytest.mark.parametrize("name", task_names())
def test_local_csv_with_the_columns_of_the_hub_loads(name, by_number, tmp_path):
    spec = get_task(name)
    low, high = spec.value_range or (0, 0)

    def label(i):
        if spec.regression:
            return low + (high - low) * (i % 5) / 4
        return i % spec.num_labels if by_number else spec.labels[i % spec.num_labels]

    def rows(split, count):
        return [[label(i), *(f'{split} "{column}", {i}' for column in spec.text_columns)] for i in range(count)]

    columns = (spec.label_column, *spec.text_columns)
    write_csv(tmp_path / "train.csv", columns, rows("train", 30))
    for part in spec.parts or (None,):
        write_csv(tmp_path / f"validation{f'_{part}' if part else ''}.csv", columns, rows("validation", 8))
    if spec.public_test:
        write_csv(tmp_path / "test.csv", columns, rows("test", 6))
    data = load_task(spec, data_dir=str(tmp_path))

    total = 8 * max(1, len(spec.parts))
    dev, test = (8, 6) if spec.public_test else (total // 2, total // 2)
    assert data.sizes == {"train": 30, "dev": dev, "test": test}
    assert data.train.texts[3] == f'train "{spec.text_columns[0]}", 3'
    assert (data.train.pairs is None) == (len(spec.text_columns) == 1)
    if data.train.pairs:
        assert data.train.pairs[3] == f'train "{spec.text_columns[1]}", 3'
    if spec.regression:
        assert data.train.labels[:3] == [low, low + (high - low) / 4, low + (high - low) / 2]
    else:
        assert data.train.labels == [i % spec.num_labels for i in range(30)]
        assert all(isinstance(value, int) for value in data.train.labels)
    assert data.source == f"files in {tmp_path}"
    assert (data.test.parts is not None) == bool(spec.parts)


def test_unknown_task_names_the_nearest():
    with pytest.raises(UsageError, match=r"unknown task 'mrcp': did you mean mrpc or trec\?.*bbc-news"):
        get_task("mrcp")


def test_listing_tasks_imports_nothing_heavy():
    code = (
        "import sys, exitnas.tasks as t; t.get_task('rte'); t.METRICS.names();"
        "print([m for m in ('torch', 'transformers', 'datasets', 'sklearn', 'scipy', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
