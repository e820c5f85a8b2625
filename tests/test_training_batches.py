"""Batches: padding, order, lengths, truncation."""

from collections import Counter
from typing import Any

import pytest
import torch

from exitnas.backbones.loading import load_tokenizer
from exitnas.tasks.data import Split
from exitnas.training.batches import POOL, Encoded, by_length, encode, shuffled


def data_of(lengths: list[int], types: bool = True) -> Encoded:
    """Row i holds `lengths[i]` tokens of value i + 1; label i."""
    rows: list[tuple[list[int], list[int] | None]] = [
        ([i + 1] * n, [1] * n if types else None) for i, n in enumerate(lengths)
    ]
    return Encoded(rows, torch.arange(len(lengths)), pad=99)


def test_a_batch_is_padded_to_its_own_longest_row():
    batch = data_of([2, 5, 1, 3]).batch([2, 0, 3])
    assert batch["input_ids"].tolist() == [[3, 99, 99], [1, 1, 99], [4, 4, 4]]
    assert batch["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert batch["token_type_ids"].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [2, 0, 3]
    assert {key: value.dtype for key, value in batch.items()} == dict.fromkeys(batch, torch.int64)


def test_a_fixed_length_and_no_token_types():
    batch = data_of([2, 1], types=False).batch([1], length=4)
    assert batch["input_ids"].tolist() == [[2, 99, 99, 99]]
    assert batch["attention_mask"].tolist() == [[1, 0, 0, 0]]
    assert "token_type_ids" not in batch


def test_lengths():
    data = data_of([2, 5, 1])
    assert (len(data), data.length(1), data.mean_length()) == (3, 5, 8 / 3)
    assert data_of([]).mean_length() == 0


def test_shuffled_uses_every_row_once_and_groups_by_length():
    lengths = [1 + (i * 37) % 50 for i in range(203)]
    data = data_of(lengths)
    indices = [i for i in range(203) if i != 7]
    batches = shuffled(data, indices, 8, torch.Generator().manual_seed(0))
    assert Counter(i for batch in batches for i in batch) == Counter(indices)
    assert sorted(map(len, batches)) == [2, *[8] * 25]
    spread = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in batches]
    assert max(spread) <= 3  # all 202 rows are one pool: 8 neighbours of 202 rows over 50 lengths
    assert POOL * 8 >= 202
    firsts = [min(lengths[i] for i in batch) for batch in batches]
    assert firsts != sorted(firsts)  # the batches themselves are in random order


def test_rows_are_grouped_inside_a_pool_only():
    data = data_of([1 + i % 2 for i in range(4 * POOL)])
    batches = shuffled(data, list(range(4 * POOL)), 2, torch.Generator().manual_seed(1))
    assert len(batches) == 2 * POOL
    mixed = sum(len({data.length(i) for i in batch}) == 2 for batch in batches)
    assert mixed <= 2  # at most one batch per pool holds both lengths


def test_the_order_comes_from_the_generator_alone():
    data = data_of([1 + i % 9 for i in range(60)])

    def order(seed: int) -> list[list[int]]:
        return shuffled(data, list(range(60)), 4, torch.Generator().manual_seed(seed))

    state = torch.get_rng_state()
    assert order(3) == order(3)
    assert order(3) != order(4)
    assert torch.equal(torch.get_rng_state(), state)
    generator = torch.Generator().manual_seed(3)
    first = shuffled(data, list(range(60)), 4, generator)
    assert shuffled(data, list(range(60)), 4, generator) != first


def test_by_length_is_longest_first():
    assert list(by_length(data_of([2, 5, 1, 3, 4]), 2)) == [[1, 4], [3, 0], [2]]


def test_encode_truncates_and_keeps_labels(world: Any):
    tokenizer = load_tokenizer(str(world.backbone))
    split = Split(["good bad good bad", "fine"], None, [1, 0])
    data = encode(split, tokenizer, 4, regression=False)
    words = [tokenizer.convert_ids_to_tokens(ids) for ids, _ in data.rows]
    assert words == [["[CLS]", "good", "bad", "[SEP]"], ["[CLS]", "fine", "[SEP]"]]
    assert (data.labels.tolist(), data.labels.dtype, data.pad) == ([1, 0], torch.int64, tokenizer.pad_token_id)


def test_encode_cuts_the_longer_text_of_a_pair_first(world: Any):
    tokenizer = load_tokenizer(str(world.backbone))
    split = Split(["good good good good good"], ["bad poor"], [0.5])
    data = encode(split, tokenizer, 8, regression=True)
    ids, types = data.rows[0]
    words = tokenizer.convert_ids_to_tokens(ids)
    assert words == ["[CLS]", "good", "good", "good", "[SEP]", "bad", "poor", "[SEP]"]
    assert types == [0, 0, 0, 0, 0, 1, 1, 1]
    assert data.labels.dtype == torch.float32
    assert data.labels.item() == pytest.approx(0.5)


def test_encode_of_no_rows(world: Any):
    data = encode(Split([], None, []), load_tokenizer(str(world.backbone)), 8, regression=False)
    assert (len(data), data.labels.shape) == (0, (0,))
