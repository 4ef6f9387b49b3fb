"""Effects with their intervals and p values: of numbers by seed, of paired trials, and of gaps between curves.

Every interval covers with few seeds (tests/analysis/claims/test_effects.py): counts and times are known to a resolution
only, a number that was never reached is a bound, rates are exact, and the maximum of noisy curves is bounded by limits
that hold together. No p value is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from scipy.special import bdtr, betaincinv, stdtr, stdtrit

from analysis.intervals import Goal, least_error, paired_test, seeds_needed, t_interval

Side = Literal["less", "greater"]
MOST_SEEDS = 1000
"""How many seeds are considered at most, where a claim needs more."""


class Effect(Protocol):
    """An effect as a sample of seeds shows it."""

    @property
    def estimate(self) -> float:
        """The effect, in the part's unit."""

    def interval(self, level: float) -> tuple[float, float]:
        """An interval of this coverage; two seeds or more."""

    def p_value(self, margin: float, side: Side) -> float:
        """The one-sided p value that the effect lies on this side of a margin; two seeds or more."""

    def seeds_needed(self, margin: float, goal: Goal, alpha: float) -> int | None:
        """The number of seeds that would decide it, were all else as observed; None if it is above MOST_SEEDS."""

    def least_p(self, seeds: int) -> float:
        """The least one-sided p value that this number of seeds can give."""


def p_inside(effect: Effect, margin: float) -> float:
    """The p value that an effect lies within (-margin, margin): two one-sided tests (Schuirmann 1987)."""
    return max(effect.p_value(margin, "less"), effect.p_value(-margin, "greater"))


def p_outside(effect: Effect, margin: float) -> float:
    """The two-sided p value that an effect lies beyond a margin, above 0, or beyond its negative."""
    return min(2 * min(effect.p_value(margin, "greater"), effect.p_value(-margin, "less")), 1.0)


@dataclass(frozen=True, eq=False)
class SeedEffects:
    """An effect for each seed, known between bounds.

    Attributes:
        values: The effect by seed, `(num_seeds,)`.
        lower: The least that it may be, infinite where nothing is known, same shape.
        upper: The most that it may be.
        resolution: The step of a count; 0 for other numbers.
    """

    values: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    resolution: float = 0.0

    @classmethod
    def exact(cls, values: np.ndarray, resolution: float = 0.0) -> SeedEffects:
        """Effects without bounds."""
        return cls(values, values, values, resolution)

    @property
    def estimate(self) -> float:  # noqa: D102 (see Effect)
        return float(self.values.mean())

    @cached_property
    def least_error(self) -> float:
        """The least standard error of the mean.

        That of rounding, where the seeds count something, and that of lying anywhere between their bounds.
        """
        widths = self.upper - self.lower
        width = float(widths[np.isfinite(widths)].mean()) if np.isfinite(widths).any() else 0.0
        return max(least_error(self.values, self.resolution), float(width / np.sqrt(12 * len(self.values))))

    def interval(self, level: float) -> tuple[float, float]:  # noqa: D102
        low, high = -np.inf, np.inf
        if np.isfinite(self.lower).all():
            low, _ = t_interval(self.lower, level=level, least_error=self.least_error)
        if np.isfinite(self.upper).all():
            _, high = t_interval(self.upper, level=level, least_error=self.least_error)
        return low, high

    def p_value(self, margin: float, side: Side) -> float:  # noqa: D102
        ends = self.lower if side == "greater" else self.upper
        if not np.isfinite(ends).all():
            return 1.0
        if self.bounded and not self.least_error and np.ptp(ends) == 0:
            # bounds that are equal in all seeds say nothing of the spread: the sign test
            beyond = ends[0] > margin if side == "greater" else ends[0] < margin
            return float(0.5 ** len(ends)) if beyond else 1.0
        return paired_test(ends, margin=margin, alternative=side, least_error=self.least_error)

    @property
    def bounded(self) -> bool:
        """Whether any seed's effect is known between bounds only."""
        return bool((self.lower < self.upper).any())

    def seeds_needed(self, margin: float, goal: Goal, alpha: float) -> int | None:
        """The number of seeds that would decide it, with bounds as observed; None too if these straddle a margin."""
        above = self.estimate > margin
        ends = [self.lower if above else self.upper] if goal == "difference" else [self.lower, self.upper]
        needed = []
        for end in ends:
            if not np.isfinite(end).all() or (goal == "difference" and (end.mean() > margin) != above):
                return None
            needed.append(seeds_needed(end, margin=margin, goal=goal, alpha=alpha, least_error=self.least_error))
        return None if None in needed else max(filter(None, needed))

    def least_p(self, seeds: int) -> float:  # noqa: D102
        return 0.0


@dataclass(frozen=True, eq=False)
class PairedRates:
    """The difference of two rates over matched trials: exact sign test, Clopper-Pearson limits.

    Attributes:
        first: How many pairs only the first arm's trial is in.
        second: How many pairs only the second arm's trial is in.
        pairs: How many pairs there are.
        seeds: How many seeds they come from.
    """

    first: int
    second: int
    pairs: int
    seeds: int

    @property
    def estimate(self) -> float:  # noqa: D102
        return (self.first - self.second) / self.pairs

    def interval(self, level: float) -> tuple[float, float]:
        """The interval of the difference, from the shares of pairs that only one arm's trial is in.

        Each share has an exact interval that errs in half of 1 - level, so that both hold together.
        """
        low, high = (_clopper_pearson(number, self.pairs, (1 + level) / 2) for number in (self.first, self.second))
        return low[0] - high[1], low[1] - high[0]

    def p_value(self, margin: float, side: Side) -> float:  # noqa: D102
        if margin == 0:
            less = self.first if side == "less" else self.second
            return float(bdtr(less, self.first + self.second, 0.5)) if self.first + self.second else 1.0
        lowest, highest = 0.0, 1.0
        for _ in range(40):  # the level at which the interval begins to leave the margin out
            level = (lowest + highest) / 2
            low, high = self.interval(level)
            out = low > margin if side == "greater" else high < margin
            lowest, highest = (level, highest) if out else (lowest, level)
        return (1 - lowest) / 2 if lowest else 1.0

    def seeds_needed(self, margin: float, goal: Goal, alpha: float) -> int | None:  # noqa: D102
        one_sided = alpha / 2 if goal == "difference" else alpha
        side: Side = "greater" if self.estimate > margin else "less"
        for seeds in range(self.seeds, MOST_SEEDS + 1):
            first, second, pairs = (round(x * seeds / self.seeds) for x in (self.first, self.second, self.pairs))
            if PairedRates(first, second, pairs, seeds).p_value(margin, side) < one_sided:
                return seeds
        return None

    def least_p(self, seeds: int) -> float:  # noqa: D102
        return float(0.5 ** (self.pairs * seeds / self.seeds))


@dataclass(frozen=True, eq=False)
class CurveGap:
    """The gap from the lowest to the highest of several arms' mean curves, at its largest or on average.

    The gap of the seeds' mean curves is biased upward, since the highest is chosen after the noise. Its limits are
    those of the pairs of arms: the upper one holds for the pair that is truly widest, whichever that is; the lower one
    holds for all pairs, and for the largest gap for all evaluations, together (Bonferroni).

    Attributes:
        curves: `(num_arms, num_seeds, num_evaluations)`.
        largest: Whether the gap is the largest of all evaluations, or their mean.
    """

    curves: np.ndarray
    largest: bool

    @property
    def estimate(self) -> float:  # noqa: D102
        means = self.curves.mean(axis=1)
        gaps = means.max(axis=0) - means.min(axis=0)
        return float(gaps.max() if self.largest else gaps.mean())

    @cached_property
    def _pairs(self) -> np.ndarray:
        """Differences of every two arms, in both orders, `(num_pairs, num_seeds, num_evaluations)`."""
        first, second = np.nonzero(~np.eye(len(self.curves), dtype=bool))
        return np.asarray(self.curves[first] - self.curves[second])

    @cached_property
    def _wide(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard errors by which the gap is at most so wide."""
        mean, error = _moments(self._pairs)
        return (mean, error) if self.largest else (mean.max(axis=0).mean(), error.max(axis=0).mean())

    @cached_property
    def _narrow(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard errors of differences of which each is a lower bound of the gap."""
        return _moments(self._pairs) if self.largest else _moments(self._pairs.mean(axis=2))

    @property
    def _freedom(self) -> int:
        return int(self.curves.shape[1]) - 1

    def interval(self, level: float) -> tuple[float, float]:  # noqa: D102
        alpha = (1 - level) / 2
        (wide, wide_error), (narrow, narrow_error) = self._wide, self._narrow
        low = narrow + stdtrit(self._freedom, alpha / np.size(narrow)) * narrow_error
        return max(float(np.max(low)), 0.0), float(np.max(wide - stdtrit(self._freedom, alpha) * wide_error))

    def p_value(self, margin: float, side: Side) -> float:  # noqa: D102
        return self._p_value(margin, side, self._freedom + 1)

    def _p_value(self, margin: float, side: Side, seeds: int) -> float:
        """The p value, had this number of seeds the same means and spreads."""
        scale = np.sqrt(seeds / (self._freedom + 1))
        if side == "less":
            mean, error = self._wide
            return float(np.max(stdtr(seeds - 1, (mean - margin) / error * scale)))
        mean, error = self._narrow
        return min(1.0, float(np.size(mean) * np.min(stdtr(seeds - 1, (margin - mean) / error * scale))))

    def seeds_needed(self, margin: float, goal: Goal, alpha: float) -> int | None:  # noqa: D102
        side: Side = "greater" if self.estimate > margin else "less"
        seeds = range(self._freedom + 1, MOST_SEEDS + 1)
        return next((number for number in seeds if self._p_value(margin, side, number) < alpha / 2), None)

    def least_p(self, seeds: int) -> float:  # noqa: D102
        return 0.0


def _clopper_pearson(number: int, total: int, level: float) -> tuple[float, float]:
    """The exact interval of a binomial share (Clopper & Pearson 1934)."""
    tail = (1 - level) / 2
    low = betaincinv(number, total - number + 1, tail) if number else 0.0
    high = betaincinv(number + 1, total - number, 1 - tail) if number < total else 1.0
    return float(low), float(high)


def _moments(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over the seeds, axis 1, and their standard errors; above 0, so that no p value is 0."""
    mean = differences.mean(axis=1)
    error = differences.std(axis=1, ddof=1) / np.sqrt(differences.shape[1])
    return mean, np.maximum(error, np.finfo(float).eps * np.maximum(np.abs(mean), 1.0))
