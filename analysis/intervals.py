"""Statistics over seeds: intervals, paired tests, seeds needed; arrays in, numbers out.

The unit is the training seed. Arms are paired by seed, so a claim works on `differences`: arm A's metric minus arm B's.
All but the bootstrap rest on a mean that is near normal. Skewed noise in both arms cancels in the difference; if one of
two moderately skewed arms spreads twice as far, the 95 % t interval still covers 93 %, but a one-sided test at 5 % errs
in up to 9 % on one side. One strongly skewed arm, or a few failed seeds, break it
(tests/analysis/test_interval_coverage.py).

Numbers that are rounded, as counts are, may be equal in all seeds although the mean is not known exactly: `least_error`
is a standard error below which that of the mean never falls.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
from scipy.special import nctdtr, stdtr, stdtrit

LEAST_BOOTSTRAP_SEEDS = 20
ROUNDING = 10 * float(np.finfo(np.float64).eps)
"""Relative; a spread or a gap below it is no spread and no gap (scipy's t test draws the line there too)."""

Alternative = Literal["less", "greater", "two-sided"]
Goal = Literal["difference", "equivalence"]
Values: TypeAlias = np.ndarray | Sequence[float]


def t_interval(values: Values, *, level: float = 0.95, least_error: float = 0.0) -> tuple[float, float]:
    """t interval for the mean over seeds.

    Args:
        values: One number per seed, shape `(num_seeds,)`, in any unit.
        level: Coverage, in (0, 1).
        least_error: The least standard error of the mean, in that unit.

    Returns:
        `(low, high)` in the unit of `values`.

    Raises:
        ValueError: Fewer than two seeds, a value that is not finite, or a level outside (0, 1).
    """
    array = _seeds(values)
    _check_level(level)
    mean, error = _mean_and_error(array)
    half = stdtrit(len(array) - 1, (1 + level) / 2) * max(error, least_error)
    return float(mean - half), float(mean + half)


def least_error(values: Values, resolution: float) -> float:
    """The least standard error that the mean of counts may have.

    Where the seeds spread less than a step between counts, rounding moves all of them alike, and more seeds do not
    average it out. The standard deviation of rounding is the step / sqrt(12).

    Args:
        values: One count per seed, shape `(num_seeds,)`, two seeds or more.
        resolution: The step between counts; 0 for numbers that are not rounded.

    Returns:
        `resolution / sqrt(12)` if the standard deviation over seeds is below `resolution`, else 0.
    """
    return float(resolution / np.sqrt(12)) if np.std(values, ddof=1) < resolution else 0.0


def paired_test(
    differences: Values, *, margin: float = 0.0, alternative: Alternative, least_error: float = 0.0
) -> float:
    """p value of the paired t test of the mean difference against a margin.

    The two-sided p value is below 5 % exactly where the 95 % t interval leaves the margin out. Equal differences, as of
    arms in closed form, have no spread; their standard error is then that of floating-point rounding, so p is tiny and
    not 0. A mean difference at the margin itself gives p = 0.5, two-sided 1, with spread or without.

    Args:
        differences: Arm A minus arm B per seed, shape `(num_seeds,)`, in any unit.
        margin: The number that the mean is compared with, in that unit, of any sign.
        alternative: The alternative for which a small p value is evidence: the mean is "less" or "greater" than the
            margin, or either.
        least_error: The least standard error of the mean difference, in that unit.

    Raises:
        ValueError: Fewer than two seeds, a difference or a margin that is not finite, or an unknown alternative.
    """
    array = _seeds(differences)
    if not np.isfinite(margin):
        raise ValueError(f"`margin` must be finite, but got {margin=}.")
    if alternative not in get_args(Alternative):
        raise ValueError(f"`alternative` must be one of {get_args(Alternative)}, but got {alternative=}.")
    return float(_p_value(array, margin, alternative, least_error))


def holm(p_values: Values) -> np.ndarray:
    """Holm's adjusted p values of one family of tests, in the order given (Holm 1979); `(num_tests,)`, may be empty.

    Not taken from statsmodels, whose function collects the garbage of the whole process at each call (0.1 s). Raises
    ValueError for anything but a vector of numbers in [0, 1].
    """
    array = np.asarray(p_values, dtype=np.float64)
    if array.ndim != 1 or not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"`p_values` must be a vector of numbers in [0, 1], but got {array.tolist()}.")
    order = np.argsort(array, kind="stable")
    adjusted = np.empty_like(array)
    adjusted[order] = np.maximum.accumulate(np.arange(len(array), 0, -1) * array[order]).clip(max=1)
    return adjusted


def studentised_bootstrap(
    values: Values, *, level: float = 0.95, num_resamples: int = 9_999, rng: np.random.Generator
) -> tuple[float, float]:
    """Bootstrap-t interval for the mean over seeds (Efron & Tibshirani 1993, section 12.5), from 20 seeds on.

    Unlike the t interval it follows the skew of the values. Where they are so tied that many resamples hold one value
    only, a bound is infinite: the resamples cannot tell how far off the mean may lie.

    Args:
        values: One number per seed, shape `(num_seeds,)`, in any unit.
        level: Coverage, in (0, 1).
        num_resamples: At least one for each tail.
        rng: Draws the resamples.

    Returns:
        `(low, high)` in the unit of `values`.

    Raises:
        ValueError: Fewer than 20 seeds, a value that is not finite, or a level or num_resamples out of range.
    """
    array = _seeds(values)
    _check_level(level)
    num_seeds = len(array)
    if num_seeds < LEAST_BOOTSTRAP_SEEDS:
        raise ValueError(f"`num_seeds >= {LEAST_BOOTSTRAP_SEEDS}` must hold for a bootstrap, but got {num_seeds=}.")
    tail = (1 - level) / 2
    if num_resamples * tail < 1:
        raise ValueError(f"`num_resamples >= {np.ceil(1 / tail):.0f}` must hold, but got {num_resamples=}.")
    mean, error = _mean_and_error(array)
    resamples = rng.choice(array, (num_resamples, num_seeds))
    # An order statistic and not an average of two, because some may be infinite.
    low, high = np.quantile(_t_statistic(resamples, float(mean)), [tail, 1 - tail], method="inverted_cdf")
    return (float(mean - high * error), float(mean - low * error)) if error else (float(mean), float(mean))


def seeds_needed(
    differences: Values,
    *,
    margin: float,
    goal: Goal,
    alpha: float = 0.05,
    power: float = 0.8,
    most: int = 1000,
    least_error: float = 0.0,
) -> int | None:
    """The number of seeds that would decide a claim, if the true mean and spread were those observed.

    An order of magnitude, not a promise: the number goes with the square of the spread, and the true spread may be
    six times that of 3 seeds and three times that of 5 (at 95 %).

    Args:
        differences: Arm A minus arm B per seed, shape `(num_seeds,)`, in any unit.
        margin: In that unit. Difference: the number that the mean is compared with, of any sign. Equivalence: above 0.
        goal: "difference": the two-sided paired t test is significant (for one one-sided test, double alpha), so the
            1 - alpha interval leaves the margin out. "equivalence": both one-sided tests are, each at alpha.
        alpha: Level of the test, in (0, 0.5).
        power: The chance of a decision that is enough, in (alpha, 1).
        most: The largest number that is considered.
        least_error: The least standard error of the mean difference, in that unit.

    Returns:
        The smallest number of seeds, 2 or more; None if it is above `most`, as it is where the mean lies at the margin
        (difference), or not within the margins (equivalence).

    Raises:
        ValueError: Fewer than two seeds, a difference that is not finite, or another argument out of range.
    """
    array = _seeds(differences)
    if not (0 < alpha < 0.5 and alpha < power < 1):
        raise ValueError(f"`0 < alpha < 0.5` and `alpha < power < 1` must hold, but got {alpha=}, {power=}.")
    if goal == "equivalence":
        if not 0 < margin < np.inf:
            raise ValueError(f"`0 < margin < inf` must hold for equivalence, but got {margin=}.")
        gaps, level = [float(_gap(array, -margin)), -float(_gap(array, margin))], alpha
    elif goal == "difference":
        gaps, level = [abs(float(_gap(array, margin)))], alpha / 2
    else:
        raise ValueError(f"`goal` must be one of {get_args(Goal)}, but got {goal=}.")
    if min(gaps) <= 0:
        return None

    def power_of(num_seeds: int) -> float:
        error = max(float(_spread(array)) / np.sqrt(num_seeds), least_error)
        return _power([gap / error if error else np.inf for gap in gaps], num_seeds, level)

    counts = range(2, most + 1)
    index = bisect_left(counts, power, key=power_of)
    return counts[index] if index < len(counts) else None


def _seeds(values: Values) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise ValueError(f"`values` must be a vector of two seeds or more, but got shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"`values` must be finite, but got {array.tolist()}.")
    return array


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"`0 < level < 1` must hold, but got {level=}.")


def _spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation over the last axis of `(..., num_seeds)`; 0 where the values differ by rounding."""
    spread = values.std(axis=-1, ddof=1)
    return np.where(spread > ROUNDING * np.abs(values).max(axis=-1), spread, 0.0)


def _mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and its standard error over the last axis of `(..., num_seeds)`."""
    return values.mean(axis=-1), _spread(values) / np.sqrt(values.shape[-1])


def _gap(values: np.ndarray, margin: float) -> np.ndarray:
    """Means over the last axis of `(..., num_seeds)` less a margin; 0 where that is rounding."""
    mean = values.mean(axis=-1)
    gap = mean - margin
    return np.where(np.abs(gap) > ROUNDING * np.maximum(np.abs(mean), abs(margin)), gap, 0.0)


def _t_statistic(values: np.ndarray, margin: float, least_error: np.ndarray | float = 0.0) -> np.ndarray:
    """t statistics of the means over the last axis of `(..., num_seeds)` against a margin; infinite without spread."""
    gap, error = _gap(values, margin), np.maximum(_mean_and_error(values)[1], least_error)
    with np.errstate(divide="ignore", invalid="ignore"):  # gap / 0 is the infinity meant, and 0 / 0 is not used
        return np.where(gap == 0, 0.0, gap / error)


def _p_value(values: np.ndarray, margin: float, alternative: Alternative, least_error: float = 0.0) -> np.ndarray:
    """p values of t tests of the means over the last axis of `(..., num_seeds)` against a margin."""
    rounding = ROUNDING * np.maximum(np.abs(values).max(axis=-1), abs(margin))
    statistic = _t_statistic(values, margin, np.maximum(rounding, least_error))
    freedom = values.shape[-1] - 1
    if alternative == "two-sided":
        return np.asarray(2 * stdtr(freedom, -np.abs(statistic)))
    return np.asarray(stdtr(freedom, statistic if alternative == "less" else -statistic))


def _power(statistics: list[float], num_seeds: int, level: float) -> float:
    """Power of one-sided t tests to be significant together, at its lower bound (Bonferroni; exact for one test).

    `statistics` are the gaps to the margins in standard errors.
    """
    limit = -stdtrit(num_seeds - 1, level)
    powers = 1 - nctdtr(num_seeds - 1, np.array(statistics), limit)
    # Far in its tail, where the power is 1, scipy's noncentral t is NaN.
    return float(np.nan_to_num(powers, nan=1.0).sum()) - (len(powers) - 1)
