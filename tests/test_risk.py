"""p-values and fixed-sequence testing against brute force, numbers by hand, and their false-rejection rate."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import multinomial

from exitnas.inference.risk import (
    BETS,
    accuracy_losses,
    betting_p_value,
    error_losses,
    exact_p_value,
    fixed_sequence,
    p_value,
    passed,
    rows_needed,
    score_statistic,
)


def every_count(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """All (worse, better) with worse + better <= rows."""
    pairs = [(w, b) for w in range(rows + 1) for b in range(rows + 1 - w)]
    return np.array([w for w, _ in pairs]), np.array([b for _, b in pairs])


def probability(worse: np.ndarray, better: np.ndarray, rows: int, up: float, down: float) -> np.ndarray:
    """Of every pair of counts when a row is worse with probability `up` and better with `down`."""
    counts = np.stack([worse, better, rows - worse - better], axis=-1)
    return multinomial.pmf(counts, rows, [up, down, 1 - up - down])


def losses_of(worse: int, better: int, rows: int) -> np.ndarray:
    return np.array([1] * worse + [-1] * better + [0] * (rows - worse - better))


def test_losses_by_hand():
    early, full, labels = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    assert accuracy_losses(early, full, labels).tolist() == [0, 0, -1, 1]
    gained = error_losses(np.array([1.0, 9.0]), np.array([1.5, 2.0]), np.array([2.0, 3.0]), span=4.0)
    assert gained.tolist() == [0.25 - 0.125, 1.0 - 0.25]  # an error of 6 counts as 4


def test_score_statistic_by_hand():
    # without a margin it is McNemar's (w - b) / sqrt(w + b)
    assert float(score_statistic(np.array(3), np.array(12), 100, 0.0)) == pytest.approx(-9 / np.sqrt(15))
    assert float(score_statistic(np.array(0), np.array(0), 100, 0.0)) == 0.0
    # no changed answer: 100 rows of which 5 % are expected to get worse, none to get better
    assert float(score_statistic(np.array(0), np.array(0), 100, 0.05)) == pytest.approx(-5 / np.sqrt(4.75))


@pytest.mark.parametrize(("worse", "better"), [(3, 2), (0, 4), (9, 1), (1, 0)])
def test_score_statistic_uses_the_likeliest_distribution(worse: int, better: int):
    rows, drop = 60, 0.05

    def unlikely(down: float) -> float:
        same = rows - worse - better
        return -(worse * np.log(down + drop) + better * np.log(down) + same * np.log(1 - 2 * down - drop))

    share = minimize_scalar(unlikely, bounds=(1e-12, 0.47), method="bounded", options={"xatol": 1e-10}).x
    expected = (worse - better - rows * drop) / np.sqrt(rows * (2 * share + drop - drop**2))
    assert float(score_statistic(np.array(worse), np.array(better), rows, drop)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("worse", "better", "drop"), [(0, 0, 0.1), (1, 2, 0.1), (2, 0, 0.2), (3, 6, 0.0), (12, 3, 0.1)]
)
def test_exact_p_value_is_the_largest_probability_of_counts_as_bad(worse: int, better: int, drop: float):
    rows = 25
    w, b = every_count(rows)
    seen = score_statistic(np.array(worse), np.array(better), rows, drop)
    region = score_statistic(w, b, rows, drop) <= seen + 1e-9
    shares = np.linspace(0, (1 - drop) / 2, 400)
    brute = max(probability(w[region], b[region], rows, share + drop, share).sum() for share in shares)
    assert exact_p_value(worse, better, rows, drop) == pytest.approx(brute, rel=2e-3)
    assert p_value(losses_of(worse, better, rows), drop) == exact_p_value(worse, better, rows, drop)


def test_the_largest_probability_lies_between_grid_points():
    """Rows where the grid alone stays below 0.05 and the truth does not."""
    w, b = every_count(30)
    region = score_statistic(w, b, 30, 0.1) <= score_statistic(np.array(11), np.array(17), 30, 0.1) + 1e-9
    brute = max(probability(w[region], b[region], 30, q + 0.1, q).sum() for q in np.linspace(0.2, 0.45, 2000))
    assert brute > 0.05
    assert exact_p_value(11, 17, 30, 0.1) == pytest.approx(brute, rel=1e-4)


def test_p_values_by_hand():
    assert exact_p_value(0, 0, 25, 0.1) == pytest.approx(0.9**25, rel=1e-6)
    assert exact_p_value(0, 0, 0, 0.1) == 1.0
    assert exact_p_value(25, 0, 25, 0.1) == pytest.approx(1.0)
    bets = np.geomspace(0.01, 1, BETS) / 0.9
    assert betting_p_value(np.zeros(30), 0.1) == pytest.approx(1 / np.mean((1 + bets * 0.1) ** 30))
    assert betting_p_value(np.full(30, 0.5), 0.1) == 1.0


def test_exact_test_rejects_a_true_hypothesis_at_most_at_its_level():
    rows, drop, level = 40, 0.05, 0.1
    w, b = every_count(rows)
    rejected = np.array([exact_p_value(int(x), int(y), rows, drop) for x, y in zip(w, b, strict=True)]) <= level
    sizes = []
    for down in np.linspace(0, 0.45, 46):
        for more in (0.0, 0.02, 0.1):
            up = min(1 - down, down + drop + more)
            sizes.append(probability(w[rejected], b[rejected], rows, up, down).sum())
    assert max(sizes) <= level
    assert max(sizes) > 0.6 * level  # and it is not merely cautious


def test_betting_rejects_a_true_hypothesis_at_most_at_its_level():
    generator = np.random.default_rng(0)
    rejections = 0
    for _ in range(1000):
        losses = np.where(generator.random(80) < 0.2, 0.5, 0.0) * generator.random(80) * 2  # mean 0.1
        rejections += betting_p_value(losses, 0.1) <= 0.1
    assert 0 < rejections <= 100


def test_more_harm_never_lowers_the_p_value():
    values = [[exact_p_value(w, b, 80, 0.05) for w in range(12)] for b in range(6)]
    assert all(np.diff(row).min() >= 0 for row in values)


def test_the_sequence_stops_at_the_first_failure():
    good, bad = losses_of(0, 2, 200), losses_of(12, 2, 200)
    seen: list[int] = []

    def settings():
        for index, losses in enumerate((good, good, bad, good)):
            seen.append(index)
            yield losses

    p_values = fixed_sequence(settings(), 0.02, 0.9)
    assert seen == [0, 1, 2]
    assert len(p_values) == 3
    assert passed(p_values, 0.9) == 2
    assert p_values[2] == exact_p_value(12, 2, 200, 0.02) > 0.1 >= p_values[0]
    assert fixed_sequence([], 0.02, 0.9) == []


def test_rows_needed_is_where_unchanged_answers_pass():
    needed = rows_needed(0.01, 0.95)
    assert needed == 299  # 0.99^298 is above 0.05, 0.99^299 below
    assert exact_p_value(0, 0, 298, 0.01) > 0.05 >= exact_p_value(0, 0, 299, 0.01)
    assert rows_needed(0.0, 0.95) is None
