"""Outcomes that are looked up and not tested: estimates of the latent dimension, and what cannot be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.claims.decide import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED, Outcome
from analysis.claims.ledger import Control, Dimension, NotMeasured
from analysis.dimension import estimate_table

if TYPE_CHECKING:
    from study.table import Tables

_ALL = "all"


def rows_of(tables_list: Sequence[Tables]) -> dict[tuple[str, str], dict[Any, Any]]:
    """The rows of `dimension.estimates` by ("all", key), those of `dimension.controls` by (data set, estimator)."""
    estimates = estimate_table.estimates(tables_list).to_dict("records")
    controls = estimate_table.controls(tables_list).to_dict("records")
    found = {(_ALL, str(row["key"])): row for row in estimates}
    return found | {(str(row["dataset"]), str(row["estimator"])): row for row in controls}


def looked_up(part: Dimension | Control | NotMeasured, rows: dict[tuple[str, str], dict[Any, Any]]) -> Outcome:
    """The outcome of a part, from `rows_of`."""
    base = Outcome(part.name, part.main, part.kind, NOT_MEASURED, unit=part.unit)
    if isinstance(part, NotMeasured):
        return replace(base, note=part.reason)
    key = (_ALL, part.key) if isinstance(part, Dimension) else (part.dataset, part.estimator)
    row = rows.get(key)
    if row is None or row.get("verdict") == NOT_MEASURED:
        return replace(base, note="" if row is None else str(row["reason"]))
    low, high = (float(row[end]) if np.isfinite(row[end]) else None for end in ("low", "high"))
    base = replace(
        base,
        estimate=float(row["value"]) if np.isfinite(row["value"]) else None,
        low=low,
        high=high,
        seeds=tuple(range(int(row["seeds"]))),
        note=str(row["reason"]),
    )
    if isinstance(part, Dimension):
        budget = f"{row['steps']} steps" if row["steps"] else ""
        return replace(base, verdict=row["verdict"], contrast=str(row["name"]), rule="10 < N < 100", budget=budget)
    known, between = float(row["known"]), row["between"]
    found = within(low, high, known, part.tolerance) if row["settled"] else INCONCLUSIVE
    if found == CONFIRMED and between and within(between[0], between[1], known, part.tolerance) != CONFIRMED:
        found, open_still = INCONCLUSIVE, f"on this grid it may be any N from {between[0]} to {between[1]}"
        base = replace(base, note="; ".join(filter(None, (open_still, base.note))))
    return replace(
        base,
        verdict=found,
        contrast=f"estimate ({part.estimator}) on {part.dataset}",
        rule=f"{row['known']:g} ± {part.tolerance:g}",
    )


def within(low: float | None, high: float | None, known: float, tolerance: float) -> str:
    """Whether an interval lies within a tolerance of a known number, wholly outside, or neither."""
    if low is None or high is None:
        return INCONCLUSIVE
    if low >= known - tolerance and high <= known + tolerance:
        return CONFIRMED
    return REFUTED if high < known - tolerance or low > known + tolerance else INCONCLUSIVE
