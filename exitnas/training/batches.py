"""Tokenized data, and batches padded to their own longest row and grouped by length."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import torch
from torch import Tensor

from exitnas.tasks.data import Split

#: Rows of this many batches are sorted by length together, so that batches are even and still random.
POOL = 32


@dataclass(frozen=True)
class Encoded:
    """A tokenized split.

    Attributes:
        rows: per row the token ids and, where the tokenizer has them, the token types.
        labels: `[N]` int64, or float32 for regression.
        pad: token id used for padding.
    """

    rows: list[tuple[list[int], list[int] | None]]
    labels: Tensor
    pad: int

    def __len__(self) -> int:
        return len(self.rows)

    def length(self, index: int) -> int:
        """Number of tokens of one row."""
        return len(self.rows[index][0])

    def mean_length(self) -> float:
        """Mean number of tokens per row."""
        return sum(len(ids) for ids, _ in self.rows) / max(1, len(self.rows))

    def fingerprint(self) -> int:
        """A checksum of all tokens and labels."""
        return crc32(repr((self.rows, self.labels.tolist())).encode())

    def batch(self, indices: list[int], length: int | None = None) -> dict[str, Tensor]:
        """Pad the named rows on the right to the longest of them, or to `length` when given.

        Returns:
            `input_ids [B, T]`, `attention_mask [B, T]` int64, `token_type_ids [B, T]` where present, `labels [B]`.
        """
        longest = max(self.length(i) for i in indices) if length is None else length
        ids = torch.full((len(indices), longest), self.pad, dtype=torch.long)
        mask = torch.zeros(len(indices), longest, dtype=torch.long)
        types = torch.zeros(len(indices), longest, dtype=torch.long) if self.rows[indices[0]][1] is not None else None
        for row, index in enumerate(indices):
            tokens, token_types = self.rows[index]
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
            if types is not None and token_types is not None:
                types[row, : len(tokens)] = torch.tensor(token_types)
        batch = {"input_ids": ids, "attention_mask": mask, "labels": self.labels[indices]}
        return batch if types is None else {**batch, "token_type_ids": types}


def encode(split: Split, tokenizer: Any, max_length: int, regression: bool) -> Encoded:
    """Tokenize a split, cutting rows (the longer text of a pair first) at `max_length` tokens."""
    rows: list[tuple[list[int], list[int] | None]] = []
    if len(split):
        out = tokenizer(split.texts, split.pairs, truncation=True, max_length=max_length, padding=False)
        types = out.get("token_type_ids") or [None] * len(split)
        rows = list(zip(out["input_ids"], types, strict=True))
    labels = torch.tensor(split.labels, dtype=torch.float32 if regression else torch.long)
    return Encoded(rows, labels, tokenizer.pad_token_id or 0)


def shuffled(data: Encoded, indices: list[int], size: int, generator: torch.Generator) -> list[list[int]]:
    """The rows `indices` in random order, cut into batches of rows of similar length, the batches shuffled too."""
    order = [indices[i] for i in torch.randperm(len(indices), generator=generator).tolist()]
    batches: list[list[int]] = []
    for start in range(0, len(order), size * POOL):
        pool = sorted(order[start : start + size * POOL], key=data.length)
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def by_length(data: Encoded, size: int) -> Iterator[list[int]]:
    """All rows, longest first, in batches: the order for evaluation, where a failure of memory shows at once."""
    order = sorted(range(len(data)), key=data.length, reverse=True)
    for start in range(0, len(order), size):
        yield order[start : start + size]
