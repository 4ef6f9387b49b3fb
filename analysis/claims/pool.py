"""The pool of all runs' replicates, each once, and the number of each from which claims are decided."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.cells import none_if_null
from analysis.claims.ledger import FLOAT32
from analysis.claims.value import Value
from study.table import Tables
from study.tables.trials import searched
from trainables.schema import METRICS, TrialConfig

_BEST_FIRST = ("finished", "diverged", "stopped", "failed", "running", "pending")
PLATEAU = 0.1
"""Share of the evaluations, the last ones, whose mean is a curve's plateau."""


class Pool:
    """Replicates of several runs by hash, each with all that any run measured of it; of a search, only its arms.

    `ends`: a row per replicate, `replicate, study, seed, status, collapsed, step`, the metrics at its last step, and
    every TrialConfig field under its own name (None where it does not apply).
    """

    def __init__(self, tables: Sequence[Tables]):
        self._tables = list(tables)
        self._profiles: dict[str, pd.DataFrame] = {}
        self._curves: dict[str, pd.DataFrame] = {}
        self._values: dict[tuple[Value, bool], np.ndarray] = {}
        self._masks: dict[tuple[str, Any], np.ndarray] = {}

    @cached_property
    def ends(self) -> pd.DataFrame:  # noqa: D102 (see the class)
        parts = [_with_config(table) for table in self._tables]
        if not parts:
            return pd.DataFrame(
                columns=["replicate", "seed", "status", "collapsed", *METRICS, *TrialConfig.model_fields]
            )
        rows = pd.concat(parts, ignore_index=True)
        rank = rows["status"].map({status: index for index, status in enumerate(_BEST_FIRST)})
        best = rows.iloc[np.argsort(rank.to_numpy(), kind="stable")].drop_duplicates("replicate")
        # Small frames are cut from this one by the thousand, which is slow with strings in Arrow's form.
        texts = {name: object for name, kind in best.dtypes.items() if isinstance(kind, pd.StringDtype)}
        return best.sort_index(ignore_index=True).astype(texts)

    @cached_property
    def _by_replicate(self) -> pd.DataFrame:
        return self.ends.set_index("replicate")

    def having(self, name: str, expected: Any) -> np.ndarray:
        """A mask of the rows of `ends` that agree with this value of a config field, bool `(len(ends),)`."""
        key = (name, expected)
        if key not in self._masks:
            agreeing = (agrees(expected, value) for value in self.ends[name])
            self._masks[key] = np.fromiter(agreeing, dtype=bool, count=len(self.ends))
        return self._masks[key]

    @cached_property
    def floors(self) -> dict[str, float]:
        """The entropy floor of each data set's test images, nats per image."""
        rows = self.profile("test_nll_floor")
        dataset = rows["replicate"].map(self._by_replicate["dataset"])
        first = rows.assign(dataset=dataset).dropna(subset="dataset").drop_duplicates("dataset")
        return dict(zip(first["dataset"], first["value"].astype(float), strict=True))

    def profile(self, quantity: str) -> pd.DataFrame:
        """Rows `replicate, step, index, value` of a quantity of all runs."""
        if quantity not in self._profiles:
            columns = ["replicate", "step", "index", "value"]
            parts = [table.rows("profiles", columns, {"quantity": [quantity]}).dropna() for table in self._tables]
            rows = pd.concat([pd.DataFrame(columns=columns), *(part for part in parts if len(part))])
            self._profiles[quantity] = rows.drop_duplicates(columns[:3], ignore_index=True)
        return self._profiles[quantity]

    def curve(self, metric: str) -> pd.DataFrame:
        """Rows `replicate, step, value`, in order of the steps, of a metric of all runs at each evaluation."""
        if metric not in self._curves:
            columns = ["replicate", "step", metric]
            parts = [table.rows("results", columns).dropna() for table in self._tables]
            rows = pd.concat([pd.DataFrame(columns=columns), *(part for part in parts if len(part))])
            rows = rows.rename(columns={metric: "value"}).astype({"step": "int64", "value": "float64"})
            rows = rows.drop_duplicates(["replicate", "step"]).sort_values(["replicate", "step"], ignore_index=True)
            self._curves[metric] = rows
        return self._curves[metric]

    def images(self, kind: str) -> dict[str, np.ndarray]:
        """Images of a kind by replicate, at the last step at which it was drawn: grey in [0, 1], `(num, 784)`."""
        columns = ["replicate", "step", "index", "pixels"]
        parts = [table.rows("images", columns, {"kind": [kind]}) for table in self._tables]
        rows = pd.concat([pd.DataFrame(columns=columns), *(part for part in parts if len(part))])
        rows = rows[rows["step"] == rows.groupby("replicate")["step"].transform("max")]
        rows = rows.drop_duplicates(["replicate", "index"]).sort_values("index")
        return {
            str(name): np.frombuffer(b"".join(pixels), np.uint8).reshape(len(pixels), -1) / 255
            for name, pixels in rows.groupby("replicate")["pixels"]
        }

    def values(self, value: Value, *, lower: bool = False) -> np.ndarray:
        """One number of each row of `ends`, float `(len(ends),)`.

        Args:
            value: The number. It is infinite where a wait never ended, and NaN where it was not recorded.
            lower: Whether to give the step up to which a wait had certainly not ended instead: that of the evaluation
                before its end, or of the last one.

        Returns:
            The numbers; NaN of each replicate that has not finished.
        """
        key = (value, lower)
        if key not in self._values:
            by_replicate = self._along(value, lower=True) if lower else self._numbers(value)
            numbers = self.ends["replicate"].map(by_replicate).to_numpy(dtype=float, na_value=np.nan)
            self._values[key] = np.where(self.ends["status"] == "finished", numbers, np.nan)
        return self._values[key]

    def _numbers(self, value: Value) -> pd.Series:
        if value.steps_until is not None or value.at is not None:
            numbers = self._along(value)
        elif value.metric is not None:
            numbers = self._by_replicate[value.metric].astype(float)
        else:
            numbers = self._at_the_end(value)
        if not value.excess:
            return numbers
        return numbers - self._by_replicate["dataset"].map(self.floors).astype(float)

    def _at_the_end(self, value: Value) -> pd.Series:
        """The quantity at the last step at which it was recorded."""
        rows = self.profile(str(value.profile))
        rows = rows[rows["step"] == rows.groupby("replicate")["step"].transform("max")]
        if value.reduce is None:
            rows = rows[rows["index"] == value.place]
        return rows.groupby("replicate")["value"].agg(value.reduce or "first").astype(float)

    def _along(self, value: Value, *, lower: bool = False) -> pd.Series:
        """The number that is read off each replicate's curve; of a time, if wanted, the step before it at the least."""
        if value.metric is not None:
            rows = self.curve(value.metric)
        else:
            rows = self.profile(str(value.profile))
            rows = rows[rows["index"] == value.place].sort_values(["replicate", "step"])
        steps, heights = rows["step"].to_numpy(dtype=float), rows["value"].to_numpy(dtype=float)
        places = rows.groupby("replicate").indices
        read_off = _lower_bound if lower else _read_off
        read = {name: read_off(steps[place], heights[place], value) for name, place in places.items()}
        return pd.Series(read, dtype=float)


def agrees(expected: Any, value: Any) -> bool:
    """Whether a replicate with this value of a config field is one of an arm that has the expected one."""
    return bool(value in FLOAT32 if expected in FLOAT32 else value == expected)


def _read_off(steps: np.ndarray, heights: np.ndarray, value: Value) -> float:
    """One number of a curve, by rising step."""
    if value.steps_until is None:
        reached = steps <= (value.at or 0.0) * steps[-1]
        return float(heights[reached][-1]) if reached.any() else float("nan")
    goal = value.steps_until
    if goal.share is not None:
        there = (heights >= goal.share * heights[-1]) & (heights[-1] >= goal.least)
    elif goal.target is not None:
        there = heights <= goal.target
    elif goal.reaches is not None:
        there = heights >= goal.reaches
    else:
        plateau = heights[-max(round(PLATEAU * len(heights)), 1) :].mean()
        away = np.abs(heights - plateau) > float(goal.within or 0.0) * plateau
        there = np.cumsum(away[::-1])[::-1] == 0  # from there on never away again
    return max(float(steps[there][0]), 1.0) if there.any() else float("inf")


def _lower_bound(steps: np.ndarray, heights: np.ndarray, value: Value) -> float:
    """The last step of a curve at which it had certainly not come far enough; that of its end if it never did."""
    reached = _read_off(steps, heights, value)
    before = steps[steps < reached]
    return max(float(before[-1]), 1.0) if len(before) else reached


def _with_config(tables: Tables) -> pd.DataFrame:
    """Ends of a run, without its search, with the config's fields under their own names, None where not applicable."""
    ends = tables.ends[~tables.ends["cell"].isin(searched(tables))]
    configs = [tables.configs[cell] for cell in ends["cell"]]
    fields = {name: [none_if_null(getattr(config, name)) for config in configs] for name in TrialConfig.model_fields}
    metrics = ends[[column for column in ends.columns if not column.startswith("config/")]]
    return pd.concat([metrics, pd.DataFrame(fields, index=ends.index, dtype=object)], axis=1)
