"""Where dev and test come from, and that the same seed gives the same rows."""

import pytest

from exitnas.errors import ExitnasError, UsageError
from exitnas.tasks.data import Split
from exitnas.tasks.splits import limit, make_splits


def rows(count, prefix="t"):
    return Split([f"{prefix}{i}" for i in range(count)], None, [i % 2 for i in range(count)])


@pytest.mark.parametrize(
    ("train", "validation", "test", "sizes"),
    [
        (9_999, 7, None, (9_999, 3, 4)),
        (10_000, 7, None, (9_000, 1_000, 7)),
        (50, 7, 5, (50, 7, 5)),
        (50, None, 5, (45, 5, 5)),
        (12_000, None, 5, (11_000, 1_000, 5)),
        (50, None, None, (40, 5, 5)),
        (3, None, None, (1, 1, 1)),
        (20_000, None, None, (18_000, 1_000, 1_000)),
    ],
)
def test_sizes_and_no_overlap(train, validation, test, sizes):
    splits, notes = make_splits(
        rows(train), rows(validation, "v") if validation else None, rows(test, "x") if test else None, 42
    )
    assert tuple(len(split) for split in splits) == sizes
    texts = [text for split in splits for text in split.texts]
    assert len(set(texts)) == len(texts) == train + (validation or 0) + (test or 0)
    assert len(notes) == 1
    assert splits[1].labels == [int(text[1:]) % 2 for text in splits[1].texts]


def test_seed_decides_and_nothing_else():
    def halves(seed):
        return make_splits(rows(4), rows(20, "v"), None, seed)[0][1].texts

    assert halves(42) == halves(42) == ["v0", "v1", "v4", "v5", "v7", "v8", "v11", "v12", "v14", "v16"]
    assert halves(1) != halves(42)


def test_identical_texts_stay_on_one_side():
    texts = [f"t{i % 25}" for i in range(100)]
    (train, dev, test), _ = make_splits(Split(texts, None, [0] * 100), None, None, 0)
    assert not set(train.texts) & set(dev.texts)
    assert not set(train.texts) & set(test.texts)
    assert not set(dev.texts) & set(test.texts)
    assert (len(train), len(dev), len(test)) == (76, 12, 12)


def test_limit_is_a_nested_subset_in_order():
    split = rows(100)
    small, large = limit(split, 10, 42, "--limit-train"), limit(split, 20, 42, "--limit-train")
    assert set(small.texts) < set(large.texts)
    assert [int(t[1:]) for t in large.texts] == sorted(int(t[1:]) for t in large.texts)
    assert small.texts != split.texts[:10]
    assert limit(split, 1000, 42, "x") is split
    assert limit(split, None, 42, "x") is split


def test_impossible_requests():
    with pytest.raises(UsageError, match="--limit-eval: expected at least 1, got 0"):
        limit(rows(3), 0, 42, "--limit-eval")
    with pytest.raises(UsageError, match="split seed: expected 0 to"):
        make_splits(rows(3), None, None, -1)
    with pytest.raises(ExitnasError, match=r"^task t: expected at least 3 different training texts"):
        make_splits(rows(2), None, None, 42, "task t")
    with pytest.raises(ExitnasError, match=r"^task t: expected at least 2 training rows"):
        make_splits(rows(1), None, rows(2), 42, "task t")
    with pytest.raises(ExitnasError, match="splits: expected at least 2 validation rows to halve, got 1"):
        make_splits(rows(2), rows(1), None, 42)


def test_split_columns_must_agree():
    with pytest.raises(ValueError, match="2 texts but 1 labels"):
        Split(["a", "b"], None, [0])
    taken = Split(["a", "b"], ["c", "d"], [0.5, 1.5], ["m", "n"]).take([1])
    assert (taken.texts, taken.pairs, taken.labels, taken.parts) == (["b"], ["d"], [1.5], ["n"])
