"""(I): the range over estimators and neighbourhoods, at the controls' size, with what that choice matters beside it."""

from __future__ import annotations

import math

import pytest

from analysis.dimension.conclusion import concluded
from analysis.dimension.estimate import Estimate
from analysis.dimension.intrinsic_estimates import TIED
from analysis.evidence import Evidence
from tests.support.sweeps import intrinsic_tables


def of_images(raw, **changes) -> Estimate:
    """(I) of drawn estimates; the MLE returns one more than `raw`."""
    return next(one for one in Evidence([intrinsic_tables(raw, **changes)]).estimates if one.key == "I")


def test_it_is_the_range_over_estimators_and_scales() -> None:
    own = of_images(lambda name, n, digit, seed: 12.0 + 0.1 * seed)
    assert (own.least, own.most) == pytest.approx((12.1, 13.1))
    assert own.verdict == "confirmed" and "from TwoNN to MLE 5" in own.reason and "n = 10,000" in own.reason
    wide = of_images(lambda name, n, digit, seed: 9.5 + 0.1 * seed)
    assert wide.verdict == "inconclusive" and "reaches below 10" in wide.reason


def test_it_is_read_of_as_many_images_as_the_controls_have_and_the_largest_sample_stands_beside() -> None:
    own = of_images(lambda name, n, digit, seed: (9.0 if n == 4000 else 12.0) + 0.1 * seed, sizes=(1000, 4000, 20_000))
    assert (own.least, own.most) == pytest.approx((9.1, 10.1)) and own.verdict == "inconclusive"
    assert "n = 4,000; at n = 20,000: 12.1 to 13.1, intervals 11.9 to 13.3" in own.reason


def test_single_digits_and_disturbed_images_stand_beside() -> None:
    values = {"mnist": 12.0, "mnist-blurred": 8.0, "mnist-noisy": 20.0}
    own = of_images(
        lambda name, n, digit, seed: values[name] - 3 * (digit == 1) + 0.1 * seed,
        datasets=tuple(values), sizes=(4000,), digits=(None, 1, 8),
    )  # fmt: skip
    assert (own.least, own.most) == pytest.approx((12.1, 13.1)), "they do not enter the range itself"
    for text in ("single digits: 9.1 to 13.1", "blurred by one pixel: 8.1 to 9.1", "noise of sd 0.1: 20.1 to 21.1"):
        assert text in own.reason


def test_images_at_equal_distances_have_none_and_the_arm_is_not_asked_for() -> None:
    evidence = Evidence([intrinsic_tables(lambda *_: math.nan, datasets=("strokes",))], "strokes")
    own = {one.key: one for one in evidence.estimates}
    assert {own[key].reason for key in ("I", "e TwoNN", "e TwoNN corrected")} == {TIED}
    (line,) = (line for line in concluded(evidence).open if line.startswith("(I)"))
    assert "Images of few grey values have such distances" in line and "Add the arm" not in line


def test_a_subsample_at_equal_distances_does_not_count() -> None:
    own = of_images(lambda name, n, digit, seed: 12.0 + 0.1 * seed if seed else math.nan)
    assert own.seeds == 2 and (own.least, own.most) == pytest.approx((12.15, 13.15))


def test_its_interval_ends_at_0() -> None:
    own = of_images(lambda name, n, digit, seed: (1.0, 12.0, 90.0)[seed])
    assert own.low == 0.0 and own.high > 90.0
