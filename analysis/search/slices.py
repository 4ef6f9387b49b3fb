"""The objective against each setting, and against the pairs of those that matter most."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from analysis.figures.axes import log_axis
from analysis.figures.base import NotApplicableError
from analysis.figures.style import TICK, theme
from analysis.formats import word
from analysis.search.as_optuna import common_step, log_values, values_at
from study.searchspace import Range, SearchSpec
from study.table import Tables
from study.tables.trials import search_of, trials
from trainables.schema import METRICS

COLUMNS = 3
PAIRS = 3


def slices_data(tables: Tables) -> pd.DataFrame:
    """Every trial that reached the common step: `trial`, `state`, `step`, `value` there, `objective`, and `field/NAME`.

    Raises:
        NotApplicableError: No trial reached it.
    """
    objective, step = search_of(tables).objectives[0], common_step(tables)
    values = values_at(tables, objective, step)
    found = trials(tables)
    found = found[found["trial"].isin(values.index)]
    if not len(found):
        raise NotApplicableError(f"no trial has come to step {step:,}")
    if not values.notna().any():
        raise NotApplicableError(f"no trial has a value at step {step:,}")
    fields = [column for column in found.columns if column.startswith("field/")]
    if not varying(found):
        raise NotApplicableError("no setting varies")
    frame = found[["trial", "state", *fields]].assign(step=step, objective=objective, value=found["trial"].map(values))
    return frame.reset_index(drop=True)


@theme()
def plot_slices(data: pd.DataFrame, search: SearchSpec) -> Figure:
    """A panel for each setting that varies; colour: the trial's number, so that one sees where the search went."""
    fields = varying(data)
    rows = math.ceil(len(fields) / COLUMNS)
    figure = Figure(figsize=(2.9 * COLUMNS, 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharey=True, squeeze=False)
    points = None
    for axes, field in itertools.zip_longest(panels.flat, fields):
        if field is None:
            axes.set_axis_off()
            continue
        x = _axis(axes, data, field, search, along="x")
        points = axes.scatter(x, data["value"], c=data["trial"], cmap="viridis", s=14)
        log_values(axes)
    for axes in panels[:, 0]:
        axes.set_ylabel(_label(data))
    if points is not None:
        figure.colorbar(points, ax=panels, label="trial", shrink=0.6)
    return figure


def slices_caption(data: pd.DataFrame) -> str:
    """The caption: the points."""
    what = f"its {word(data['objective'].iloc[0])} after {data['step'].iloc[0]:,} steps"
    which = f"Each point is a trial, the {len(data)} that came so far"
    return f"{which}: {what}, against one setting. Where a setting was not drawn, there is no point."


def pairs_data(tables: Tables, order: Sequence[str]) -> pd.DataFrame:
    """`slices_data`; raises NotApplicableError too if fewer than two settings vary (`order`)."""
    data = slices_data(tables)
    if len(order) < 2:
        raise NotApplicableError("fewer than two settings vary")
    return data


@theme()
def plot_pairs(data: pd.DataFrame, search: SearchSpec, order: list[str]) -> Figure:
    """The objective over the pairs of the first three fields of `order`: contours where both are numbers."""
    pairs = list(itertools.combinations(order[:3], 2))[:PAIRS]
    figure = Figure(figsize=(3.4 * len(pairs) + 0.6, 3.0), layout="constrained")
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    norm = LogNorm(data["value"].min(), data["value"].max())
    points: PathCollection | None = None
    for axes, (first, second) in zip(panels, pairs, strict=True):
        known = data[data[f"field/{first}"].notna() & data[f"field/{second}"].notna()]
        x, y = _axis(axes, known, first, search, along="x"), _axis(axes, known, second, search, along="y")
        axes.margins(0.05)
        if all(len(search.options(field)) == 1 and _is_number(search, field) for field in (first, second)):
            contours(axes, x, y, known["value"].to_numpy(float), norm)
        points = axes.scatter(
            x, y, c=known["value"], norm=norm, cmap="viridis", s=18, edgecolors="white", linewidths=0.4
        )
    if points is not None:
        bar = figure.colorbar(points, ax=list(panels), label=_label(data), format=TICK)
        bar.ax.yaxis.set_minor_formatter(TICK)
    return figure


def pairs_caption(data: pd.DataFrame, order: list[str]) -> str:
    """The caption: the panels."""
    what = f"The {word(data['objective'].iloc[0])} after {data['step'].iloc[0]:,} steps"
    pairs = f"{what} over pairs of the settings that matter most ({', '.join(map(word, order[:3]))})."
    return f"{pairs} Where both are ranges, filled contours run between the trials."


def varying(data: pd.DataFrame) -> list[str]:
    """The fields that more than one value was drawn of."""
    fields = [column.removeprefix("field/") for column in data.columns if column.startswith("field/")]
    return [field for field in fields if len(set(map(str, data[f"field/{field}"]))) > 1]


def contours(axes: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, norm: LogNorm) -> None:
    """Filled contours between the points, their triangles made in the axes' own scales; none of points on a line."""
    from matplotlib.tri import Triangulation

    across = axes.xaxis.get_transform().transform(x), axes.yaxis.get_transform().transform(y)
    try:
        triangles = Triangulation(*across).triangles
    except (ValueError, RuntimeError):  # fewer than three points, or all on a line
        return
    levels = np.geomspace(float(norm.vmin or 1), float(norm.vmax or 2), 12)
    axes.tricontourf(Triangulation(x, y, triangles), values, levels=levels, norm=norm, cmap="viridis", alpha=0.55)


def _axis(axes: Axes, data: pd.DataFrame, field: str, search: SearchSpec, *, along: str) -> np.ndarray:
    """Sets an axis up for a field; returns where the trials lie on it."""
    axis = axes.xaxis if along == "x" else axes.yaxis
    (axes.set_xlabel if along == "x" else axes.set_ylabel)(word(field))
    given = data[f"field/{field}"]
    if _is_number(search, field):
        places = pd.to_numeric(given).to_numpy(float)
        if any(isinstance(option, Range) and option.log for option in search.options(field)):
            log_axis(axes, places, "x" if along == "x" else "y")
        return places
    names = [str(option).replace(" ", "") for option in search.options(field)]
    axis.set_ticks(range(len(names)), names)
    if along == "x":
        axes.tick_params(axis="x", labelrotation=40)
    return np.array([names.index(str(value).replace(" ", "")) for value in given], float)


def _is_number(search: SearchSpec, field: str) -> bool:
    return any(isinstance(option, Range) for option in search.options(field))


def _label(data: pd.DataFrame) -> str:
    objective = data["objective"].iloc[0]
    return f"{word(objective)} [{METRICS[objective].unit}]"
