"""Train, dev and test out of whatever splits a data set comes with (LECO section 6.1).

Every choice is seeded and written into the notes. The streams are numpy's legacy `RandomState`, whose numbers are
frozen by numpy's compatibility policy (NEP 19): the same seed gives the same rows on every machine and version.
"""

from collections import defaultdict

import numpy as np

from exitnas.errors import ExitnasError, UsageError
from exitnas.tasks.data import Split

SMALL_TRAIN = 10_000
"""Below this many training rows the original validation set is halved instead of holding out training rows."""
HELD_OUT = 1_000
"""Training rows held out as dev from `SMALL_TRAIN` rows on."""

_SPLIT_STREAM, _LIMIT_STREAM = 0, 1

Splits = tuple[Split, Split, Split]


def make_splits(
    train: Split, validation: Split | None, test: Split | None, seed: int, where: str = "splits"
) -> tuple[Splits, tuple[str, ...]]:
    """Train, dev and test splits, and a note that says how they were made.

    - A labelled test set is the test split. Dev is the validation set when there is one; otherwise it is held out from
      the training rows: 1,000 of 10,000 or more, a tenth of fewer.
    - Validation set only (GLUE): under 10,000 training rows its halves become dev and test (an odd row goes to test);
      otherwise 1,000 training rows become dev and the whole validation set is test.
    - Neither: dev and test are held out from the training rows, a tenth each and 1,000 at most. Rows with the same
      texts stay together, so no test text was seen in training.

    Args:
        where: name of the data, put in front of error messages.

    Raises:
        ExitnasError: too few rows to split.
    """
    _check_seed(seed)
    random = np.random.RandomState([seed, _SPLIT_STREAM])
    if test is not None:
        if validation is not None:
            return (train, validation, test), ("splits: the original train, validation and test sets",)
        train, dev = _hold_out(train, _tenth(len(train)), random, where)
        return (train, dev, test), (f"splits: dev is {len(dev)} training rows (seed {seed}), test the original one",)
    if validation is not None:
        if len(train) < SMALL_TRAIN:
            order = random.permutation(len(validation))
            half = len(validation) // 2
            dev, test = validation.take(np.sort(order[:half])), validation.take(np.sort(order[half:]))
            if len(dev) == 0:
                raise ExitnasError(f"{where}: expected at least 2 validation rows to halve, got {len(validation)}")
            return (train, dev, test), (f"splits: dev and test are halves of the validation set (seed {seed})",)
        train, dev = _hold_out(train, HELD_OUT, random, where)
        note = f"splits: dev is {len(dev)} training rows (seed {seed}), test the original validation set"
        return (train, dev, validation), (note,)
    return _hold_out_groups(train, random, seed, where)


def limit(split: Split, count: int | None, seed: int, option: str) -> Split:
    """At most `count` rows of `split`, a seeded random subset in the original order.

    A smaller limit's rows are among a larger one's. Classes are not balanced.

    Raises:
        UsageError: a count below 1.
    """
    if count is None:
        return split
    if count < 1:
        raise UsageError(f"{option}: expected at least 1, got {count}")
    _check_seed(seed)
    if count >= len(split):
        return split
    order = np.random.RandomState([seed, _LIMIT_STREAM]).permutation(len(split))
    return split.take(np.sort(order[:count]))


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise UsageError(f"split seed: expected 0 to {2**32 - 1}, got {seed}")


def _tenth(rows: int) -> int:
    return min(HELD_OUT, max(1, rows // 10))


def _hold_out(train: Split, count: int, random: np.random.RandomState, where: str) -> tuple[Split, Split]:
    if len(train) < 2:
        raise ExitnasError(f"{where}: expected at least 2 training rows to hold one out as dev, got {len(train)}")
    order = random.permutation(len(train))
    return train.take(np.sort(order[count:])), train.take(np.sort(order[:count]))


def _hold_out_groups(
    train: Split, random: np.random.RandomState, seed: int, where: str
) -> tuple[Splits, tuple[str, ...]]:
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, text in enumerate(train.texts):
        groups[text, train.pairs[i] if train.pairs else ""].append(i)
    rows = list(groups.values())
    if len(rows) < 3:
        raise ExitnasError(f"{where}: expected at least 3 different training texts to split, got {len(rows)}")
    size = _tenth(len(train))
    dev: list[int] = []
    test: list[int] = []
    rest: list[int] = []
    for left, group in zip(range(len(rows), 0, -1), random.permutation(len(rows)), strict=True):
        members = rows[int(group)]
        if len(dev) < size and left > 2:
            dev += members
        elif len(test) < size and left > 1:
            test += members
        else:
            rest += members
    splits = train.take(sorted(rest)), train.take(sorted(dev)), train.take(sorted(test))
    note = f"splits: dev {len(dev)} and test {len(test)} rows held out from {len(train)} (seed {seed})"
    return splits, (note,)
