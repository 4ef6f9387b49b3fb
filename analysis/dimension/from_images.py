"""Intrinsic dimensions from the study `intrinsic`: raw and corrected for bias, by scale, sample size and digit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.dimension.curve_shapes import bias_corrected
from analysis.intervals import t_interval
from study.table import once

if TYPE_CHECKING:
    from study.table import Tables

NAMES = {"twonn": "TwoNN", "mle": "MLE", "mle_mean": "MLE mean", "gride": "Gride"}
"""Estimators as a reader writes them; others by the name of their quantity."""
ALL_DIGITS = -1
NO_SCALE = 0
_PREFIX = "dimension_"
_NO_ESTIMATE = ("dimension_neighbours", "dimension_points")
COLUMNS = (
    "dataset digit sample_size estimator scale seeds value low high corrected corrected_low corrected_high reason"
).split()


@once
def intrinsic(tables_list: Sequence[Tables]) -> pd.DataFrame:
    """Every estimator at every scale, a row for each dataset, digit and sample size; COLUMNS.

    `digit` is ALL_DIGITS (-1) for all ten; `scale` is the number of neighbours, NO_SCALE (0) for an estimator without
    one. `value` is the mean over seeds, each of which is another subsample, `low` and `high` its 95 % t interval over
    them, `corrected*` the same after each seed's value was set against cubes of as many points (NaN beyond the last
    cube); `reason` says why an interval or a correction is absent.
    """
    found = [row for tables in tables_list for row in _by_replicate(tables)]
    frame = pd.DataFrame(found).drop_duplicates(["replicate", "estimator", "scale"]) if found else pd.DataFrame()
    if not len(frame):
        return pd.DataFrame(columns=COLUMNS)
    keys = ["dataset", "digit", "sample_size", "estimator", "scale"]
    return pd.DataFrame(
        [dict(zip(keys, key, strict=True)) | _over_seeds(rows) for key, rows in frame.groupby(keys)], columns=COLUMNS
    )


def label(estimator: str, scale: int) -> str:
    """An estimator and its neighbours as a reader writes them: "TwoNN", "MLE 20"."""
    name = NAMES.get(estimator, estimator)
    return name if scale == NO_SCALE else f"{name} {scale}"


def _over_seeds(rows: pd.DataFrame) -> dict[str, Any]:
    raw, corrected = rows["raw"].to_numpy(), rows["corrected"].to_numpy()
    result = {"seeds": len(rows), "value": raw.mean(), "reason": "", "corrected": corrected.mean()}
    if len(rows) < 2:
        return result | {"reason": "1 seed: no interval"}
    if np.ptp(raw) == 0:  # as where a subsample is the whole set: the seed decides nothing
        return result | {"reason": "no interval: every seed has the same images"}
    result["low"], result["high"] = t_interval(raw)
    if not np.isfinite(corrected).all():
        return result | {"reason": rows["uncorrected"].iloc[int(np.argmax(~np.isfinite(corrected)))]}
    result["corrected_low"], result["corrected_high"] = t_interval(corrected)
    return result


def _by_replicate(tables: Tables) -> Iterable[dict[str, Any]]:
    ends = tables.ends
    rows = ends[(ends["config/task"] == "intrinsic_dimension") & (ends["status"] == "finished")]
    if not len(rows):
        return
    columns = ["replicate", "quantity", "index", "value"]
    profiles = tables.rows("profiles", columns, {"replicate": rows["replicate"]}).sort_values("index", kind="stable")
    by_replicate = dict(list(profiles.groupby("replicate")))
    for row in rows.to_dict("records"):
        name, digit = row["replicate"], row["config/digit"]
        mine = {str(key): part["value"].to_numpy() for key, part in by_replicate[name].groupby("quantity")}
        about = {"replicate": name, "dataset": row["config/dataset"], "sample_size": int(row["config/sample_size"])}
        about["digit"] = ALL_DIGITS if pd.isna(digit) else int(digit)
        for estimate in _estimates(mine):
            yield about | estimate


def _estimates(profiles: Mapping[str, np.ndarray]) -> Iterable[dict[str, Any]]:
    """Raw and corrected values of one replicate, by estimator and scale."""
    for quantity, numbers in profiles.items():
        if not quantity.startswith(_PREFIX) or quantity in _NO_ESTIMATE:
            continue
        estimator = quantity.removeprefix(_PREFIX)
        scales = profiles["dimension_neighbours"].astype(int) if len(numbers) > 1 else [NO_SCALE]
        for raw, scale in zip(numbers, scales, strict=True):
            cube = f"cube_{estimator}" + (f"_{scale}" if scale else "")
            corrected, uncorrected = _corrected(float(raw), profiles, cube)
            yield {
                "estimator": estimator,
                "scale": int(scale),
                "raw": float(raw),
                "corrected": corrected,
                "uncorrected": uncorrected,
            }


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
