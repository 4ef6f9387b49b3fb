"""Specification curves: a claim's effect in every reading of what the paper leaves out, sorted, over the choices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.architecture import NotApplicableError
from analysis.claims.decide import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED, Outcome
from analysis.claims.evaluate import Verdict
from analysis.figures import Drawn, drawn
from analysis.style import GREY, INK, theme

CHOICE = "choice/"
"""Prefix of the columns that hold a reading's choices."""
_NAMES = {
    "output": "output, linear",
    "other output": "output, other",
    "other network": "against",
    "init": "init",
    "grad_clip": "gradient clip",
    "l2": "L2",
    "weight_dropout": "weight dropout",
}
_MARKS = {CONFIRMED: ("#0072B2", "o"), REFUTED: ("#D55E00", "X"), INCONCLUSIVE: ("#8C8C8C", "s")}
_WIDTH, _TOP, _ROW = 9.6, 3.0, 0.19
"""Inches: the figure's width, the height of its upper panel and of a row of the lower one."""


def specification_data(verdict: Verdict) -> pd.DataFrame:
    """The tests of a claim's parts that have readings, by rising effect, one row each.

    Columns: `claim, order, part, contrast, value, unit, estimate, low, high, level, margin, beside, verdict, seeds,
    collapsed`, and `choice/<name>` for each choice that differs between the rows. `low` and `high` are NaN with one
    seed; `collapsed` counts replicates.

    Raises:
        NotApplicableError: Fewer than two readings were measured.
    """
    parts = {part.name for part in verdict.claim.parts if getattr(part, "readings", ())}
    found = [o for o in verdict.outcomes if o.part in parts and o.verdict != NOT_MEASURED]
    if len({outcome.departs for outcome in found}) < 2:
        raise NotApplicableError(f"fewer than two readings of {verdict.claim.id} have been measured")
    rows = pd.DataFrame([_row(verdict, outcome) for outcome in found])
    choices = _choices(rows)
    rows = rows.drop_duplicates(["value", *choices])
    rows = rows.drop(columns=[column for column in choices if rows[column].nunique() < 2])
    rows = rows.sort_values("estimate", kind="stable", ignore_index=True)
    return rows.assign(order=range(len(rows)))


def specification_caption(frame: pd.DataFrame) -> str:
    """How many readings there are, how they came out, and how to read the figure."""
    counts = frame["verdict"].value_counts()
    first = frame.iloc[0]
    verdicts = ", ".join(f"{counts[name]} {name}" for name in _MARKS if name in counts)
    seeds = sorted(set(frame["seeds"]))
    text = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0]} seed{'s' * (seeds[0] != 1)}"
    intervals = (
        "without intervals"
        if frame["low"].isna().all()
        else f"bars are {100 * first['level']:g} % t intervals where wider than a mark"
    )
    return (
        f"{first['claim']} in {len(frame)} specifications: {verdicts} (claimed: above {first['margin']:g}, the line). "
        f"Above: the effect in each, sorted, means over {text}, {intervals}; verdicts are by p values that are "
        "adjusted within a reading. Below: a black dot marks the choice that a specification makes; choices that never "
        "differ are left out."
    )


def drawn_specification(verdict: Verdict) -> Drawn | None:
    """The specification curve of a claim that turns on what the paper does not report; None of any other."""
    try:
        frame = specification_data(verdict)
    except NotApplicableError:
        return None
    name, title = f"readings_{verdict.claim.id.lower()}", verdict.claim.statement
    return drawn(name, title, specification_caption(frame), frame, plot_specification(frame))


@theme()
def plot_specification(frame: pd.DataFrame) -> Figure:
    """Draws `specification_data`: effects above, choices below."""
    rows = _choice_rows(frame)
    figure = Figure(figsize=(_WIDTH, _TOP + _ROW * len(rows) + 0.35), layout="constrained")
    ratios = [_TOP, _ROW * len(rows)]
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": ratios})
    _effects(upper, frame)
    _matrix(lower, frame, rows)
    upper.set_xlim(-0.8, len(frame) - 0.2)
    return figure


def _row(verdict: Verdict, outcome: Outcome) -> dict[str, Any]:
    names = ("part", "contrast", "value", "unit", "estimate", "low", "high", "level", "margin", "verdict")
    row = {"claim": verdict.claim.id, "order": 0} | {name: getattr(outcome, name) for name in names}
    row |= {end: np.nan if row[end] is None else row[end] for end in ("low", "high")}
    part = next(part for part in verdict.claim.parts if part.name == outcome.part)
    beside = ", ".join(f"{margin:g}" for margin in getattr(part, "beside", ()))
    row |= {"beside": beside, "seeds": len(outcome.seeds), "collapsed": outcome.trouble.collapsed}
    choices = {_NAMES[name]: _text(name, outcome.reading.get(name)) for name in _NAMES}
    choices |= {"loss": "above floor" if "above the floor" in outcome.value else "raw", "length": outcome.budget}
    return row | {f"{CHOICE}{name}": text for name, text in choices.items()}


def _text(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name in ("grad_clip", "l2", "weight_dropout"):
        sign = "±" if name == "grad_clip" else ""
        return f"{sign}{value:g}" if value else "off"
    return str(value)


def _choice_rows(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Each choice with each of its values, in the order of the rows of the lower panel."""
    return [(column, value) for column in _choices(frame) for value in sorted(frame[column].unique(), key=_rank)]


def _choices(frame: pd.DataFrame) -> list[str]:
    return [str(column) for column in frame if str(column).startswith(CHOICE)]


def _rank(text: str) -> tuple[float, str]:
    """Sorts a choice's values: off, then numbers by size, then words."""
    digits = text.split()[0].replace(",", "").lstrip("±")
    try:
        return (0.0 if text == "off" else float(digits)), text
    except ValueError:
        return np.inf, text


def _effects(ax: Axes, frame: pd.DataFrame) -> None:
    size = float(np.clip(300 / len(frame), 2.4, 5.5))
    for (name, hollow), rows in frame.groupby(["verdict", frame["collapsed"] > 0]):
        color, marker = _MARKS[str(name)]
        bars = rows.dropna(subset=["low", "high"])
        ax.vlines(bars["order"], bars["low"], bars["high"], color=color, linewidth=max(size / 3.5, 0.8), alpha=0.75)
        marks: dict[str, Any] = {"markersize": size, "markeredgewidth": size / 6}
        marks |= {"color": color, "markerfacecolor": "white" if hollow else color}
        ax.plot(rows["order"], rows["estimate"], marker, linestyle="", **marks)
    first = frame.iloc[0]
    levels = [float(first["margin"]), *(float(level) for level in first["beside"].split(", ") if level)]
    if first["unit"] == "log10":
        _label_ratios(ax, frame, levels)
    else:
        ax.set_yscale("symlog", linthresh=10)
        ax.yaxis.set_major_formatter("{x:,g}")
        ax.set_ylabel(f"difference in {first['value']},\n{first['unit']}")
    for index, level in enumerate(levels):
        ax.axhline(level, color=INK, linewidth=1.0, linestyle="-" if index == 0 else (0, (4, 3)), zorder=0.5)
    ax.axhline(0, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0.5)
    present = [name for name in _MARKS if (frame["verdict"] == name).any()]
    handles = [Line2D([], [], color=_MARKS[n][0], marker=_MARKS[n][1], linestyle="", label=n) for n in present]
    if (frame["collapsed"] > 0).any():
        label = "hollow: networks have collapsed"
        handles.append(Line2D([], [], color=INK, markerfacecolor="white", marker="o", linestyle="", label=label))
    ax.legend(handles=handles, loc="upper left", frameon=False, ncols=len(handles), handletextpad=0.2)
    ax.tick_params(axis="x", bottom=False, labelbottom=False)
    ax.grid(visible=False, axis="x")
    ax.spines[["top", "right", "bottom"]].set_visible(False)


def _label_ratios(ax: Axes, frame: pd.DataFrame, levels: list[float]) -> None:
    """A log10 axis in the words of the claim: a tick for each order of magnitude."""
    top = max(np.nanmax(frame[["estimate", "high"]].to_numpy(dtype=float)), *levels)
    low = min(np.nanmin(frame[["estimate", "low"]].to_numpy(dtype=float)), 0.0)
    ticks = range(int(np.floor(low)), int(np.ceil(top)) + 1)
    ax.set_yticks(list(ticks), ["equal" if tick == 0 else f"{10.0**tick:,g} times" for tick in ticks])
    ax.set_ylim(low - 0.1, top + 0.35)
    ax.set_ylabel("linear network's loss over the other's")


def _matrix(ax: Axes, frame: pd.DataFrame, rows: list[tuple[str, str]]) -> None:
    size = float(np.clip(260 / len(frame), 1.6, 5))
    groups = list(dict.fromkeys(column for column, _ in rows))
    for y, (column, value) in enumerate(rows):
        if groups.index(column) % 2 == 0:
            ax.axhspan(y - 0.5, y + 0.5, color="#F3F3F3", linewidth=0, zorder=0)
        chosen = frame[frame[column] == value]["order"]
        ax.plot(frame["order"], [y] * len(frame), "o", color="#DDDDDD", markersize=size, markeredgewidth=0)
        ax.plot(chosen, [y] * len(chosen), "o", color=INK, markersize=size, markeredgewidth=0)
    ax.set_yticks(range(len(rows)), [value for _, value in rows])
    for column in groups:
        places = [y for y, (name, _) in enumerate(rows) if name == column]
        ax.text(
            -0.105, float(np.mean(places)), column.removeprefix(CHOICE), transform=ax.get_yaxis_transform(),
            ha="right", va="center", color=INK, weight="bold", fontsize=8,
        )  # fmt: skip
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("specifications, by rising effect")
    ax.tick_params(axis="both", length=0)
    ax.tick_params(axis="x", labelbottom=False)
    ax.grid(visible=False)
    ax.spines[["top", "right", "bottom", "left"]].set_visible(False)
