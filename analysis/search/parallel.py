"""A search's trials in parallel coordinates: an axis for each setting, the last one for the objective."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.base import NotApplicableError
from analysis.figures.style import GREY, INK, theme
from analysis.formats import figures, word
from analysis.search.slices import varying
from study.searchspace import Range, SearchSpec
from study.table import Tables
from study.tables.trials import ranked, search_of, trials

BEST = 5
"""The best trials, or those of the front, that stand out, at most."""
_NOT_DRAWN = -0.12
"""The place of a trial on the axis of a setting that was not drawn for it."""
_ABOVE_ZERO, TICKS = 0.15, 5
"""The beginning of a logarithmic axis above a value of 0, and an axis's number of ticks."""
_KINDS: dict[str, dict[str, Any]] = {
    "stopped": {"color": GREY, "linewidth": 0.8, "alpha": 0.5, "linestyle": ":"},
    "finished": {"color": GREY, "linewidth": 0.8, "alpha": 0.6},
    "among the best": {"color": "#0072B2", "linewidth": 1.6},
    "best": {"color": "#D55E00", "linewidth": 2.6},
}
"""The trials' looks, in the order in which they are drawn: the last lies on top."""


def parallel_data(tables: Tables) -> pd.DataFrame:
    """A row for each trial that finished or was stopped: `trial`, `kind`, the objectives, and `field/NAME`.

    `kind`: best, among the best (BEST of them, or of the Pareto front), finished, stopped; only the trials that
    finished have objectives.

    Raises:
        NotApplicableError: No trial has finished, or no setting varies.
    """
    search, found = search_of(tables), trials(tables)
    found = found[found["state"].isin(["finished", "stopped"])].reset_index(drop=True)
    best = list(ranked(tables)["trial"])
    if not best:
        raise NotApplicableError("no trial has finished")
    if not varying(found):
        raise NotApplicableError("no setting varies")
    chosen = best[:BEST] if len(search.objectives) == 1 else best
    single = len(search.objectives) == 1
    kinds = [
        "best" if single and trial == best[0] else "among the best" if trial in chosen else state
        for trial, state in zip(found["trial"], found["state"], strict=True)
    ]
    fields = [f"field/{name}" for name in varying(found)]
    return found[["trial", *search.objectives, *fields]].assign(kind=kinds)


def parallel_caption(data: pd.DataFrame) -> str:
    """The caption: the axes and the lines."""
    counts = data["kind"].value_counts()
    names = [name for name in data if not str(name).startswith("field/") and name not in ("trial", "kind")]
    objective = " and ".join(word(str(name)) for name in names)
    many = counts.get("among the best", 0)
    out = f"Orange: the best trial; blue: the next {many}." if "best" in counts else f"Blue: the {many} on the front."
    ended = counts.get("stopped", 0)
    stopped = f" Dotted, to the last setting: the {ended} that were stopped early." if ended else ""
    lacking = data.filter(like="field/").isna().any(axis=None)
    below = " Where a setting does not apply to a trial, its line runs below the axis." if lacking else ""
    return (
        f"Each line is a trial: what was drawn of each setting, and at the right its {objective}. {out} Grey: the "
        f"other {counts.get('finished', 0)} that finished.{stopped}{below}"
    )


@theme()
def plot_parallel(data: pd.DataFrame, search: SearchSpec) -> Figure:
    """Draws `parallel_data`: each axis from its least to its largest value, logarithmic where it was drawn so."""
    axes = [str(name) for name in data if name not in ("trial", "kind")]
    axes = [name for name in axes if name.startswith("field/")] + [n for n in axes if not n.startswith("field/")]
    scaled = {name: _scaled(data[name], name, search) for name in axes}
    lines = pd.DataFrame({name: places for name, (places, _) in scaled.items()}).assign(trial=data["trial"])
    figure = Figure(figsize=(min(1.05 * len(axes) + 1.6, 11.4), 4.4), layout="constrained")
    ax = figure.add_subplot()
    for kind, style in _KINDS.items():
        rows = lines[data["kind"] == kind].melt("trial", var_name="axis", value_name="at")
        rows = rows.assign(place=rows["axis"].map(axes.index)).dropna(subset="at")
        if len(rows):
            sns.lineplot(rows, x="place", y="at", units="trial", estimator=None, ax=ax, **style)
    bottom = float(lines.drop(columns="trial").min().min()) - 0.04
    for place, name in enumerate(axes):
        _axis(ax, place, bottom, scaled[name][1])
    ax.set_xticks(range(len(axes)), [word(name.removeprefix("field/")).replace(" ", "\n") for name in axes])
    ax.set(xlabel="", ylabel="", yticks=[], xlim=(-0.35, len(axes) - 0.3), ylim=(bottom, 1.04))
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return figure


def _axis(ax: Axes, place: int, bottom: float, ticks: dict[str, float]) -> None:
    """Draws a vertical axis with its ticks."""
    ax.vlines(place, bottom, 1, color=INK, linewidth=0.8)
    for text, at in ticks.items():
        ax.annotate(
            text, (place, at), xytext=(4, 0), textcoords="offset points", fontsize=7.5, va="center", color=INK,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )  # fmt: skip


def _scaled(values: pd.Series[Any], name: str, search: SearchSpec) -> tuple[np.ndarray, dict[str, float]]:
    """The places of values on their axis, 0 to 1, or below it for a missing one; and the axis's ticks by their text."""
    field = name.removeprefix("field/")
    options = search.options(field) if name.startswith("field/") else []
    ranges = [option for option in options if isinstance(option, Range)]
    if options and not ranges:
        names = [str(option) for option in options]
        texts = [str(value) for value in values]
        steps = {text: place / max(len(names) - 1, 1) for place, text in enumerate(dict.fromkeys([*names, *texts]))}
        steps = {text: place for text, place in steps.items() if text in texts and text not in ("None", "nan")}
        return np.array([steps.get(text, _NOT_DRAWN) for text in texts]), steps
    numbers = pd.to_numeric(values).to_numpy(float)
    logarithmic = any(option.log for option in ranges)
    known = numbers[np.isfinite(numbers) & ((numbers > 0) | (not logarithmic))]
    if not len(known):  # a logarithmic range of which nothing was drawn, beside values such as 0
        return np.where(np.isfinite(numbers), 0.0, _NOT_DRAWN), {figures(float(numbers[np.isfinite(numbers)][0])): 0.0}
    bottom = _ABOVE_ZERO if logarithmic and (numbers == 0).any() else 0.0
    to, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    low, high = float(to(known.min())), float(to(known.max()))
    with np.errstate(divide="ignore"):  # 0 has a place of its own
        places = bottom + (1 - bottom) * (to(numbers) - low) / ((high - low) or 1)
    places = np.where(numbers == 0, 0.0, places) if logarithmic else places
    shown = np.linspace(0, 1, TICKS) if low < high else np.zeros(1)
    ticks = {figures(float(back(low + share * (high - low)))): bottom + (1 - bottom) * share for share in shown}
    if name.startswith("field/"):
        places = np.where(np.isfinite(places), places, _NOT_DRAWN)
    return places, ticks | ({"0": 0.0} if bottom else {})
