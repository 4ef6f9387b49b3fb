"""The panels of the dimension card: rows of `analysis.dimension.card.card_data` in, drawn axes out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.dimension.curve_shapes import LAST_FIFTH
from analysis.dimension.estimate import BAND, first_reason
from analysis.dimension.estimate_table import card_name
from analysis.dimension.sweeps import PAPERS
from analysis.figures.lines import lines
from analysis.figures.style import GREY, INK, LOOKS, TICK, Look
from analysis.formats import figures, with_interval

SHADE = "#FFF1C9"
VERDICTS = {
    "confirmed": ("#0072B2", "#0072B2", "o", "inside 10 to 100"),
    "refuted": ("#D55E00", "#D55E00", "D", "outside"),
    "inconclusive": (GREY, "white", "o", "no verdict"),
    "settled": ("#0072B2", "#0072B2", "o", "settled"),
    "not settled": (GREY, "white", "o", "not settled"),
}
"""Colour, face, marker and meaning."""
GROUPS = {
    "L": "(L) description length",
    "U": "(U) active units, with room to spare",
    "I": "(I) the images' own dimension",
    "a": "(a) loss within a margin of the best",
    "b": "(b) knee of the log excess loss",
    "c": "(c) active units of the largest VAE",
    "e": "(e) the same, by estimator",
    "f": "(f) recognised within 1 % of the originals",
    "g": "(g) PCA, share of the variance",
}
"""Headings, by the first letter of a key."""
LINES: dict[str, Look] = {
    "L": Look("#000000", "-", "v"),
    "U": Look("#56B4E9", "-", "^"),
    "a": LOOKS["elu"],
    "b": Look("#E69F00", (0, (5, 2)), "s"),
    "c": LOOKS["vae"],
    "TwoNN": Look("#D55E00", "-", "o"),
    "MLE": Look("#009E73", "-", "s"),
    "MLE mean": Look("#56B4E9", "-", "^"),
    "Gride": Look("#CC79A7", "-", "D"),
}
_SMALL = 7.5
_LEGEND: dict[str, Any] = {
    "frameon": False,
    "fontsize": _SMALL,
    "handlelength": 2.2,
    "labelspacing": 0.25,
    "borderpad": 0.2,
}
_LABELS, _INDENT, _NUMBERS = -0.72, -0.68, 1.03
"""The left ends of the texts at each side of the estimates, in widths of the axis."""
_CLEAR, _LONGEST_TAG = 8.0, 20
"""An estimate above the first number leaves room for a few words at the left of the axis, of this many letters."""
_LONGEST_REASON = 45
"""A longer reason is cut at its first colon."""
SHOWN = 40
"""The description length is drawn to this many margins above its plateau."""
_DIMS = (1, 2, 5, 10, 20, 50, 200)
_NETWORKS = {"linear": "linear", "elu": "ELU", "vae": "VAE", "pca": "PCA"}


def plot_estimates(rows: pd.DataFrame, ax: Axes) -> Axes:
    """Draws all estimates on a logarithmic axis, in groups, the band of the hypothesis shaded."""
    _band(rows, ax)
    line = 0.0
    for group, heading in GROUPS.items():
        _beside(heading, _LABELS, line, ax, fontsize=8.5, fontweight="bold")
        for row in rows.to_dict("records"):
            name = card_name(row["key"]) if row["key"][0] == group else None
            if name is not None:
                line += 1
                _estimate(row, name, line, ax)
        if group == "e":
            line += _digits(rows, line + 1, ax)
        line += 1.3
    ax.set(
        xscale="log", xlim=(1, 784), ylim=(line - 0.7, -0.8), xlabel="latent dimension N, or dimension of the images"
    )
    _label(ax.xaxis, (1, 3, 10, 30, 100, 300, 784))
    ax.yaxis.set_major_locator(NullLocator())
    ax.spines[["left", "right", "top"]].set_visible(False)
    for verdict, (color, face, marker, meaning) in VERDICTS.items():
        if (verdict in ("settled", "not settled")) == _papers(rows):
            continue
        ax.plot([], [], marker=marker, color=color, markerfacecolor=face, linewidth=1.2, markersize=5, label=meaning)
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (_LABELS - 0.03, 0.995), "ncols": 3}
    ax.legend(**_LEGEND | place, columnspacing=1.4)
    return ax


def number(row: Mapping[Any, Any]) -> str:
    """The number of an estimate's row with its interval, or its range alone, as a reader writes them."""
    if len(ends := _ends(row)) == 2:
        return " to ".join(map(figures, ends))
    return with_interval(row["value"], row["low"], row["high"])


def mark(row: Mapping[Any, Any], line: float, ax: Axes, *, width: float, size: float) -> None:
    """Draws an estimate's interval and the marker of its verdict, at both ends if the estimate is a range."""
    color, face, marker, _ = VERDICTS[row["verdict"]]
    if np.isfinite(row["low"]):
        ax.plot([row["low"], row["high"]], [line, line], color=color, linewidth=width, solid_capstyle="butt")
    style: dict[str, Any] = {"color": color, "markerfacecolor": face, "markersize": size, "markeredgewidth": 1.2}
    ax.plot(_ends(row), [line] * len(_ends(row)), marker, **style)


def _ends(row: Mapping[Any, Any]) -> list[float]:
    """Both ends of an estimate that is a range, else its value."""
    least, most = row.get("least", np.nan), row.get("most", np.nan)
    return [least, most] if least < most else [row["value"]]


def _papers(rows: pd.DataFrame) -> bool:
    """Whether the rows are of the paper's data, whose band is drawn."""
    return str(rows["dataset"].iloc[0]) == PAPERS


def _band(rows: pd.DataFrame, ax: Axes, *, horizontal: bool = False) -> None:
    """Shades the paper's hypothesis, on its own data."""
    if _papers(rows):
        (ax.axhspan if horizontal else ax.axvspan)(*BAND, color=SHADE, zorder=0, linewidth=0)


def say(text: str, ax: Axes) -> None:
    """Makes an empty panel that says what it needs."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(color="#D0D0D0", linestyle=(0, (3, 3)))
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", style="italic", color=GREY, fontsize=8.5)


def _estimate(row: Mapping[Any, Any], name: str, line: float, ax: Axes) -> None:
    """Draws an estimate: name at the left, marker and interval, numbers at the right; why it has no verdict."""
    weight, width, size = ("bold", 2.4, 7.0) if row["headline"] else ("normal", 1.3, 4.8)
    _beside(name, _INDENT, line, ax, fontsize=8, fontweight=weight)
    ax.axhline(line, color="#EFEFEF", linewidth=0.6, zorder=0.5)
    if not np.isfinite(row["value"]):
        reason = first_reason(row["reason"])
        reason = reason if len(reason) <= _LONGEST_REASON else reason.partition(":")[0]
        _beside(reason, 0.02, line, ax, fontsize=_SMALL, style="italic", color=GREY)
        return
    mark(row, line, ax, width=width, size=size)
    least, tag = min(row["value"], row["low"] if np.isfinite(row["low"]) else np.inf), row["reason"].split(":")[0]
    if row["verdict"] in ("inconclusive", "not settled") and least > _CLEAR and len(tag) <= _LONGEST_TAG:
        _beside(tag, 0.02, line, ax, fontsize=_SMALL, style="italic", color=GREY)
    _beside(number(row), _NUMBERS, line, ax, fontsize=8, fontweight=weight)


def _digits(rows: pd.DataFrame, line: float, ax: Axes) -> int:
    """Draws the digits' corrected TwoNN in one line, its two ends named; returns the lines that this took, 0 or 1."""
    found = {
        int(row["key"].split()[3]): float(row["value"])
        for row in rows.to_dict("records")
        if re.fullmatch(r"e TwoNN digit \d corrected", row["key"]) and np.isfinite(row["value"])
    }
    if not found:
        return 0
    least, most = min(found, key=lambda digit: found[digit]), max(found, key=lambda digit: found[digit])
    _beside("the same, by digit", _INDENT, line, ax, fontsize=8)
    ax.axhline(line, color="#EFEFEF", linewidth=0.6, zorder=0.5)
    ax.plot([found[least], found[most]], [line, line], color=INK, linewidth=1.0)
    ax.plot(list(found.values()), [line] * len(found), "|", color=INK, markersize=6)
    text = f"“{least}” {found[least]:.3g} to “{most}” {found[most]:.3g}"
    _beside(text, _NUMBERS, line, ax, fontsize=_SMALL)
    return 1


def _beside(text: str, place: float, line: float, ax: Axes, **style: Any) -> None:
    """A text in a line, beginning at so many widths of the axis."""
    ax.text(place, line, text, transform=ax.get_yaxis_transform(), va="center", **style)


def _nll(rows: pd.DataFrame, ax: Axes) -> None:
    for network, line in _lines(rows, ax, {network: LOOKS[network] for network in _NETWORKS}).items():
        line.set_label(_NETWORKS[network])
    for row in rows[rows["x"].isna()].to_dict("records"):
        ax.axhline(row["value"], color=GREY, linestyle=(0, (1, 1.5)), linewidth=1.1, zorder=1)
        above = row["series"] == "mean image"
        place: dict[str, Any] = {"xytext": (0, 2 if above else -2), "va": "bottom" if above else "top"}
        at, units = (0.02, row["value"]), ("axes fraction", "data")
        text = f"{row['series']} {row['value']:.1f}"
        ax.annotate(text, at, xycoords=units, textcoords="offset points", fontsize=_SMALL, color=GREY, **place)
    _ring(rows, ax, "(a)")
    ax.set(xscale="log", yscale="log", xlabel="latent dimension N", ylabel="nats per image")
    low, high = rows["value"].min() * 0.87, rows["value"].max() * 1.12
    _label(ax.yaxis, [tick for tick in (20, 30, 50, 70, 100, 150, 200, 300, 500, 1000) if low <= tick <= high])
    ax.set_ylim(low, high)
    _label(ax.xaxis, _DIMS)
    _band(rows, ax)
    ax.legend(loc="upper right", bbox_to_anchor=(1.02, 0.93), **_LEGEND)


def _length(rows: pd.DataFrame, ax: Axes) -> None:
    """The description length near its plateau, which is drawn with the margin above it."""
    levels = {row["series"]: row["value"] for row in rows[rows["x"].isna()].to_dict("records")}
    looks = {"negative ELBO": LOOKS["vae"], "importance-weighted": Look("#56B4E9", (0, (5, 2)), "s")}
    for name, line in _lines(rows, ax, looks).items():
        line.set_label(name)
    plateau, margin = levels["plateau"], levels["margin"]
    ax.axhspan(plateau, plateau + margin, color="#E4E4E4", zorder=0.2, linewidth=0)
    ax.axhline(plateau, color=GREY, linestyle=(0, (1, 1.5)), linewidth=1.1, zorder=1)
    _ring(rows, ax, "(L)")
    ax.set(xscale="log", xlabel="latent dimension N", ylabel="nats per image")
    ax.set_ylim(
        min(plateau, rows["value"].where(rows["series"] != "margin").min()) - 2 * margin, plateau + SHOWN * margin
    )
    _label(ax.xaxis, _DIMS)
    _band(rows, ax)
    ax.legend(loc="upper right", **_LEGEND)


def _active(rows: pd.DataFrame, ax: Axes) -> None:
    dims = np.sort(rows["x"].unique())
    ax.plot(dims, dims, color=GREY, linestyle=(0, (1, 1.5)), linewidth=1.1, label="all N", zorder=1)
    for threshold, line in _lines(rows, ax, {"0.01": LOOKS["vae"], "0.1": Look("#56B4E9", (0, (5, 2)), "s")}).items():
        line.set_label(f"variance > {threshold}")
    _ring(rows, ax, "(c)")
    ax.set(xscale="log", yscale="log", xlabel="latent dimension N", ylabel="active units")
    _label(ax.xaxis, _DIMS)
    _label_log(ax, rows["value"], room=2.2)
    _band(rows, ax, horizontal=True)
    ax.legend(loc="lower right", **_LEGEND)


def _ring(rows: pd.DataFrame, ax: Axes, name: str) -> None:
    """A ring where a headline estimate is read, and its letter."""
    for row in rows[rows["series"] == name].to_dict("records"):
        at = (row["x"], row["value"])
        style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 8, "fontweight": "bold"}
        ax.plot(*at, "o", color=INK, markerfacecolor="none", markersize=9, markeredgewidth=1.2, zorder=5)
        ax.annotate(name, at, xytext=(0, 7), textcoords="offset points", **style)


def _training(rows: pd.DataFrame, ax: Axes) -> None:
    for key, line in _lines(rows, ax, {key: LINES[key] for key in sorted(set(rows["key"]))}, by="key").items():
        line.set(label=f"({key})", markevery=max(int((rows["key"] == key).sum()) // 6, 1))
    ax.axvspan(LAST_FIFTH, 1, color="#E4E4E4", zorder=0.2, linewidth=0, alpha=0.7)
    _band(rows, ax, horizontal=True)
    ax.set(yscale="log", xlim=(0, 1), xlabel="share of training", ylabel="estimate of N")
    _label(ax.xaxis, (0, 0.2, 0.4, 0.6, 0.8, 1))
    _label_log(ax, rows["value"], room=2.2)
    ax.legend(loc="upper center", ncols=4, columnspacing=0.8, **_LEGEND | {"handlelength": 1.7})


def _scale(rows: pd.DataFrame, ax: Axes) -> None:
    """Raw estimates as solid lines, corrected ones dashed in the same colour."""
    named = {series: re.subn(" corrected$", "", series) for series in sorted(set(rows["series"]))}
    found = {series: LINES.get(re.sub(r" \d+$", "", name), Look(GREY, "-", "*")) for series, (name, _) in named.items()}
    styles = {s: found[s]._replace(line=(0, (3, 1.5)) if corrected else "-") for s, (_, corrected) in named.items()}
    for series, line in _lines(rows, ax, styles).items():
        name, corrected = named[series]
        if corrected:
            line.set(markerfacecolor="white", markeredgecolor=line.get_color(), markeredgewidth=1)
        else:
            line.set_label(name)
    ax.plot([], [], color=INK, linestyle=(0, (3, 1.5)), linewidth=1.3, label="corrected")
    low, high = rows["value"].min(), rows["value"].max()
    ax.set_ylim(low - 0.15 * (high - low) - 0.2, high + 0.75 * (high - low) + 0.2)
    ax.set(xscale="log", xlabel=f"neighbours, among {rows['reason'].iloc[0]}", ylabel="dimension")
    _label(ax.xaxis, sorted(rows["x"].unique()))
    _band(rows, ax, horizontal=True)
    ax.legend(loc="upper center", ncols=2, columnspacing=1.0, **_LEGEND)


def _control(rows: pd.DataFrame, ax: Axes) -> None:
    """Returned against known; estimators side by side at each known dimension."""
    names, known = list(dict.fromkeys(rows["series"])), np.sort(rows["x"].unique())
    ax.plot([1, 64], [1, 64], color=GREY, linestyle=(0, (1, 1.5)), linewidth=1.1, zorder=1)
    for index, name in enumerate(names):
        look = LINES[re.sub(r" \d+$", "", name)]
        shift = 1.09 ** (index - (len(names) - 1) / 2)
        for row in rows[rows["series"] == name].to_dict("records"):
            x = row["x"] * shift
            if np.isfinite(row["low"]):
                ax.plot([x, x], [row["low"], row["high"]], color=look.color, linewidth=1.1)
            style: Any = {"color": look.color, "markersize": 4.8, "markerfacecoloralt": "white"}
            dataset = row["reason"]  # strokes of ten classes are hollow, what is made from MNIST is half filled
            fill = "left" if dataset.startswith("mnist") else "full" if dataset.endswith("-one") else "none"
            ax.plot(x, row["value"], look.marker, fillstyle=fill, **style)
        ax.plot([], [], look.marker, color=look.color, markersize=4.8, label=name if len(name) > 1 else f"({name})")
    ax.set(xscale="log", yscale="log", xlabel="known dimension", ylabel="returned")
    _label(ax.xaxis, known)
    _label_log(ax, pd.concat([rows["value"], rows["x"]]), room=2.6)
    ax.set_xlim(known.min() / 1.5, known.max() * 1.5)
    ax.legend(loc="upper left", bbox_to_anchor=(0.1, 1.03), **_LEGEND | {"handlelength": 0.8, "handletextpad": 0.3})


PANELS: dict[str, tuple[str, Callable[[pd.DataFrame, Axes], None]]] = {
    "nll": ("Test NLL", _nll),
    "length": ("Description length, VAE", _length),
    "active": ("Active units of the VAE", _active),
    "training": ("Estimates while training", _training),
    "control": ("Where the answer is known", _control),
    "scale": ("Intrinsic dimension: scale", _scale),
}
"""Title and drawing of the panels at the right, row by row."""


def _lines(rows: pd.DataFrame, ax: Axes, styles: Mapping[str, Look], by: str = "series") -> dict[str, Line2D]:
    return lines(rows[rows["x"].notna()], ax, styles, by=by, markersize=4.6, linewidth=1.4)


def _label(axis: Axis, ticks: Sequence[float] | np.ndarray) -> None:
    """Ticks at these values and no others."""
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(TICK)


def _label_log(ax: Axes, values: pd.Series, *, room: float) -> None:
    """Ticks 1, 3, 10, 30 ... over the range of the values on a logarithmic y axis, and room above for a legend."""
    values = values[values > 0] if (values > 0).any() else pd.Series([1.0])  # of counts all may be 0
    low, high = values.min() / 1.4, values.max()
    _label(ax.yaxis, [tick for tick in (0.3, 1, 3, 10, 30, 100, 300, 1000) if low <= tick <= high * 1.4])
    ax.set_ylim(low, high * room)
