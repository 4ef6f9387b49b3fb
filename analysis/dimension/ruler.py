"""The ruler: what estimators return where the dimension is known, with their error, beside what they say of MNIST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis import formats as md
from analysis.dimension import estimate_table
from analysis.dimension.from_images import ALL_DIGITS, intrinsic, label
from study.table import once

if TYPE_CHECKING:
    from study.table import Tables

TRAINED = {"(a) saturation": "a", "(b) knee": "b", "(c) active units": "c"}
"""Columns of what trained networks tell, by heading their key in `estimates`."""
INTRINSIC = ("TwoNN", "TwoNN corrected", "MLE 20", "MLE 20 corrected")
"""Columns of the images' own dimension: an estimator, and the same corrected for bias."""
NOTE = (
    "In brackets the error. *: not settled (one seed, not converged, or only a bound). –: not measured. "
    "strokes-k-one are of one class; of strokes-k the class is a factor too. Of mnist-pca-k, k is a bound. "
    "TwoNN and MLE are of as many images in every row, the networks trained as long as their own study says."
)


@once
def ruler(tables_list: Sequence[Tables], dataset: str = "mnist") -> pd.DataFrame:
    """A row for each data set of known dimension, by rising dimension, then one for `dataset`; all as text.

    Columns: `data`, `known`, the headings in TRAINED, those in INTRINSIC. NOTE explains the cells. Empty where no data
    set of known dimension was estimated.
    """
    rows, controls = [], estimate_table.controls(tables_list)
    for (known, name), group in controls.groupby(["known", "dataset"], sort=True):
        each = {row["estimator"]: row for row in group.to_dict("records")}
        row = {"data": name, "known": str(known)}
        row |= {heading: _cell(each.get(key), "value", "error") for heading, key in TRAINED.items()}
        for heading in INTRINSIC:
            estimator, *columns = _read(heading)
            row[heading] = _cell(each.get(estimator), *columns)
        rows.append(row)
    if not rows:
        return pd.DataFrame()
    values = estimate_table.estimates(tables_list, dataset).set_index("key")["value"]
    asked = {heading: _number(values.get(key, np.nan)) for heading, key in TRAINED.items()}
    found = intrinsic(tables_list)
    alike = (found["dataset"] == dataset) & (found["digit"] == ALL_DIGITS)
    for row in found[alike & (found["sample_size"] == controls["sample_size"].max())].to_dict("records"):
        name = label(row["estimator"], row["scale"])
        asked |= {head: _number(row[column]) for head in INTRINSIC for of, column, _ in [_read(head)] if of == name}
    return pd.DataFrame([*rows, {"data": dataset, "known": "?"} | asked]).fillna("–")


def markdown(tables_list: Sequence[Tables], dataset: str = "mnist") -> str:
    """The ruler in Markdown, with NOTE."""
    found = ruler(tables_list, dataset)
    if not len(found):
        return "No control was estimated."
    return f"{md.table(found.columns, found.to_numpy())}\n\n{NOTE.replace('*', chr(92) + '*')}"


def _read(heading: str) -> tuple[str, str, str]:
    """The estimator that a heading in INTRINSIC names, and its columns: what it returns, and the error."""
    estimator, corrected, _ = heading.partition(" corrected")
    return (estimator, "corrected", "corrected_error") if corrected else (estimator, "value", "error")


def _cell(row: Mapping[Any, Any] | None, value: str, error: str) -> str:
    if row is None or not np.isfinite(row[value]):
        return "–"
    return f"{_number(row[value])} ({row[error]:+.2g}){'' if row['settled'] else '*'}"


def _number(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "–"
