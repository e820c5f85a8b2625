"""What early exit costs per row, and whether the rows prove that it costs at most so much.

A setting's *loss* on a row is in [-1, 1]: above 0 where the early answer is worse than the last exit's. Its *risk* is
the loss of an unseen row on average. A p-value here is for the null hypothesis "risk > max_drop": whatever the
distribution of the rows (drawn independently), it falls below a level with at most that probability if the
hypothesis is true. Both p-values hold for any number of rows; none is an approximation for large ones.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from scipy import optimize, special

#: How many fixed bets `betting_p_value` spreads its stake over.
BETS = 64


def accuracy_losses(early: np.ndarray, full: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1[full right] - 1[early right], in {-1, 0, 1}: its mean is the accuracy lost; all [N] class indices."""
    return (full == labels).astype(np.int64) - (early == labels).astype(np.int64)


def error_losses(early: np.ndarray, full: np.ndarray, labels: np.ndarray, span: float) -> np.ndarray:
    """Absolute error gained, as a share of the label's range; all [N] values, result in [-1, 1].

    Args:
        span: largest minus smallest valid label; errors beyond it count as `span`, so that losses are bounded.
    """
    errors = [np.minimum(np.abs(answer - labels) / span, 1.0) for answer in (early, full)]
    return errors[0] - errors[1]


def p_value(losses: np.ndarray, max_drop: float) -> float:
    """`exact_p_value` for whole-number losses [N] (accuracy), `betting_p_value` for others."""
    if np.issubdtype(losses.dtype, np.integer):
        return exact_p_value(int((losses == 1).sum()), int((losses == -1).sum()), len(losses), max_drop)
    return betting_p_value(losses, max_drop)


def score_statistic(worse: np.ndarray, better: np.ndarray, rows: int, max_drop: float) -> np.ndarray:
    """How many standard deviations the accuracy lost lies above `max_drop` (Nam 1997; Tango 1998, eq. 12).

    The deviation is that of the likeliest distribution whose risk is `max_drop` exactly. Its share q of rows that
    early exit improves solves 2 n q^2 - a q - b d(1-d) = 0 with a = w(1+d) + b(1-d) - 2nd.

    Args:
        worse: w, rows only the full model answers right, any shape.
        better: b, rows only early exit answers right, same shape.
        rows: n.
        max_drop: d.
    """
    worse, better = np.asarray(worse, dtype=np.float64), np.asarray(better, dtype=np.float64)
    rest = better * max_drop * (1 - max_drop)
    linear = worse * (1 + max_drop) + better * (1 - max_drop) - 2 * rows * max_drop
    root = np.sqrt(linear**2 + 8 * rows * rest)
    with np.errstate(divide="ignore", invalid="ignore"):  # the second form where the first would cancel
        share = np.where(linear >= 0, (linear + root) / (4 * rows), 2 * rest / (root - linear))
    variance = rows * (2 * share + max_drop * (1 - max_drop))
    excess = worse - better - rows * max_drop
    return np.divide(excess, np.sqrt(variance), out=np.zeros_like(excess), where=variance > 0)


@lru_cache(maxsize=4096)
def exact_p_value(worse: int, better: int, rows: int, max_drop: float) -> float:
    """Exact p-value for losses in {-1, 0, 1} (Hsueh, Liu and Chen 2001: non-inferiority of paired proportions).

    The probability of counts at most as bad as those seen, in the order of `score_statistic`, under the least
    favourable distribution of risk `max_drop`: the largest over the share q of improved rows, tried at points a tenth
    of a standard deviation apart and then searched for around the best of them. Distributions of greater risk make good
    counts less probable, so the boundary suffices. On small drops it needs far fewer rows than Hoeffding-Bentkus or
    betting bounds, which must also hold for losses between -1 and 1.

    Args:
        worse: rows only the full model answers right.
        better: rows only early exit answers right.
        rows: all rows, n.
        max_drop: in [0, 1).
    """
    if rows == 0:
        return 1.0
    seen = float(score_statistic(np.array(worse), np.array(better), rows, max_drop)) + 1e-9  # ties are as bad
    improved = np.arange(rows + 1)
    allowed = _most_allowed(improved, rows, max_drop, seen)
    choose = special.gammaln(rows + 1) - special.gammaln(improved + 1) - special.gammaln(rows - improved + 1)
    largest = (1 - max_drop) / 2
    steps = int(np.ceil(10 * np.sqrt(largest * rows))) + 1

    def chance(root: float) -> float:
        share = root**2
        reach = 8 * np.sqrt(rows * share) + 10
        b = improved[max(0, int(rows * share - reach)) : min(rows, int(rows * share + reach)) + 1]
        mass = np.exp(choose[b] + special.xlogy(b, share) + special.xlog1py(rows - b, -share))
        return float(mass @ _binomial_cdf(allowed[b], rows - b, (share + max_drop) / (1 - share)))

    roots = np.linspace(0, np.sqrt(largest), steps)
    tried = [chance(root) for root in roots]
    best = int(np.argmax(tried))
    around = roots[max(0, best - 1)], roots[min(steps - 1, best + 1)]
    closer = optimize.minimize_scalar(lambda root: -chance(root), bounds=around, method="bounded")
    return min(1.0, max(tried[best], -float(closer.fun)) + 1e-9)


def _most_allowed(better: np.ndarray, rows: int, max_drop: float, seen: float) -> np.ndarray:
    """Per count b of improved rows the most worsened ones whose statistic is at most `seen`; -1 for none."""
    low, high = np.full_like(better, -1), rows - better
    while np.any(low < high):
        middle = (low + high + 1) // 2
        fits = score_statistic(middle, better, rows, max_drop) <= seen
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    return low


def _binomial_cdf(count: np.ndarray, trials: np.ndarray, chance: float) -> np.ndarray:
    """P(Binomial(trials, chance) <= count), 0 for negative counts."""
    inside = np.clip(count, 0, trials)
    value = special.betainc(np.maximum(trials - inside, 1), inside + 1, max(0.0, 1 - chance))
    return np.where(count < 0, 0.0, np.where(count >= trials, 1.0, value))


def betting_p_value(losses: np.ndarray, max_drop: float) -> float:
    """p-value for losses [N] in [-1, 1] by betting against the hypothesis (Waudby-Smith and Ramdas 2020, section 4).

    The capital prod_i (1 + l (max_drop - loss_i)) of a bet l in [0, 1/(1 - max_drop)] cannot grow on average if the
    risk is above `max_drop`; neither can the mean of `BETS` bets. By Markov's inequality 1 / capital is a p-value.
    The order of the rows plays no part.
    """
    bets = np.geomspace(0.01, 1, BETS) / (1 - max_drop)
    factors = np.maximum(1 + bets[:, None] * (max_drop - np.asarray(losses, dtype=np.float64)), 0.0)
    with np.errstate(divide="ignore"):  # a bet that lost everything
        capital = special.logsumexp(np.log(factors).sum(axis=1)) - np.log(BETS)
    return float(np.exp(min(0.0, -capital)))


def fixed_sequence(losses: Iterable[np.ndarray], max_drop: float, confidence: float) -> list[float]:
    """Learn then Test by fixed-sequence testing (Angelopoulos et al. 2021; CALM, Schuster et al. 2022, section 4).

    Tests settings in the given order at level 1 - `confidence` and stops at the first that fails. With probability
    `confidence` no setting that passed has a risk above `max_drop`, however many were tested: the first of the order
    whose risk is above had to pass.

    Args:
        losses: per setting the losses [N] on the calibration rows; the settings and their order must not have been
            chosen by looking at these rows.

    Returns:
        The p-values up to and including the first above the level; settings before it passed.
    """
    tested: list[float] = []
    for row in losses:
        tested.append(p_value(row, max_drop))
        if tested[-1] > 1 - confidence:
            break
    return tested


def passed(p_values: list[float], confidence: float) -> int:
    """How many settings of `fixed_sequence` passed."""
    return sum(value <= 1 - confidence for value in p_values)


def rows_needed(max_drop: float, confidence: float) -> int | None:
    """Rows on which a setting that changes no answer would pass; None when no number suffices (`max_drop` 0).

    The first guess is the n at which n rows without a loss have probability 1 - `confidence` at risk `max_drop`.
    """
    if max_drop <= 0:
        return None
    rows = int(np.ceil(np.log(1 - confidence) / np.log1p(-max_drop)))
    while exact_p_value(0, 0, rows, max_drop) > 1 - confidence:
        rows += 1 + rows // 50
    return rows
