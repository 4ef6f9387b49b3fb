"""Statistics over seeds: known values, scipy's and statsmodels' own, laws, degenerate and bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from analysis.intervals import (
    Alternative,
    _p_value,
    holm,
    least_error,
    paired_test,
    seeds_needed,
    studentised_bootstrap,
    t_interval,
)

ALTERNATIVES: tuple[Alternative, ...] = ("less", "greater", "two-sided")
SAMPLE = np.array([0.3, 1.1, -0.4, 0.9, 0.6])
UNIT = np.array([-1.0, 0.0, 1.0])
"""Mean 0, standard deviation 1."""
TWENTY = np.random.default_rng(2).normal(5, 1, 20)
# Steps of 1/8 make shifting and doubling exact, so that laws hold to the last digit but one.
eighths = st.integers(-800, 800).map(lambda number: number / 8)
seeds = st.lists(eighths, min_size=2, max_size=8)
p_value = st.floats(0, 1)


def test_t_interval_three_seeds_equals_the_value_from_the_t_table() -> None:
    low, high = t_interval([1.0, 2.0, 3.0])  # 2 -+ 4.302653 * 1 / sqrt(3)
    assert low == pytest.approx(2 - 2.484138, abs=1e-6)
    assert high == pytest.approx(2 + 2.484138, abs=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_t_interval_any_level_agrees_with_scipy(level: float) -> None:
    values = np.random.default_rng(0).normal(100, 3, size=7)
    expected = stats.t.interval(level, 6, loc=values.mean(), scale=stats.sem(values))
    assert t_interval(values, level=level) == pytest.approx(expected)


def test_t_interval_equal_seeds_has_no_width() -> None:
    assert t_interval([7.0, 7.0]) == (7.0, 7.0)


def test_t_interval_seeds_equal_but_for_rounding_has_no_width() -> None:
    low, high = t_interval([0.3, 0.1 + 0.2, 0.3])
    assert low == high == pytest.approx(0.3)


@given(seeds, eighths, st.sampled_from([-2.0, 0.5, 4.0]))
@settings(max_examples=50, deadline=None)
def test_t_interval_shifted_and_scaled_values_shift_and_scale_it(values, shift, scale) -> None:
    low, high = t_interval(values)
    ends = sorted([shift + scale * low, shift + scale * high])
    assert t_interval(shift + scale * np.array(values)) == pytest.approx(ends, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("values", "message"),
    [([], "two seeds"), ([1.0], "two seeds"), ([[1.0, 2.0]], "two seeds"), ([1.0, float("nan")], "finite")],
)
def test_statistics_bad_values_raise(values: list[float], message: str) -> None:
    rng = np.random.default_rng(0)
    for function in (
        lambda: t_interval(values),
        lambda: paired_test(values, alternative="less"),
        lambda: studentised_bootstrap(values, rng=rng),
        lambda: seeds_needed(values, margin=1, goal="difference"),
    ):
        with pytest.raises(ValueError, match=message):
            function()


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_intervals_bad_level_raises(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        t_interval([1.0, 2.0], level=level)
    with pytest.raises(ValueError, match="level"):
        studentised_bootstrap(TWENTY, level=level, rng=np.random.default_rng(0))


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("margin", [0.0, 0.5, -2.0])
def test_paired_test_agrees_with_scipy(alternative, margin: float) -> None:
    expected = stats.ttest_1samp(SAMPLE, margin, alternative=alternative).pvalue
    assert paired_test(SAMPLE, margin=margin, alternative=alternative) == pytest.approx(expected, rel=1e-12)


def test_paired_test_differences_clearly_below_zero_speaks_for_less_and_against_greater() -> None:
    below = [-3.0, -3.2, -2.9]
    assert paired_test(below, alternative="less") < 0.001
    assert paired_test(below, alternative="greater") > 0.999
    assert paired_test(below, margin=-3.5, alternative="less") > 0.95  # below 0, but not by 3.5


@pytest.mark.parametrize("values", [[-2.0, -2.0, -2.0], [-2.0, -2.0]])
def test_paired_test_equal_differences_are_as_certain_as_their_rounding(values: list[float]) -> None:
    below, above = ([paired_test(values, margin=m, alternative=side) for side in ALTERNATIVES] for m in (-1, -3))
    assert below == pytest.approx([0, 1, 0], abs=1e-9) and above == pytest.approx([1, 0, 0], abs=1e-9)
    assert min(*below, *above) > 0  # never 0: they are known to their rounding


@pytest.mark.parametrize("values", [[0.1, 0.1, 0.1], [0.3 - 0.2, 0.1, 0.1]])
def test_paired_test_equal_differences_at_the_margin_decide_nothing(values: list[float]) -> None:
    found = [paired_test(values, margin=0.1, alternative=alternative) for alternative in ALTERNATIVES]
    assert found == [0.5, 0.5, 1.0]


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_paired_test_counts_that_agree_are_known_to_their_step(num_seeds: int) -> None:
    counts = [22.0] * num_seeds
    error = least_error(counts, 1.0)
    assert error == pytest.approx(1 / np.sqrt(12))
    low, high = t_interval(counts, least_error=error)
    half = stats.t.ppf(0.975, num_seeds - 1) / np.sqrt(12)
    assert (low, high) == pytest.approx((22 - half, 22 + half))
    p = paired_test(counts, margin=20.0, alternative="two-sided", least_error=error)
    assert (p < 0.05) == (not low <= 20.0 <= high) and p > 0.001


def test_least_error_counts_that_spread_by_a_step_are_their_own_error() -> None:
    assert least_error([22.0, 24.0, 22.0], 1.0) == 0.0
    assert least_error([1.5, 1.5], 0.0) == 0.0


def test_paired_test_no_difference_at_all_decides_nothing() -> None:
    assert paired_test([0.0, 0.0, 0.0], alternative="two-sided") == 1


@given(seeds, eighths)
@settings(max_examples=50, deadline=None)
def test_paired_test_two_sided_below_5_percent_exactly_where_the_interval_leaves_the_margin_out(values, margin) -> None:
    low, high = t_interval(values)
    p = paired_test(values, margin=margin, alternative="two-sided")
    if abs(p - 0.05) > 1e-9:
        assert (p < 0.05) == (not low - 1e-12 <= margin <= high + 1e-12)


@given(seeds, eighths, eighths, st.sampled_from([0.5, 4.0]))
@settings(max_examples=50, deadline=None)
def test_paired_test_shifted_scaled_or_swapped_arms_give_the_same_p_value(values, margin, shift, scale) -> None:
    array = np.array(values)
    p = paired_test(array, margin=margin, alternative="less")
    assert paired_test(shift + scale * array, margin=shift + scale * margin, alternative="less") == pytest.approx(p)
    assert paired_test(-array, margin=-margin, alternative="greater") == pytest.approx(p)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_p_value_many_studies_at_once_equals_paired_test_on_each(alternative) -> None:
    studies = np.random.default_rng(3).normal(0.5, 1, (50, 4))
    studies[0] = 0.25  # one without spread
    each = [paired_test(study, margin=0.25, alternative=alternative) for study in studies]
    assert _p_value(studies, 0.25, alternative) == pytest.approx(each, rel=1e-12)


def test_paired_test_bad_arguments_raise() -> None:
    with pytest.raises(ValueError, match="alternative"):
        paired_test(SAMPLE, alternative="smaller")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="margin"):
        paired_test(SAMPLE, margin=float("nan"), alternative="less")


def test_holm_known_family_equals_the_values_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, and never falling: 0.04, 0.06, 0.06, 0.06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_degenerate_families() -> None:
    assert holm([]).shape == (0,)
    assert holm([0.2]) == pytest.approx([0.2])
    assert holm([0.0, 1.0, 1.0]) == pytest.approx([0, 1, 1])


@given(st.lists(p_value, min_size=1, max_size=12))
@settings(max_examples=10, deadline=None)  # statsmodels collects garbage at each call: 60 ms
def test_holm_agrees_with_statsmodels(p_values) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@given(st.lists(p_value, min_size=1, max_size=12), p_value)
def test_holm_any_family_keeps_order_stays_below_bonferroni_and_grows_with_a_further_test(p_values, further) -> None:
    raw, adjusted = np.array(p_values), holm(p_values)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(1, raw * len(raw)) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(raw)]) >= 0).all()
    assert (holm([further, *p_values])[1:] >= adjusted - 1e-15).all()


@pytest.mark.parametrize("p_values", [[0.5, 1.1], [-0.1], [float("nan"), 0.5], [[0.1, 0.2]]])
def test_holm_bad_p_values_raise(p_values) -> None:
    with pytest.raises(ValueError, match="p_values"):
        holm(p_values)


def test_studentised_bootstrap_equals_a_plain_loop_over_its_resamples() -> None:
    resamples = np.random.default_rng(5).choice(TWENTY, (999, 20))
    mean, error = TWENTY.mean(), stats.sem(TWENTY)
    statistics = sorted((resample.mean() - mean) / stats.sem(resample) for resample in resamples)
    expected = mean - statistics[974] * error, mean - statistics[24] * error  # the 25th from either end
    found = studentised_bootstrap(TWENTY, num_resamples=999, rng=np.random.default_rng(5))
    assert found == pytest.approx(expected, rel=1e-12)


def test_studentised_bootstrap_skewed_values_reach_further_on_the_long_side() -> None:
    values = np.exp(TWENTY)
    low, high = studentised_bootstrap(values, num_resamples=1999, rng=np.random.default_rng(6))
    assert high - values.mean() > 1.2 * (values.mean() - low)


@given(eighths, st.sampled_from([0.5, 4.0]))
@settings(max_examples=10, deadline=None)
def test_studentised_bootstrap_shifted_and_scaled_values_shift_and_scale_it(shift, scale) -> None:
    low, high = studentised_bootstrap(TWENTY, num_resamples=199, rng=np.random.default_rng(7))
    found = studentised_bootstrap(shift + scale * TWENTY, num_resamples=199, rng=np.random.default_rng(7))
    assert found == pytest.approx((shift + scale * low, shift + scale * high))


def test_studentised_bootstrap_wider_level_contains_the_narrower() -> None:
    narrow, wide = (studentised_bootstrap(TWENTY, level=p, rng=np.random.default_rng(8)) for p in (0.9, 0.99))
    assert wide[0] < narrow[0] < TWENTY.mean() < narrow[1] < wide[1]


def test_studentised_bootstrap_equal_seeds_has_no_width() -> None:
    low, high = studentised_bootstrap([0.1] * 20, num_resamples=99, rng=np.random.default_rng(9))
    assert low == high == pytest.approx(0.1)


def test_studentised_bootstrap_one_value_that_differs_is_unbounded_on_one_side() -> None:
    # A third of the resamples lack the one 4, so they have no spread and say nothing of how low the mean may lie.
    low, high = studentised_bootstrap([5.0] * 19 + [4.0], rng=np.random.default_rng(10))
    assert low == -np.inf
    assert 4.95 < high < 5.5


def test_studentised_bootstrap_too_few_seeds_or_resamples_raise() -> None:
    rng = np.random.default_rng(11)
    with pytest.raises(ValueError, match="`num_seeds >= 20` must hold for a bootstrap, but got num_seeds=19"):
        studentised_bootstrap(TWENTY[:19], rng=rng)
    with pytest.raises(ValueError, match="`num_resamples >= 40` must hold"):
        studentised_bootstrap(TWENTY, num_resamples=39, rng=rng)


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan"), float("inf")])
def test_seeds_needed_bad_margin_of_an_equivalence_raises(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        seeds_needed(SAMPLE, margin=margin, goal="equivalence")


@pytest.mark.parametrize("alpha", [0.0, 0.5, 5.0])
def test_seeds_needed_bad_alpha_raises(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        seeds_needed(SAMPLE, margin=1, goal="difference", alpha=alpha)


def test_seeds_needed_of_counts_is_none_where_their_step_hides_the_gap() -> None:
    error = least_error([5.0, 5.0, 5.0], 1.0)
    assert seeds_needed([5.0, 5.0, 5.0], margin=4.6, goal="difference", least_error=error) is None
    needed = seeds_needed([5.0, 5.0, 5.0], margin=2.0, goal="difference", least_error=error)
    assert needed is not None and 2 < needed < 6


def test_seeds_needed_textbook_effects() -> None:
    # Cohen 1988 (as G*Power 3.1): a paired t test of effect 0.5 needs 34 pairs, of 0.2 199, at 5 % and power 80 %.
    half = 0.5 + UNIT
    assert seeds_needed(half, margin=0, goal="difference") == 34
    assert seeds_needed(half, margin=0.3, goal="difference") == 199


@pytest.mark.parametrize("effect", [0.15, 0.4, 0.9, 2.0])
def test_seeds_needed_agrees_with_statsmodels(effect: float) -> None:
    number = seeds_needed(effect + UNIT, margin=0, goal="difference", alpha=0.05, power=0.9)
    needed = TTestPower().solve_power(effect, power=0.9, alpha=0.025, alternative="larger")
    assert number == np.ceil(needed)


def test_seeds_needed_clear_and_hopeless_claims() -> None:
    assert seeds_needed(100 + UNIT, margin=0, goal="difference") == 2
    assert seeds_needed(UNIT, margin=100, goal="equivalence") == 2
    assert seeds_needed(0.001 + UNIT, margin=0, goal="difference") is None
    assert seeds_needed(UNIT, margin=0.01, goal="equivalence") is None
    assert seeds_needed(2 + UNIT, margin=1, goal="equivalence") is None  # more seeds would show that it differs


def test_seeds_needed_most_is_still_an_answer_and_one_more_is_not() -> None:
    half = 0.5 + UNIT
    assert seeds_needed(half, margin=0, goal="difference", most=34) == 34
    assert seeds_needed(half, margin=0, goal="difference", most=33) is None


def test_seeds_needed_equal_differences_need_two_or_never_do() -> None:
    assert seeds_needed([2.0, 2.0], margin=1, goal="difference") == 2
    assert seeds_needed([1.0, 1.0], margin=1, goal="difference") is None
    assert seeds_needed([0.5, 0.5], margin=1, goal="equivalence") == 2
    assert seeds_needed([2.0, 2.0], margin=1, goal="equivalence") is None


@given(st.floats(0.05, 50), st.sampled_from([0.05, 0.01, 0.0005]))
@settings(max_examples=10, deadline=None)
def test_seeds_needed_grows_with_the_spread_and_with_a_stricter_level(effect, alpha) -> None:
    # The range takes in effects for which scipy's noncentral t is NaN.
    for goal, values, margin in (("difference", effect + UNIT, 0.0), ("equivalence", UNIT, effect)):

        def needed(values, margin, alpha, goal=goal):
            return seeds_needed(values, margin=margin, goal=goal, alpha=alpha, most=100_000)

        found = needed(values, margin, alpha)
        assert needed(4 * values, 4 * margin, alpha) == found  # another unit
        assert needed(values, margin, alpha / 2) >= found
        assert needed(values + UNIT, margin, alpha) >= found  # twice the spread


@pytest.mark.parametrize("power", [0.05, 1.0, 80.0])
def test_seeds_needed_bad_power_or_goal_raises(power: float) -> None:
    with pytest.raises(ValueError, match="power"):
        seeds_needed(SAMPLE, margin=0, goal="difference", power=power)
    with pytest.raises(ValueError, match="goal"):
        seeds_needed(SAMPLE, margin=1, goal="equal")  # type: ignore[arg-type]
