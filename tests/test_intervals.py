"""t intervals over seeds: known values, scipy's own, degenerate and bad input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.intervals import t_interval


def test_t_interval_three_seeds_equals_the_value_from_the_t_table() -> None:
    low, high = t_interval([1.0, 2.0, 3.0])  # 2 -+ 4.302653 * 1 / sqrt(3)
    assert low == pytest.approx(2 - 2.484138, abs=1e-6)
    assert high == pytest.approx(2 + 2.484138, abs=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_t_interval_any_level_agrees_with_scipy(level: float) -> None:
    values = np.random.default_rng(0).normal(100, 3, size=7)
    expected = stats.t.interval(level, 6, loc=values.mean(), scale=stats.sem(values))
    assert t_interval(values, level=level) == pytest.approx(expected)


def test_t_interval_covers_the_mean_as_often_as_it_says() -> None:
    draws = np.random.default_rng(1).normal(size=(2000, 5))
    covered = [low <= 0 <= high for low, high in map(t_interval, draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_t_interval_equal_seeds_has_no_width() -> None:
    assert t_interval([7.0, 7.0]) == (7.0, 7.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [([], "two seeds"), ([1.0], "two seeds"), ([[1.0, 2.0]], "two seeds"), ([1.0, float("nan")], "finite")],
)
def test_t_interval_bad_values_raise(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        t_interval(values)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_t_interval_bad_level_raises(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        t_interval([1.0, 2.0], level=level)
