"""Metrics of the tasks, as fractions: accuracy and F1 in [0, 1], correlations in [-1, 1].

Degenerate input gives a defined number, never NaN and never a warning: a correlation with a constant side is 0.0, F1
without any positive is 0.0.
"""

from collections.abc import Sequence

import numpy as np

from exitnas.errors import ExitnasError
from exitnas.tasks import METRICS

__all__ = ["METRICS", "score", "score_exits"]


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose predicted class is right; both arguments [N]."""
    return float(np.mean(predictions == labels))


def f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """F1 of class 1 in a two-class task; 0.0 when nothing is and nothing is predicted positive."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, pos_label=1, average="binary", zero_division=0))


def macro_f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Unweighted mean of the F1 of every class that occurs in the labels or the predictions."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, average="macro", zero_division=0))


def acc_f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Mean of accuracy and F1, as MRPC and QQP are scored."""
    return (accuracy(predictions, labels) + f1(predictions, labels)) / 2


def matthews(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Matthews correlation coefficient, as CoLA is scored; 0.0 when either side is constant."""
    if _constant(predictions) or _constant(labels):
        return 0.0
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predictions))


def pearson_spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Mean of Pearson and Spearman correlation, as STS-B and SICK are scored; 0.0 when either side is constant."""
    predictions, labels = np.asarray(predictions, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if _constant(predictions) or _constant(labels):
        return 0.0
    from scipy.stats import pearsonr, spearmanr

    # Centred first: scipy warns of inputs whose spread is tiny beside their mean.
    pearson = pearsonr(predictions - predictions.mean(), labels - labels.mean()).statistic
    return float((pearson + spearmanr(predictions, labels).statistic) / 2)


def score(metric: str, predictions: np.ndarray, labels: np.ndarray, parts: Sequence[str] | None = None) -> float:
    """One number for one set of predictions.

    Args:
        metric: name in `METRICS`.
        predictions: [N] class indices, or values for regression.
        labels: [N] of the same kind.
        parts: [N] names of evaluation sets; the metric is then the mean over them (MNLI).

    Raises:
        UsageError: unknown metric.
        ExitnasError: no rows, or predictions that are not finite.
        ValueError: shapes that do not agree.
    """
    function = METRICS.get(metric)
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.shape != labels.shape or predictions.ndim != 1:
        raise ValueError(f"expected predictions and labels [N], got {predictions.shape} and {labels.shape}")
    if len(labels) == 0:
        raise ExitnasError(f"{metric}: expected at least one row to score, got none")
    if not np.all(np.isfinite(predictions)):
        count = int(np.sum(~np.isfinite(predictions)))
        raise ExitnasError(
            f"{metric}: {count} of {len(labels)} predictions are not finite; "
            "training diverged, lower the learning rates"
        )
    if parts is None:
        return function(predictions, labels)
    names = np.asarray(parts)
    if names.shape != labels.shape:
        raise ValueError(f"expected parts [N], got {names.shape} for labels {labels.shape}")
    return float(np.mean([function(predictions[names == n], labels[names == n]) for n in np.unique(names)]))


def score_exits(
    metric: str, predictions: np.ndarray, labels: np.ndarray, parts: Sequence[str] | None = None
) -> list[float]:
    """`score` for every exit at once: predictions [E, N], labels [N]; one number per exit, first layer first."""
    return [score(metric, row, labels, parts) for row in np.asarray(predictions)]


def _constant(values: np.ndarray) -> bool:
    """Whether `values` [N] carry no information about order: all the same up to rounding, or a single row."""
    values = np.asarray(values, dtype=np.float64)
    return bool(np.ptp(values) <= 1e-13 * np.abs(values).max())
