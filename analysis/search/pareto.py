"""Two objectives: the Pareto front of a search, beside its reference arms, and its hypervolume as it goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import patheffects
from matplotlib.figure import Figure

from analysis.figures.base import NotApplicableError
from analysis.figures.style import GREY, INK, theme
from analysis.formats import word
from analysis.search.as_optuna import sign
from study.table import Tables
from study.tables.trials import ranked, search_of, trials
from trainables.schema import METRICS

REFERENCE = {"nll": 206.0, "kl": 60.0}
"""The hypervolume's reference point by metric, its split apart, in nats: the mean image's loss, and a rate that no
useful code needs."""


def front_data(tables: Tables) -> pd.DataFrame:
    """Every finished trial and reference cell: `name`, `kind` (trial, reference), `front`, objectives, `trial`.

    An objective that a reference does not have (the rate of an auto-encoder) is null.

    Raises:
        NotApplicableError: The search has not two objectives, or no trial has finished.
    """
    x, y = _objectives(tables)
    found, best = trials(tables), ranked(tables)
    found = found[found["state"] == "finished"]
    if not len(found):
        raise NotApplicableError("no trial has finished")
    drawn = found.assign(name=found["cell"], kind="trial", front=found["trial"].isin(best["trial"]))
    ends = tables.ends[(tables.ends["status"] == "finished") & ~tables.ends["cell"].isin(found["cell"])]
    others = ends.groupby("cell", sort=False)[[x, y]].mean().reset_index(names="name")
    others = others.assign(kind="reference", front=False)
    columns = ["name", "kind", "front", x, y]
    return pd.concat([drawn[[*columns, "trial"]], others.assign(trial=np.nan)[[*columns, "trial"]]], ignore_index=True)


def hypervolume(points: np.ndarray, reference: tuple[float, float]) -> float:
    """The area that points `(n, 2)`, both to be minimised, dominate within a reference point, in the units' product."""
    inside = points[(points < reference).all(1)]
    area, height = 0.0, reference[1]
    for x, y in inside[np.lexsort((inside[:, 1], inside[:, 0]))]:
        if y < height:
            area += (reference[0] - x) * (height - y)
            height = y
    return area


def hypervolume_data(tables: Tables) -> pd.DataFrame:
    """The hypervolume after each finished trial: `trial`, `hypervolume` (squared nats), `reference_x`, `reference_y`.

    Raises:
        NotApplicableError: The objectives have no reference point, or no trial has finished.
    """
    names = _objectives(tables)
    reference = tuple(REFERENCE.get(name.partition("_")[2], np.nan) for name in names)
    if np.isnan(reference).any():
        raise NotApplicableError(f"there is no reference point for {' and '.join(names)}")
    found = trials(tables)
    found = found[found["state"] == "finished"]
    if not len(found):
        raise NotApplicableError("no trial has finished")
    points = found[list(names)].to_numpy(float)
    areas = [hypervolume(points[: count + 1], (reference[0], reference[1])) for count in range(len(points))]
    frame = pd.DataFrame({"trial": found["trial"].to_numpy(), "hypervolume": areas})
    return frame.assign(reference_x=reference[0], reference_y=reference[1])


@theme()
def plot_front(data: pd.DataFrame) -> Figure:
    """Rate against distortion: trials, their front, the references; those without a rate as lines."""
    x, y = data.columns[3], data.columns[4]
    tried, others = data[data["kind"] == "trial"], data[data["kind"] == "reference"]
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    rest, front = tried[~tried["front"].astype(bool)], tried[tried["front"].astype(bool)]
    sns.scatterplot(rest, x=x, y=y, s=30, linewidth=0, color="#BDBDBD", label="trial", ax=axes)
    sns.lineplot(front, x=x, y=y, drawstyle="steps-post", estimator=None, color="#0072B2", ax=axes)
    sns.scatterplot(front, x=x, y=y, s=44, linewidth=0, color="#0072B2", label="Pareto front", zorder=3, ax=axes)
    both = others[others[y].notna()].sort_values(x)
    if len(both):
        axes.plot(both[x], both[y], color="#D55E00", marker="s", markersize=4, linestyle="--", label="reference arms")
        for row in both.to_dict("records"):
            place: dict[str, Any] = {"xytext": (-6, -2), "textcoords": "offset points", "ha": "right", "va": "top"}
            text = axes.annotate(str(row["name"]).split()[-1], (row[x], row[y]), color="#D55E00", **place)
            text.set(fontsize=7, path_effects=[patheffects.withStroke(linewidth=2.5, foreground="white")])
    for row, style in zip(others[others[y].isna()].to_dict("records"), (":", "-.", "--", "-"), strict=False):
        axes.axvline(row[x], color=GREY, linestyle=style, label=f"{row['name']} (no rate)")
    axes.set_xlim(right=min(float(np.nanpercentile(data[x], 95)) * 1.05, REFERENCE["nll"]))
    axes.set_xlabel(f"distortion: {word(x)} [{METRICS[x].unit}]")
    axes.set_ylabel(f"rate: {word(y)} [{METRICS[y].unit}]")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=True)
    return figure


def front_caption(data: pd.DataFrame) -> str:
    """The caption: the points and the front."""
    tried = data[data["kind"] == "trial"]
    return (
        f"{len(tried)} finished trials, of which {int(tried['front'].sum())} are on the Pareto front: none is better "
        "in both. Vertical lines: networks without a rate. Trials to the right of the axis are left out."
    )


@theme()
def plot_hypervolume(data: pd.DataFrame) -> Figure:
    """Hypervolume against trials."""
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axes = figure.add_subplot()
    sns.lineplot(data, x="trial", y="hypervolume", drawstyle="steps-post", color=INK, ax=axes)
    axes.set_xlabel("trial")
    axes.set_ylabel("hypervolume [nats²]")
    axes.set_ylim(bottom=0)
    return figure


def hypervolume_caption(data: pd.DataFrame) -> str:
    """The reference point and where it ends."""
    last = data.iloc[-1]
    return (
        f"Area dominated within {last['reference_x']:g} nats of distortion and {last['reference_y']:g} nats of rate: "
        f"{last['hypervolume']:,.0f} nats² after the last trial."
    )


def _objectives(tables: Tables) -> tuple[str, str]:
    names = search_of(tables).objectives
    if len(names) != 2 or any(sign(name) < 0 for name in names):
        raise NotApplicableError("a front is drawn of two objectives of which less is better")
    return names[0], names[1]
