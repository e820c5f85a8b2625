"""Metrics against values computed by hand."""

import math

import numpy as np
import pytest

from exitnas.errors import ExitnasError, UsageError
from exitnas.tasks.metrics import METRICS, score, score_exits

LABELS = np.array([1, 1, 1, 0, 0, 1])
GUESSES = np.array([1, 0, 1, 1, 0, 1])
# true positives 3, false positives 1, false negatives 1, true negatives 1


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("accuracy", 4 / 6),
        ("f1", 2 * 3 / (2 * 3 + 1 + 1)),
        ("macro_f1", (3 / 4 + 2 * 1 / (2 * 1 + 1 + 1)) / 2),
        ("acc_f1", (4 / 6 + 3 / 4) / 2),
        ("matthews", (3 * 1 - 1 * 1) / math.sqrt(4 * 4 * 2 * 2)),
    ],
)
def test_classification_metrics_by_hand(metric, expected):
    assert score(metric, GUESSES, LABELS) == pytest.approx(expected, abs=1e-12)


def test_pearson_spearman_by_hand():
    predictions, labels = np.array([1.0, 2.0, 3.0, 10.0]), np.array([1.0, 3.0, 2.0, 4.0])
    # centred: (-3, -2, -1, 6) and (-1.5, .5, -.5, 1.5): 13 / sqrt(50 * 5); ranks differ by (0, 1, 1, 0)
    pearson, spearman = 13 / math.sqrt(250), 1 - 6 * 2 / (4 * 15)
    assert score("pearson_spearman", predictions, labels) == pytest.approx((pearson + spearman) / 2, abs=1e-12)
    assert score("pearson_spearman", -labels, labels) == pytest.approx(-1)


@pytest.mark.parametrize("metric", METRICS.names())
def test_degenerate_input_gives_a_number_without_warning(metric):
    ones, zeros = np.ones(4, dtype=int), np.zeros(4, dtype=int)
    mixed = np.array([0, 1, 1, 0])
    for predictions, labels in [(ones, mixed), (zeros, mixed), (mixed, ones), (ones, zeros), (zeros, zeros)]:
        assert math.isfinite(score(metric, predictions, labels))
    assert math.isfinite(score(metric, ones[:1], ones[:1]))


@pytest.mark.parametrize("metric", ["matthews", "pearson_spearman"])
def test_constant_predictions_correlate_with_nothing(metric):
    assert score(metric, np.ones(4), np.array([0, 1, 1, 0])) == 0.0


def test_correlation_of_a_tiny_spread_beside_a_large_mean():
    spread = np.array([0.0, 1.0, 2.0, 3.0])
    assert score("pearson_spearman", (1e6 + 1e-6 * spread).astype(np.float64), spread) == pytest.approx(1, abs=1e-3)


def test_parts_are_averaged_not_pooled():
    labels, predictions = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])
    parts = ["matched", "matched", "matched", "mismatched"]
    assert score("accuracy", predictions, labels) == 0.75
    assert score("accuracy", predictions, labels, parts) == 0.5


def test_score_exits_scores_each_row():
    predictions = np.stack([LABELS, GUESSES, 1 - LABELS])
    assert score_exits("accuracy", predictions, LABELS) == pytest.approx([1, 4 / 6, 0])
    assert score_exits("accuracy", predictions, LABELS, ["a", "a", "a", "b", "b", "b"]) == pytest.approx([1, 4 / 6, 0])


def test_bad_requests_are_refused():
    with pytest.raises(UsageError, match="did you mean accuracy"):
        score("acuracy", LABELS, LABELS)
    with pytest.raises(ExitnasError, match="1 of 6 predictions are not finite"):
        score("pearson_spearman", np.array([0, 1, 2, 3, 4, np.nan]), LABELS)
    with pytest.raises(ExitnasError, match="at least one row"):
        score("accuracy", LABELS[:0], LABELS[:0])
    with pytest.raises(ValueError, match="got \\(5,\\) and \\(6,\\)"):
        score("accuracy", LABELS[:5], LABELS)
