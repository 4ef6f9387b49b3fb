"""Estimates of the images' own dimension, (e), from the study `intrinsic`: raw, and corrected for bias.

Each is of one dataset, digit, sample size, estimator and scale (its number of neighbours).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.dimension.curve_shapes import bias_corrected
from analysis.intervals import t_interval
from study.table import Tables

NAMES = {"twonn": "TwoNN", "mle": "MLE", "mle_mean": "MLE mean", "gride": "Gride"}
"""Estimators as a reader writes them; others by the name of their quantity."""
ALL_DIGITS = -1
NO_SCALE = 0
TIED = "too many equal distances between the images: no estimator has a number"
"""The reason of images that no estimator can read, as those of two grey values may be."""
_PREFIX = "dimension_"
_NO_ESTIMATE = ("dimension_neighbours", "dimension_points")


@dataclass(frozen=True)
class Intrinsic:
    """An estimate of the images' own dimension.

    Attributes:
        dataset: A name in DATASETS.
        digit: ALL_DIGITS (-1) for all ten.
        sample_size: How many images.
        estimator: A key of NAMES, or a plugin's quantity.
        scale: The number of neighbours; NO_SCALE (0) for an estimator without one.
        seeds: How many seeds, each of which is another subsample.
        value: The mean over seeds; NaN where no estimator has a number.
        low: Lower end of its 95 % t interval over seeds, 0 or more; NaN where there is none.
        high: Upper end.
        corrected: The mean of the seeds' values after each was compared with flat cubes of as many points; NaN without
            cubes, or beyond the last one.
        corrected_low: Lower end of its interval.
        corrected_high: Upper end.
        reason: Why the value, the interval or the correction is absent.
    """

    dataset: str
    digit: int
    sample_size: int
    estimator: str
    scale: int
    seeds: int
    value: float
    low: float = math.nan
    high: float = math.nan
    corrected: float = math.nan
    corrected_low: float = math.nan
    corrected_high: float = math.nan
    reason: str = ""

    @property
    def label(self) -> str:
        """The estimator and its neighbours as a reader writes them: "TwoNN", "MLE 20"."""
        return label(self.estimator, self.scale)


def intrinsic(runs: Sequence[Tables]) -> list[Intrinsic]:
    """Every estimator at every scale, for each dataset, digit and sample size, in this order."""
    values: dict[tuple[str, str, int], _Value] = {}
    for tables in runs:
        for value in _values(tables):
            values.setdefault((value.replicate, value.estimator, value.scale), value)
    samples: dict[tuple[Any, ...], list[_Value]] = {}
    for value in values.values():
        samples.setdefault(value[1:6], []).append(value)
    return [_over_seeds(samples[key]) for key in sorted(samples)]


def label(estimator: str, scale: int) -> str:
    """An estimator and its neighbours as a reader writes them: "TwoNN", "MLE 20"."""
    name = NAMES.get(estimator, estimator)
    return name if scale == NO_SCALE else f"{name} {scale}"


class _Value(NamedTuple):
    """An estimate from one replicate, with the reason why it was not corrected."""

    replicate: str
    dataset: str
    digit: int
    sample_size: int
    estimator: str
    scale: int
    raw: float
    corrected: float
    uncorrected: str


def _over_seeds(values: list[_Value]) -> Intrinsic:
    """The mean over seeds with its interval."""
    values = [value for value in values if np.isfinite(value.raw)] or values
    first = values[0]
    raw, corrected = np.array([v.raw for v in values]), np.array([v.corrected for v in values])
    result = Intrinsic(
        first.dataset, first.digit, first.sample_size, first.estimator, first.scale,
        seeds=len(values), value=float(raw.mean()), corrected=float(corrected.mean()),
    )  # fmt: skip
    if np.isnan(first.raw):
        return replace(result, reason=TIED)
    if len(values) < 2:
        return replace(result, reason="1 seed: no interval")
    if np.ptp(raw) == 0:  # as where a subsample is the whole set: the seed decides nothing
        return replace(result, reason="no interval: every seed has the same images")
    low, high = _interval(raw)
    if not np.isfinite(corrected).all():
        reason = next(value.uncorrected for value in values if not np.isfinite(value.corrected))
        return replace(result, low=low, high=high, reason=reason)
    corrected_low, corrected_high = _interval(corrected)
    return replace(result, low=low, high=high, corrected_low=corrected_low, corrected_high=corrected_high)


def _interval(values: np.ndarray) -> tuple[float, float]:
    """The t interval over seeds, which ends at 0: no dimension is negative."""
    low, high = t_interval(values)
    return max(low, 0.0), high


def _values(tables: Tables) -> Iterator[_Value]:
    ends = tables.ends
    rows = ends[(ends["config/task"] == "intrinsic_dimension") & (ends["status"] == "finished")]
    if not len(rows):
        return
    columns = ["replicate", "quantity", "index", "value"]
    profiles = tables.rows("profiles", columns, {"replicate": rows["replicate"]}).sort_values("index", kind="stable")
    by_replicate = dict(list(profiles.groupby("replicate")))
    for row in rows.to_dict("records"):
        name, digit = row["replicate"], row["config/digit"]
        quantities = {str(key): part["value"].to_numpy() for key, part in by_replicate[name].groupby("quantity")}
        number = ALL_DIGITS if pd.isna(digit) else int(digit)
        for estimate in list(_estimates(quantities)) or [("twonn", NO_SCALE, math.nan, math.nan, TIED)]:
            yield _Value(name, row["config/dataset"], number, int(row["config/sample_size"]), *estimate)


def _estimates(profiles: Mapping[str, np.ndarray]) -> Iterator[tuple[str, int, float, float, str]]:
    """Estimator, scale, raw value, corrected value and why that is absent, of one replicate."""
    for quantity, numbers in profiles.items():
        if not quantity.startswith(_PREFIX) or quantity in _NO_ESTIMATE:
            continue
        estimator = quantity.removeprefix(_PREFIX)
        if len(numbers) > 1 and "dimension_neighbours" not in profiles:
            continue  # nothing says of how many neighbours each value is
        scales = profiles["dimension_neighbours"].astype(int) if len(numbers) > 1 else [NO_SCALE]
        for raw, scale in zip(numbers, scales, strict=True):
            if np.isnan(raw):  # too many distances tie
                continue
            cube = f"cube_{estimator}" + (f"_{scale}" if scale else "")
            yield estimator, int(scale), float(raw), *_corrected(float(raw), profiles, cube)


def _corrected(raw: float, profiles: Mapping[str, np.ndarray], cube: str) -> tuple[float, str]:
    """The corrected value, or NaN and why there is none."""
    if cube not in profiles:
        return float("nan"), "no correction: no cubes"
    points, of_cube = profiles.get("dimension_points"), profiles.get("cube_points")
    if points is not None and of_cube is not None and points[0] != of_cube[0]:
        return float("nan"), f"no correction: cubes have {int(of_cube[0]):,} points only"
    corrected = bias_corrected(raw, profiles["cube_dims"], profiles[cube])
    return corrected, "" if np.isfinite(
        corrected
    ) else f"no correction: beyond the cube of {int(profiles['cube_dims'][-1])}"
