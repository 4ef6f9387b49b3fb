"""(I) and (e), the images' own dimension, as estimates: a range over estimators and neighbourhoods, and its parts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from analysis.dimension.estimate import Estimate, judged, not_measured
from analysis.dimension.intrinsic_estimates import ALL_DIGITS, NO_SCALE, Intrinsic, label
from analysis.formats import figures

NAMED_SCALE = 20
"""Neighbours at which digits and datasets are compared."""
DISTURBED = {"-blurred": "blurred by one pixel", "-noisy": "with noise of sd 0.1"}
"""Endings of the names of the same images, disturbed, and how."""
CONTROLS_SIZE = 4000
"""The sample size of (I): that of the controls, with which it is compared."""
NEIGHBOURHOOD = ("twonn", "mle", "gride")
"""The estimators of (I); the mean over points of the MLE is the same formula again."""
_BY_DIGIT = (("twonn", NO_SCALE), ("mle", NAMED_SCALE))


def intrinsic_estimates(images: Sequence[Intrinsic]) -> Iterator[Estimate]:
    """Yields (e): each estimator at each scale on all digits, TwoNN and the MLE by digit; raw and corrected."""
    if not images:
        for estimator, scale in _BY_DIGIT:
            yield not_measured(f"e {label(estimator, scale)}", label(estimator, scale), "needs study intrinsic")
    for (digit, *_), samples in groupby(_sorted(images), key=_digit_and_estimator):
        rows = list(samples)
        if digit != ALL_DIGITS and (rows[0].estimator, rows[0].scale) not in _BY_DIGIT:
            continue
        name = rows[0].label + (f" digit {digit}" if digit != ALL_DIGITS else "")
        raw, corrected = largest_sample(rows), largest_sample(rows, corrected=True)
        yield _intrinsic_estimate(name, raw, (raw.value, raw.low, raw.high))
        interval = (corrected.corrected, corrected.corrected_low, corrected.corrected_high)
        yield _intrinsic_estimate(f"{name} corrected", corrected, interval)


def local_dimension(images: Sequence[Intrinsic], disturbed: Sequence[Intrinsic] = ()) -> Estimate:
    """(I) The range over estimators and scales on all digits, uncorrected, of as many images as the controls have.

    Without such samples, of the largest sample with intervals. The largest sample, the correction for bias and single
    digits and disturbed images stand in the remarks.
    """
    name = "dimension near each image, over estimators and neighbourhoods"
    every = [one for one in all_digits(images) if one.estimator in NEIGHBOURHOOD]
    rows = [one for one in every if math.isfinite(one.value)]
    if not rows:
        absent = not_measured("I", name, every[0].reason if every else "needs study intrinsic")
        return replace(absent, headline=True)
    largest = largest_sample(rows).sample_size
    alike = [one for one in rows if one.sample_size == CONTROLS_SIZE]
    size = CONTROLS_SIZE if any(math.isfinite(one.low) for one in alike) else largest
    rows, of_largest = ([one for one in rows if one.sample_size == n] for n in (size, largest))
    least, most = (choose(rows, key=lambda one: one.value) for choose in (min, max))
    low, high = _hull(rows)
    notes = [f"from {least.label} to {most.label} (number of neighbours)", f"n = {size:,}"]
    if size != largest:
        notes.append(
            f"at n = {largest:,}: {_range(one.value for one in of_largest)}, intervals {_range(_hull(of_largest))}"
        )
    notes += [f"{what}: {values}" for what, values in _beside(rows, images, disturbed).items() if values]
    blocks = [] if math.isfinite(low) else [rows[0].reason]
    value = float(np.mean([one.value for one in rows]))
    estimate = judged("I", name, value, (low, high), blocks=blocks, notes=notes)
    return replace(estimate, headline=True, seeds=rows[0].seeds, least=least.value, most=most.value)


def _beside(rows: Sequence[Intrinsic], images: Sequence[Intrinsic], disturbed: Sequence[Intrinsic]) -> dict[str, str]:
    """The ranges that show how far (I) depends on the correction, the digit and the images' finest scale."""
    own, others = (
        [one for one in each if one.sample_size == rows[0].sample_size and one.estimator in NEIGHBOURHOOD]
        for each in (images, disturbed)
    )
    ranges = {
        "corrected for bias": _range(one.corrected for one in rows),
        "of single digits": _range(one.value for one in own if one.digit != ALL_DIGITS),
    }
    for ending, how in DISTURBED.items():
        ranges[how] = _range(i.value for i in others if i.dataset.endswith(ending) and i.digit == ALL_DIGITS)
    return ranges


def _hull(rows: Iterable[Intrinsic]) -> tuple[float, float]:
    """The ends of all intervals together; NaN without any."""
    bounded = [one for one in rows if math.isfinite(one.low)]
    return min((i.low for i in bounded), default=math.nan), max((i.high for i in bounded), default=math.nan)


def _range(values: Iterable[float]) -> str:
    """The least and the largest of the finite values, as text; empty without any."""
    finite = [value for value in values if math.isfinite(value)]
    return f"{figures(min(finite))} to {figures(max(finite))}" if finite else ""


def _digit_and_estimator(images: Intrinsic) -> tuple[Any, ...]:
    return images.digit, images.estimator, images.scale


def _sorted(images: Iterable[Intrinsic]) -> list[Intrinsic]:
    return sorted(images, key=_digit_and_estimator)


def all_digits(images: Iterable[Intrinsic]) -> list[Intrinsic]:
    """The estimates of all digits together, sorted."""
    return [one for one in _sorted(images) if one.digit == ALL_DIGITS]


def _intrinsic_estimate(name: str, images: Intrinsic, numbers: tuple[float, float, float]) -> Estimate:
    value, low, high = numbers
    if not np.isfinite(value):
        return not_measured(f"e {name}", name, images.reason or "no correction")
    blocks = [] if np.isfinite(low) else [images.reason]
    notes = [f"n = {images.sample_size:,}"]
    return replace(judged(f"e {name}", name, value, (low, high), blocks=blocks, notes=notes), seeds=images.seeds)


def largest_sample(samples: Sequence[Intrinsic], *, corrected: bool = False) -> Intrinsic:
    """The largest sample that has an interval; without any, a value; without any, the largest.

    The whole set has no interval: every subsample of that size is the same.
    """

    def rank(images: Intrinsic) -> tuple[int, int]:
        numbers = (images.corrected, images.corrected_low) if corrected else (images.value, images.low)
        return int(np.isfinite(numbers).sum()), images.sample_size

    return max(samples, key=rank)
