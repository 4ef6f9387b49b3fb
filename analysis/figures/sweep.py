"""Final values against what a run varies: a line per arm, a heat map of two fields, or a row for each network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.cells import cells, final_rows, mean_and_interval
from analysis.figures.axes import TICKS, log_axis, log_spaced
from analysis.figures.base import NotApplicableError
from analysis.figures.lines import lines
from analysis.figures.style import TICK, looks, theme
from analysis.formats import in_words, word
from study.table import Tables
from trainables.schema import METRICS, TrialConfig

SHOWN = ("test_nll", "test_kl", "test_active_units")
"""The metrics that are drawn, a panel each, of those that the run has."""
LEAST_POINTS = 3
"""How many values of a field make an axis of it; of fewer, each network has a row."""
MOST_BANDS = 8
"""Lines that may have bands; the bands of more would hide the lines, and are in the data alone."""
MOST_ROWS, MOST_MAPS, MOST_NAMED = 40, 4, 24
"""How many networks have a row, how many arms a heat map, and how many lines a name in the legend."""
WIDE = 8.0
"""Values that span more than this factor have a logarithmic axis."""
_SWEPT = re.compile(r" ?\b\w+=(?:\[[^]]*\]|\S+)")
_COLUMNS = "metric cell series network field x other_field y seeds mean low high".split()


@dataclass(frozen=True)
class Varied:
    """The axes of a sweep: the field along x, the field along y of a heat map, and each cell's line, by its name."""

    x: str | None
    y: str | None
    series: Mapping[str, str]


def sweep_data(tables: Tables) -> pd.DataFrame:
    """Final values of each cell: a row a metric of SHOWN and cell, means over the seeds that finished.

    Columns: `metric`, `cell`, `series` (the arm, and what else tells its cells apart), `network`, `field` and `x` (the
    swept field and its value), `other_field` and `y` (a second one, where a heat map shows both), `seeds`, `mean`,
    `low`, `high` (95 % t interval). Without a field of LEAST_POINTS values, `field` and `x` are null.

    Raises:
        NotApplicableError: No replicate has finished.
    """
    every, last = cells(tables), final_rows(tables)
    every = every[every["cell"].isin(last["cell"])].reset_index(drop=True)
    if not len(every):
        raise NotApplicableError("no replicate has finished")
    varied = varied_fields(every)
    groups = dict(iter(last.groupby("cell")))
    rows = []
    for metric in SHOWN:
        for cell in every.to_dict("records"):
            mean, low, high = mean_and_interval(groups[cell["cell"]][metric])
            if mean is None or not np.isfinite(mean):
                continue
            x, y = (cell[field] if field else None for field in (varied.x, varied.y))
            row = {"metric": metric, "cell": cell["cell"], "series": varied.series[cell["cell"]]}
            row |= {"network": cell["network"], "field": varied.x, "x": x, "other_field": varied.y, "y": y}
            seeds = int(groups[cell["cell"]][metric].notna().sum())
            rows.append(row | {"seeds": seeds, "mean": mean, "low": low, "high": high})
    if not rows:
        raise NotApplicableError("no final value is a number")
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"low": float, "high": float, "mean": float})


def varied_fields(every: pd.DataFrame) -> Varied:
    """Chooses the axes: the number with most values, N before others; what else differs tells lines apart.

    Args:
        every: Cells, as `analysis.cells.cells` gives them.
    """
    series = every["cell"].map(lambda cell: _SWEPT.sub("", cell).strip() or cell)
    values = {field: every[field] for field in TrialConfig.model_fields if field in every}
    texts = {field: column.map(str) for field, column in values.items()}
    counts = {field: int(column.groupby(series).nunique().max()) for field, column in texts.items()}
    numbers = [field for field, column in values.items() if counts[field] >= LEAST_POINTS and _are_numbers(column)]
    numbers.sort(key=lambda field: (-counts[field], field != "latent_dim"))
    if not numbers:
        return Varied(None, None, dict(zip(every["cell"], every["name"], strict=True)))
    x, added = numbers[0], []
    for field in sorted(counts, key=lambda field: -counts[field]):
        if field != x and counts[field] > 1 and pd.concat([series, texts[x]], axis=1).duplicated().any():
            added.append(field)
            series = series + texts[field].map(lambda text, field=field: f" {field}={text}")
    arms = every["cell"].map(lambda cell: _SWEPT.sub("", cell).strip() or cell)
    if len(added) == 1 and added[0] in numbers and arms.nunique() <= MOST_MAPS:
        return Varied(x, added[0], dict(zip(every["cell"], arms, strict=True)))
    return Varied(x, None, dict(zip(every["cell"], series, strict=True)))


def sweep_caption(frame: pd.DataFrame) -> str:
    """The caption: the axes and the bands."""
    low, high = int(frame["seeds"].min()), int(frame["seeds"].max())
    seeds = f"{low} to {high} seeds" if high > low else f"{high} seed{'s' * (high != 1)}"
    metrics = ", ".join(_label(metric, " ({})") for metric in frame["metric"].unique())
    field, other = frame["field"].iloc[0], frame["other_field"].iloc[0]
    against = f" against {word(field)}" if field else ", a row a network"
    marks = "marks are means, bands their 95 % t intervals (one far wider than the rest leaves the frame)"
    if frame["series"].nunique() > MOST_BANDS:
        marks = "marks are means; their 95 % t intervals are in the data"
    if other:
        marks = "the numbers are means"
    if not field:
        marks = "marks are means, bars their 95 % t intervals"
    return f"Final {metrics}{against}{f' and {word(other)}' if other else ''}: over {seeds} that finished; {marks}."


@theme()
def plot_sweep(frame: pd.DataFrame) -> Figure:
    """Draws lines, heat maps or rows, by what the run varies."""
    frame = frame.assign(series=frame["series"].map(in_words))
    if frame["field"].iloc[0] is None or pd.isna(frame["field"].iloc[0]):
        return _rows(frame)
    return _maps(frame) if pd.notna(frame["other_field"].iloc[0]) else _lines(frame)


def _are_numbers(column: pd.Series[Any]) -> bool:
    numbers = [value for value in column if value is not None and not (isinstance(value, float) and np.isnan(value))]
    return bool(numbers) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers)


def _lines(frame: pd.DataFrame) -> Figure:
    metrics = list(frame["metric"].unique())
    figure = Figure(figsize=(3.1 * len(metrics) + 1.8, 3.4), layout="constrained")
    known = frame[frame["x"].notna()].assign(x=frame["x"].astype(float))
    named = known.drop_duplicates("series")
    if len(named) > MOST_BANDS:
        known = known.assign(low=np.nan, high=np.nan)
    styles = looks(list(zip(named["series"], named["network"], strict=True)))
    handles: dict[str, Any] = {}
    for ax, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        rows = known[known["metric"] == metric]
        handles = lines(rows, ax, styles, by="series", y="mean", markersize=5) | handles
        x = rows["x"].to_numpy(float)
        if log_spaced(x):
            log_axis(ax, x, "x", most=6)
        else:
            ax.xaxis.set_major_formatter(TICK)
        _scale(ax, rows[["low", "mean", "high"]].to_numpy(float), "y", most=6)
        ax.set(xlabel=word(frame["field"].iloc[0]), ylabel=_label(metric))
        ax.spines[["top", "right"]].set_visible(False)
    chosen = _some(list(handles))
    figure.legend([handles[name] for name in chosen], chosen, loc="outside right upper", frameon=False, handlelength=3)
    return figure


def _maps(frame: pd.DataFrame) -> Figure:
    """A heat map of the first metric for each arm."""
    rows = frame[frame["metric"] == frame["metric"].iloc[0]]
    arms = list(rows["series"].unique())
    figure = Figure(figsize=(4.6 * len(arms) + 0.6, 3.8), layout="constrained")
    for ax, arm in zip(figure.subplots(1, len(arms), squeeze=False)[0], arms, strict=True):
        table = rows[rows["series"] == arm].pivot_table(index="y", columns="x", values="mean")
        style: dict[str, Any] = {"vmin": rows["mean"].min(), "vmax": rows["mean"].max(), "cmap": "viridis_r"}
        sns.heatmap(table, annot=table.size <= 100, fmt=".1f", annot_kws={"size": 7}, ax=ax, linewidths=0.4, **style)
        ax.invert_yaxis()
        ax.set(xlabel=word(rows["field"].iloc[0]), ylabel=word(rows["other_field"].iloc[0]), title=arm)
    return figure


def _rows(frame: pd.DataFrame) -> Figure:
    """A row for each network, sorted by the first metric; a panel for each metric that several networks have."""
    counts = frame["metric"].value_counts(sort=False)
    metrics = [metric for metric in counts.index if counts[metric] > 1] or list(counts.index[:1])
    first = frame[frame["metric"] == metrics[0]].sort_values("mean", kind="stable").set_index("series")
    order = _some(list(first.index), MOST_ROWS)
    styles = looks([(name, first["network"][name]) for name in order])
    width = 0.075 * max(map(len, order)) + 3.2 * len(metrics) + 0.4
    figure = Figure(figsize=(width, 0.26 * len(order) + 0.9), layout="constrained")
    for ax, metric in zip(figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0], metrics, strict=True):
        rows = frame[(frame["metric"] == metric) & frame["series"].isin(order)]
        bars = rows.set_index("series").reindex(order)
        ax.hlines(order, bars["low"], bars["high"], colors=[styles[name].color for name in order], linewidth=1.6)
        style: dict[str, Any] = {"palette": {name: styles[name].color for name in order}, "jitter": False, "size": 6}
        sns.stripplot(rows, x="mean", y="series", hue="series", order=order, legend=False, ax=ax, **style)
        _scale(ax, rows[["low", "mean", "high"]].to_numpy(float), "x", most=TICKS)
        ax.set(xlabel=_label(metric), ylabel="")
        ax.grid(axis="y", color="#EEEEEE")
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
    return figure


def _scale(ax: Axes, values: np.ndarray, along: Literal["x", "y"], most: int) -> None:
    """Makes an axis logarithmic where positive means span much, and leaves room on both sides.

    An interval far wider than the others leaves the frame, so that these can be read. `values`: lower ends, means and
    upper ends, `(num_points, 3)`, ends may be NaN; `most`: the largest number of ticks.
    """
    means, ends = values[:, 1], values[np.isfinite(values)]
    logarithmic = means.min() > 0 and means.max() > WIDE * means.min()
    to, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    low, high, least, largest = (float(to(x)) for x in (means.min(), means.max(), max(ends.min(), 1e-9), ends.max()))
    if not logarithmic:
        least = float(ends.min())
    widths = to(values[:, 2]) - to(means)
    reach = max(high - low, 3 * float(np.nanmedian(widths)) if np.isfinite(widths).any() else 0.0)
    low, high = max(least, low - reach), min(largest, high + reach)
    room = 0.05 * (high - low) or (0.05 if logarithmic else max(abs(high) * 0.05, 0.5))
    limits = ax.set_xlim if along == "x" else ax.set_ylim
    if logarithmic:
        log_axis(ax, np.exp([low - room, high + room]), along, most)
    else:
        (ax.xaxis if along == "x" else ax.yaxis).set_major_formatter(TICK)
    limits(float(back(low - room)), float(back(high + room)))


def _label(metric: str, form: str = ", {}") -> str:
    """A metric and its unit, where that says more than its name."""
    unit = METRICS[metric].unit
    return word(metric) + ("" if not unit or unit in word(metric) else form.format(unit))


def _some(names: Sequence[str], most: int = MOST_NAMED) -> list[str]:
    """Selects all names, or `most` of them, evenly spaced from the first to the last."""
    places = np.linspace(0, len(names) - 1, min(len(names), most)).round().astype(int)
    return [names[place] for place in places]
