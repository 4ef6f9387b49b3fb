"""Figures 6 and 7 of the paper: test NLL against the training step, with seed bands and reference lines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from analysis.cells import config_text, counted, mean_and_interval, paper_cells, references
from analysis.figures.base import NotApplicableError
from analysis.figures.lines import lines
from analysis.figures.style import GREY, INK, TICK, looks, theme
from analysis.formats import in_words
from study.table import Tables

START = 0.2
"""Share of the run after which Fig. 7's enlargement starts and the noise of a batch is measured."""
FAR = 3.0
"""How many standard deviations of a batch the ends of the curves may lie from their mean, for its band to be drawn."""
MOST_NAMED = 32
"""How many lines a legend names; of more, this many between the first and the last."""
NLL_LABEL = "test NLL, nats per image"
_REFERENCES = {"test_nll_mean_image": "mean image", "test_nll_floor": "entropy floor"}
_REFERENCE_LINES = {"mean image": (GREY, (0, (1, 1.5))), "entropy floor": (GREY, (0, (5, 1.5, 1, 1.5)))}
_WIDTH, _HEIGHT = 9.6, 4.0
_COLUMNS = ["kind", "cell", "network", "note", "step", "seeds", "mean", "low", "high"]


def curves_data(tables: Tables, *, linear: bool) -> pd.DataFrame:
    """Seed means of the test NLL by step, with their 95 % t intervals, and the levels that the curves are read against.

    Rows by `kind`: `curve` (per cell and step: `seeds`, `mean`, `low`, `high`), `reference` (a level, in `mean`:
    entropy floor, mean image, PCA), `noise` (per step the mean of all curves, and that plus and minus the standard
    deviation of the NLL of one training batch: how far a point of the paper's curves strays). Nats per image.

    Linear networks are among the curves if `linear` (Fig. 6), or not (Fig. 7). Raises NotApplicableError if no network
    of these has been evaluated.
    """
    cells = paper_cells(tables)
    trained = cells[cells["task"] == "train"]
    if not linear:
        trained = trained[trained["activation"] != "linear"]
    rows = counted(tables, cells["cell"])
    curves = [row for cell in trained.to_dict("records") for row in _curve(rows, cell)]
    if not curves:
        raise NotApplicableError(f"no {'' if linear else 'non-linear '}network has an evaluation")
    levels = _levels(tables, cells, rows)
    frame = pd.DataFrame([*curves, *levels], columns=_COLUMNS)
    noise = _noise(rows[rows["cell"].isin(trained["cell"])], frame[frame["kind"] == "curve"])
    return pd.DataFrame([*curves, *levels, *noise], columns=_COLUMNS)


def curves_caption(frame: pd.DataFrame, *, linear: bool) -> str:
    """The caption: the lines, bands and levels."""
    curves = frame[frame["kind"] == "curve"]
    low, high = int(curves["seeds"].min()), int(curves["seeds"].max())
    band = (
        "One seed, no band."
        if high == 1
        else f"Lines are means over {low if low == high else f'{low} to {high}'} seeds, bands the 95 % t interval of "
        "that mean over seeds" + ("." if low > 1 else "; where there is one seed, no band.")
    )
    text = (
        f"Test NLL (Eq. 1 on the test images, a VAE at one sampled z) of "
        f"{'all networks' if linear else 'all but the linear networks'} against the training step; the number in the "
        f"legend is the last value. {band}"
    )
    if linear:
        return f"{text} Left: linear y axis; right: the same, logarithmic. Grey and brown lines are reference levels."
    noise = _noise_band(frame)
    text += " Left: the whole run, its first points above the frame; right: the end of it, enlarged."
    if not len(noise):
        return text
    spread, batch = float((noise["high"] - noise["mean"]).iloc[0]), noise["cell"].iloc[0]
    return (
        f"{text} Grey band: the mean of the curves plus and minus {spread:.1f} nats, the standard deviation of the NLL "
        f"of a single training {batch}, as the paper draws it (from the differences of train_nll between neighbouring "
        "evaluations of the last four fifths): curves that run closer than that look alike in such a plot."
    )


@theme()
def plot_curves(frame: pd.DataFrame, ax: Axes | None = None, *, log: bool = False, noise: bool = False) -> Axes:
    """Draws the curves and reference levels of `curves_data` on one panel, the noise band too if wanted."""
    if ax is None:
        ax = Figure(figsize=(6.4, 4.2), layout="constrained").add_subplot()
    styles = _styles(frame)
    curves = dict(_in_order(frame))
    drawn = lines(
        frame[frame["kind"] == "curve"], ax, {cell: styles[cell] for cell in curves},
        by="cell", x="step", y="mean", markersize=6,
    )  # fmt: skip
    for index, (cell, line) in enumerate(drawn.items()):
        every = max(len(curves[cell]) // 7, 1)
        line.set(markevery=(index * every // 6 % every, every), label=_label(cell, curves[cell]))
    for row in frame[frame["kind"] == "reference"].to_dict("records"):
        color, dashes = _REFERENCE_LINES.get(row["cell"]) or styles[row["cell"]][:2]
        label = f"{in_words(row['cell'])}:  {row['mean']:,.1f}"
        ax.axhline(row["mean"], color=color, linestyle=dashes, linewidth=1.2, label=label)
    band = _noise_band(frame)
    if noise and len(band):
        label = f"± 1 sd of a {band['cell'].iloc[0]}"
        ax.fill_between(band["step"], band["low"], band["high"], color="#DADADA", linewidth=0, zorder=0, label=label)
    ax.set(xlabel="training step", ylabel=NLL_LABEL, yscale="log" if log else "linear")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(TICK)
    ax.yaxis.set_major_formatter(TICK)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


@theme()
def plot_two_scales(frame: pd.DataFrame) -> Figure:
    """Figure 6: the same curves on a linear and on a logarithmic y axis."""
    figure, (left, right) = _panels()
    plot_curves(frame, left).set_ylim(bottom=0)
    plot_curves(frame, right, log=True)
    _ticks_of_log(right, frame)
    left.set_title("linear y axis")
    right.set_title("logarithmic y axis")
    _legend(figure, left)
    return figure


@theme()
def plot_zoom(frame: pd.DataFrame) -> Figure:
    """Figure 7: the whole run, and its end enlarged with the noise band of a batch of 100."""
    figure, (left, right) = _panels()
    curves = frame[frame["kind"] == "curve"]
    levels = frame[frame["kind"] == "reference"]["mean"]
    top = max([curves["mean"].min() * 2, *levels]) * 1.06
    plot_curves(frame, left).set_ylim(min([curves["mean"].min() * 0.9, *levels * 0.8]), top)
    start = curves["step"].max() * START
    plot_curves(frame, right, noise=True)
    late = curves[curves["step"] >= start]
    noise = _noise_band(frame)
    noise = noise[noise["step"] >= start]
    low = min([late[["mean", "low"]].min().min(), *noise["low"]])
    high = max([late[["mean", "high"]].max().max(), *noise["high"]])
    room = 0.06 * (high - low) or 1.0
    right.set_ylim(low - room, high + room)
    right.set_xlim(start, curves["step"].max() * 1.01)
    left.set_title("the whole run")
    right.set_title("the last four fifths, enlarged")
    _legend(figure, right)
    return figure


def _curve(rows: pd.DataFrame, cell: Mapping[Any, Any]) -> list[dict[str, Any]]:
    mine = rows[rows["cell"] == cell["cell"]]
    note = _state(mine)
    points = []
    for step, group in mine.groupby("step"):
        mean, low, high = mean_and_interval(group["test_nll"])
        point = {"kind": "curve", "cell": cell["cell"], "network": cell["network"], "note": note}
        points.append(point | {"step": step, "seeds": len(group), "mean": mean, "low": low, "high": high})
    return points


def _state(rows: pd.DataFrame) -> str:
    """A note on a cell's replicates that have not finished, or have collapsed."""
    last = rows.sort_values("step").drop_duplicates("replicate", keep="last")
    collapsed = int(last["collapsed"].fillna(False).astype(bool).sum())
    notes = [str(note) for note in last["note"].unique() if note]
    if collapsed:
        notes.append("collapsed" if collapsed == len(last) else f"{collapsed} of {len(last)} collapsed")
    return ", ".join(notes)


def _levels(tables: Tables, cells: pd.DataFrame, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The reference lines: PCA's test NLL, the mean image's, the floor."""
    levels = []
    for cell in cells[cells["task"] == "pca"].to_dict("records"):
        mean = mean_and_interval(rows[rows["cell"] == cell["cell"]]["test_nll"])[0]
        if mean is not None:
            levels.append({"kind": "reference", "cell": cell["cell"], "network": cell["network"], "mean": mean})
    shown = set(cells["cell"])
    for quantity, name in _REFERENCES.items():
        recorded = [value for cell, value in references(tables, quantity).items() if cell in shown]
        levels += [{"kind": "reference", "cell": name, "network": "", "mean": value} for value in recorded[:1]]
    return sorted(levels, key=lambda level: -float(level["mean"]))


def _noise(rows: pd.DataFrame, curves: pd.DataFrame) -> list[dict[str, Any]]:
    """The band of a batch around the mean of the curves, at the steps that all of them have.

    The spread is that of `train_nll`, one batch each, between neighbouring evaluations, which leaves the trend out.
    Blocks of the test set would overstate it: MNIST's second half is ordered by writer.
    """
    late = rows[rows["step"] >= START * rows["step"].max()].sort_values("step")
    jumps = late.groupby("replicate")["train_nll"].diff().dropna()
    if not len(jumps):
        return []
    spread = float(np.sqrt((jumps**2).mean() / 2))
    steps = curves.groupby("step")["mean"].agg(["count", "mean"])
    shared = steps[steps["count"] == curves["cell"].nunique()]["mean"]
    batch = {"kind": "noise", "cell": f"batch of {config_text(rows['config/batch_size'].iloc[0])}"}
    return [
        batch | {"step": step, "mean": mean, "low": mean - spread, "high": mean + spread}
        for step, mean in shared.items()
    ]


def _noise_band(frame: pd.DataFrame) -> pd.DataFrame:
    """The noise of a batch around the mean of the curves; none where a curve ends further from the mean than FAR."""
    band, curves = frame[frame["kind"] == "noise"], frame[frame["kind"] == "curve"]
    if not len(band):
        return band
    mean, reach = float(band["mean"].iloc[-1]), float((band["high"] - band["mean"]).iloc[-1])
    ends = curves.sort_values("step").groupby("cell")["mean"].last()
    return band if (ends - mean).abs().max() <= FAR * reach else band.iloc[:0]


def _in_order(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Curves by falling last value, so that the legend's order is that of the lines."""
    groups = [(str(cell), rows.sort_values("step")) for cell, rows in frame[frame["kind"] == "curve"].groupby("cell")]
    return sorted(groups, key=lambda group: -group[1]["mean"].iloc[-1])


def _styles(frame: pd.DataFrame) -> dict[str, Any]:
    named = frame[frame["network"].fillna("") != ""].drop_duplicates("cell")
    return looks(list(zip(named["cell"], named["network"], strict=True)))


def _label(cell: str, rows: pd.DataFrame) -> str:
    note = rows["note"].iloc[-1]
    return f"{in_words(cell)}:  {rows['mean'].iloc[-1]:,.1f}" + (f"\n({note})" if note else "")


def _panels() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    left, right = figure.subplots(1, 2)
    return figure, (left, right)


def _legend(figure: Figure, ax: Axes) -> None:
    """One legend for all panels, beside them; below them when it is long or wide. Of many lines, it names some."""
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) > MOST_NAMED:
        places = np.linspace(0, len(labels) - 1, MOST_NAMED).round().astype(int)
        handles, labels = [handles[place] for place in places], [labels[place] for place in places]
    title = "last value, nats per image"
    place: dict[str, Any] = {"loc": "outside right center"}
    longest = max(len(line) for label in labels for line in label.splitlines())
    if len(labels) > 14 or longest > 30:
        columns = max(int(_WIDTH * 72 / (5.6 * longest + 55)), 1)  # points: a character, a handle
        place = {"loc": "outside lower center", "ncols": columns}
        figure.set_figheight(_HEIGHT + 0.4 + 0.2 * math.ceil(len(labels) / columns))
    legend = figure.legend(handles, labels, title=title, frameon=False, handlelength=3.4, labelspacing=0.7, **place)
    legend.get_title().set(color=INK, fontsize=8.5)


def _ticks_of_log(ax: Axes, frame: pd.DataFrame) -> None:
    """Ticks that a reader can name: 1, 2, 5 times powers of ten, over the range of the data."""
    drawn = frame.loc[frame["kind"] != "noise", ["mean", "low", "high"]].to_numpy(dtype=np.float64)
    low, high = drawn[drawn > 0].min() * 0.9, np.nanmax(drawn) * 1.1
    ticks = [base * 10**power for power in range(-1, 7) for base in (1, 2, 5)]
    ax.set_ylim(low, high)
    ax.set_yticks([tick for tick in ticks if low <= tick <= high])
    ax.yaxis.set_minor_locator(NullLocator())
