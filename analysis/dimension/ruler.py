"""The ruler: estimators' results where the dimension is known, with their error, beside their results on the data.

The data are read twice: at the protocol of the controls, which alone compares like with like, and as they were trained.
"""

from __future__ import annotations

import math
from itertools import groupby

import pandas as pd

from analysis.dimension.estimate_table import ControlEstimate
from analysis.dimension.intrinsic_estimates import ALL_DIGITS
from analysis.dimension.network_estimates import OTHER_PLATEAU
from analysis.evidence import Evidence
from analysis.formats import ABSENT, figures, table

TRAINED = {
    "(L) description length": "L",
    "(L) other plateau": OTHER_PLATEAU,
    "(U) active units": "U",
    "(a) saturation": "a",
    "(c) of the largest": "c",
}
"""Columns of estimates from trained networks, by heading their key in `estimates`."""
INTRINSIC = ("TwoNN", "TwoNN corrected", "MLE 20", "MLE 20 corrected")
"""Columns of the images' own dimension: an estimator, and the same corrected for bias."""
NOTE = (
    "In brackets the error; of (U), a range over N, that of its farther end. *: not settled (one seed, not "
    "converged, or only a bound). –: not measured. strokes-k-one are of one class; of strokes-k the class is a "
    "factor too. Of mnist-pca-k, k is a bound. The other plateau: of controls by MNIST's rule, of MNIST by that of "
    "other data. TwoNN and MLE are of as many images in every row. A row with steps "
    "and N is read as if its networks had been trained as the controls were; the last row is of all that was "
    "trained."
)


def ruler(evidence: Evidence) -> pd.DataFrame:
    """A row for each dataset of known dimension, by rising dimension, then those of the evidence's own; all as text.

    Columns: `data`, `known`, the headings in TRAINED, those in INTRINSIC. NOTE explains the cells. Empty where no
    dataset of known dimension was estimated.
    """
    rows = []
    for (known, name), controls in groupby(evidence.controls, key=lambda control: (control.known, control.dataset)):
        by_estimator = {control.estimator: control for control in controls}
        row = {"data": name, "known": str(known)}
        for heading in (*TRAINED, *INTRINSIC):
            estimator = heading.removesuffix(" corrected")
            row[heading] = _cell(by_estimator.get(TRAINED.get(heading, estimator)), corrected=heading != estimator)
        rows.append(row)
    if not rows:
        return pd.DataFrame()
    if evidence.matched is not None:
        values = {key: one.value for key, one in evidence.matched.estimates.items()}
        name = f"{evidence.dataset}, {evidence.matched.protocol}"
        rows.append(
            {"data": name, "known": "?"} | {h: figures(values.get(key, math.nan)) for h, key in TRAINED.items()}
        )
        rows[-1] |= dict.fromkeys(INTRINSIC, ABSENT)
    if evidence.dataset not in {control.dataset for control in evidence.controls}:
        rows.append({"data": evidence.dataset, "known": "?"} | _of_dataset(evidence))
    return pd.DataFrame(rows)


def markdown(evidence: Evidence) -> str:
    """The ruler in Markdown, with NOTE."""
    rows = ruler(evidence)
    if not len(rows):
        return "No control was estimated."
    return f"{table(rows.columns, rows.to_numpy())}\n\n{NOTE.replace('*', chr(92) + '*')}"


def _of_dataset(evidence: Evidence) -> dict[str, str]:
    """The estimates of the evidence's own dataset, by heading; of its images at the controls' largest sample."""
    values = {estimate.key: estimate.value for estimate in evidence.estimates}
    size = max((control.sample_size or 0 for control in evidence.controls), default=0)
    for images in evidence.intrinsic_of(evidence.dataset):
        if images.digit == ALL_DIGITS and images.sample_size == size:
            values |= {images.label: images.value, f"{images.label} corrected": images.corrected}
    return {h: figures(values.get(TRAINED.get(h, h), math.nan)) for h in (*TRAINED, *INTRINSIC)}


def _cell(control: ControlEstimate | None, *, corrected: bool) -> str:
    if control is None:
        return ABSENT
    value, error = (control.corrected, control.corrected_error) if corrected else (control.value, control.error)
    return f"{figures(value)} ({error:+.2g}){'' if control.settled else '*'}" if math.isfinite(value) else ABSENT
