"""The ruler: what estimators return where the dimension is known, with their error, beside what they say of MNIST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.dimension import estimates
from analysis.markdown import table
from study.table import once

if TYPE_CHECKING:
    from study.table import Tables

SHOWN = {"a": "(a) saturation", "b": "(b) knee", "c": "(c) active units", "TwoNN": "TwoNN", "MLE 20": "MLE 20"}
"""Estimators of `estimates.controls`, by the heading of their column."""
CORRECTED = ("TwoNN", "MLE 20")
"""Those of them that are corrected for bias too."""
NOTE = (
    "In brackets the error. \\*: not settled (one seed, not converged, or only a bound). –: not measured. "
    "`strokes-k-one` are of one class; of `strokes-k` the class is a factor too. Of `mnist-pca-k`, k is a bound."
)


@once
def ruler(tables_list: Sequence[Tables], dataset: str = "mnist") -> pd.DataFrame:
    """A row for each data set of known dimension, by rising dimension, then one for `dataset`; all as text.

    Columns: `data`, `known`, one by each heading in SHOWN, and `... corrected` for those in CORRECTED. NOTE explains
    the cells. Empty where no data set of known dimension was estimated.
    """
    found = estimates.controls(tables_list)
    rows = []
    for (known, name), group in found.groupby(["known", "dataset"], sort=True):
        each = {row["estimator"]: row for row in group.to_dict("records")}
        row = {"data": name, "known": str(known)}
        for key, heading in SHOWN.items():
            row[heading] = _cell(each.get(key), "value", "error")
            if key in CORRECTED:
                row[f"{heading} corrected"] = _cell(each.get(key), "corrected", "corrected_error")
        rows.append(row)
    return pd.DataFrame([*rows, _asked(estimates.estimates(tables_list, dataset), dataset)] if rows else [])


def markdown(tables_list: Sequence[Tables], dataset: str = "mnist") -> str:
    """The ruler in Markdown, with NOTE."""
    found = ruler(tables_list, dataset)
    return f"{table(list(found.columns), found.to_numpy())}\n\n{NOTE}" if len(found) else "No control was estimated."


def _cell(row: Mapping[Any, Any] | None, value: str, error: str) -> str:
    if row is None or not np.isfinite(row[value]):
        return "–"
    return f"{row[value]:.3g} ({row[error]:+.2g}){'' if row['settled'] else '*'}"


def _asked(found: pd.DataFrame, dataset: str) -> dict[str, str]:
    """The row of the data set whose dimension is asked for."""
    values = found.set_index("key")["value"]
    row = {"data": dataset, "known": "?"}
    for key, heading in SHOWN.items():
        name = f"e {key}" if key in CORRECTED else key
        row[heading] = f"{values[name]:.3g}" if np.isfinite(values.get(name, np.nan)) else "–"
        if key in CORRECTED:
            value = values.get(f"{name} corrected", np.nan)
            row[f"{heading} corrected"] = f"{value:.3g}" if np.isfinite(value) else "–"
    return row
