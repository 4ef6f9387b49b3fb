"""Specification curves: a claim's effect in every reading of what the paper leaves out, sorted, over the choices."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.claims.decide import Outcome
from analysis.claims.evaluate import Judgement
from analysis.figures.base import Drawn, FigureEntry, NotApplicableError
from analysis.figures.style import GREY, INK, theme
from analysis.formats import ABSENT
from analysis.verdict import Verdict

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
_MARKS = {
    Verdict.CONFIRMED: ("#0072B2", "o"),
    Verdict.REFUTED: ("#D55E00", "X"),
    Verdict.INCONCLUSIVE: ("#8C8C8C", "s"),
}
_WIDTH, _TOP, _ROW = 9.6, 3.0, 0.19
"""Inches: the figure's width, the height of its upper panels and of a row of the lower ones."""
_PANEL = ["measure", "claimed", "unit"]
"""Columns that the tests of a panel share."""
_FLOOR = " above the floor"
_WIDE = 100
"""Largest effect that a linear axis shows beside those near the margin."""


def specification_data(judgement: Judgement) -> pd.DataFrame:
    """The tests of a claim's parts that have readings, one row each: by panel, then by rising effect.

    Columns: `claim, order, panel, part, contrast, value, measure, claimed, unit, estimate, low, high, level, margin,
    beside, verdict, seeds, collapsed`, and `choice/<name>` for each choice that differs between the rows. A panel has
    one measure, margin and unit. `low` and `high` are NaN with one seed, or where there is no limit; `collapsed` counts
    replicates. Tests that are left out are named in `attrs["not_drawn"]`.

    Raises:
        NotApplicableError: Fewer than two readings were measured.
    """
    with_readings = [outcome for outcome in judgement.outcomes if _has_readings(outcome)]
    if len({outcome.sample.departs for outcome in with_readings}) < 2:
        raise NotApplicableError(f"fewer than two readings of {judgement.claim.id} have been measured")
    rows = pd.DataFrame([_row(judgement, outcome) for outcome in with_readings])
    choices = _choices(rows)
    rows = rows.drop_duplicates([*_PANEL, "contrast", "value", *choices])
    rows = rows.drop(columns=[column for column in choices if rows[column].nunique() < 2])
    rows = rows.assign(panel=rows.groupby(_PANEL, sort=False).ngroup())
    rows = rows.sort_values(["panel", "estimate"], kind="stable", ignore_index=True).assign(order=range(len(rows)))
    others = Counter(o.part.name for o in judgement.outcomes if not _has_readings(o))
    rows.attrs["not_drawn"] = ", ".join(f"“{part}” ({count})" for part, count in others.items())
    return rows


def specification_caption(frame: pd.DataFrame) -> str:
    """The number of readings, their verdicts, the tests that are not drawn, and how to read the figure."""
    counts = frame["verdict"].value_counts()
    verdicts = ", ".join(f"{counts[name]} {name}" for name in _MARKS if name in counts)
    claimed = ", ".join(frame["claimed"].unique())
    seeds = sorted(set(frame["seeds"]))
    text = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0]} seed{'s' * (seeds[0] != 1)}"
    intervals = (
        "without intervals"
        if frame["low"].isna().all()
        else f"bars are {100 * frame['level'].iloc[0]:g} % t intervals where wider than a mark"
    )
    names = frame.attrs.get("not_drawn")
    missing = f" Tests not drawn, for they are not measured or have one reading: {names}." if names else ""
    return (
        f"{frame['claim'].iloc[0]} in {len(frame)} specifications: {verdicts} (claimed, the line: {claimed}). "
        f"Above: the effect in each, sorted, means over {text}, {intervals}; verdicts are by p values that are "
        "adjusted within a reading. Below: a black dot marks the choice that a specification makes; choices that never "
        f"differ are left out.{missing}"
    )


def drawn_specification(judgement: Judgement) -> Drawn | None:
    """The specification curve of a claim that turns on what the paper does not report; None of any other."""
    entry = FigureEntry(judgement.claim.statement, specification_data, plot_specification, specification_caption)
    figure = entry.draw(f"readings_{judgement.claim.id.lower()}", judgement)
    return figure if isinstance(figure, Drawn) else None


@theme()
def plot_specification(frame: pd.DataFrame) -> Figure:
    """Draws `specification_data`: effects above, a panel for each measure and margin; choices below."""
    choices = [(column, value) for column in _choices(frame) for value in sorted(frame[column].unique(), key=_rank)]
    panels = [rows for _, rows in frame.groupby("panel")]
    one_unit = frame["unit"].nunique() == 1
    figure = Figure(figsize=(_WIDTH, _TOP + _ROW * len(choices) + 0.8), layout="constrained")
    sizes = {"height_ratios": [_TOP, _ROW * len(choices)], "width_ratios": [len(rows) + 1 for rows in panels]}
    axes = figure.subplots(2, len(panels), sharey="row" if one_unit else False, squeeze=False, gridspec_kw=sizes)
    for index, (rows, upper, lower) in enumerate(zip(panels, *axes, strict=True)):
        _effects(upper, rows, frame[frame["unit"] == rows["unit"].iloc[0]])
        upper.set_title(_title(rows, 132 // len(panels)), loc="left", fontsize=8)
        _matrix(lower, rows, choices, named=index == 0)
        for ax in (upper, lower):
            ax.set_xlim(rows["order"].min() - 0.8, rows["order"].max() + 0.8)
        if one_unit:
            upper.label_outer()
    figure.supxlabel("specifications, by rising effect", fontsize=9)
    _legend(figure, frame)
    return figure


def _row(judgement: Judgement, outcome: Outcome) -> dict[str, Any]:
    part, sample = outcome.part, outcome.sample
    further = getattr(part, "beside", ())
    row = {"claim": judgement.claim.id, "order": 0, "part": part.name, "contrast": sample.contrast}
    row |= {"value": sample.value, "unit": part.unit, "estimate": outcome.estimate}
    ends = {"low": outcome.low, "high": outcome.high}
    row |= {end: x if x is not None and np.isfinite(x) else np.nan for end, x in ends.items()}
    row |= {"level": outcome.level, "margin": outcome.margin, "verdict": outcome.verdict}
    row |= {"measure": _measure(outcome), "claimed": _claimed(outcome, further)}
    row |= {"beside": ", ".join(f"{margin:g}" for margin in further)}
    row |= {"seeds": len(sample.seeds), "collapsed": sample.trouble.collapsed}
    choices = {_NAMES[name]: _text(name, sample.reading.get(name)) for name in _NAMES}
    choices |= {"loss": "above floor" if sample.value.endswith(_FLOOR) else "raw", "length": sample.budget_text}
    return row | {f"{CHOICE}{name}": text for name, text in choices.items()}


def _has_readings(outcome: Outcome) -> bool:
    return outcome.measured and bool(getattr(outcome.part, "readings", None))


def _measure(outcome: Outcome) -> str:
    """The quantity of the effect; the other network and the floor are choices."""
    value = outcome.sample.value.removesuffix(_FLOOR)
    return value if "other network" in outcome.sample.reading else f"{value}: {outcome.sample.contrast}"


def _claimed(outcome: Outcome, further: tuple[float, ...]) -> str:
    """The rule in words: "above 10 times; dashed: 100 times"."""
    sides = {">": "above ", "<": "below "}
    margins = [_amount(float(margin or 0), outcome.part.unit) for margin in (outcome.margin, *further)]
    text = sides.get(outcome.rule[:1], "within ±") + margins[0]
    return f"{text}; dashed: {', '.join(margins[1:])}" if further else text


def _amount(effect: float, unit: str) -> str:
    """An effect in words: a logarithm as the ratio that it stands for."""
    if unit != "log10":
        return f"{effect:g}"
    return f"{10**effect:,.3g} times" if effect else "equal"


def _title(rows: pd.DataFrame, width: int) -> str:
    """The part, if the panel is of one; what is measured, of which networks; what is claimed of it."""
    parts, contrasts, values = (list(rows[name].unique()) for name in ("part", "contrast", "value"))
    value = values[0] if len(values) == 1 else values[0].removesuffix(_FLOOR)
    what = contrasts[0] if len(contrasts) == 1 else re.sub("(over|minus) .*", r"\1 each", contrasts[0])
    claimed = rows["claimed"].iloc[0].partition(";")[0]
    texts = [*(parts if len(parts) == 1 else []), f"{value}: {what}", f"claimed: {claimed}"]
    return "\n".join(textwrap.fill(text, width) for text in texts)


def _text(name: str, value: Any) -> str:
    if value is None:
        return ABSENT
    if name in ("grad_clip", "l2", "weight_dropout"):
        sign = "±" if name == "grad_clip" else ""
        return f"{sign}{value:g}" if value else "off"
    return str(value)


def _choices(frame: pd.DataFrame) -> list[str]:
    return [str(column) for column in frame if str(column).startswith(CHOICE)]


def _rank(text: str) -> tuple[float, str]:
    """Sorts a choice's values: off, then numbers by size, then words."""
    digits = text.split()[0].replace(",", "").lstrip("±")
    try:
        return (0.0 if text == "off" else float(digits)), text
    except ValueError:
        return np.inf, text


def _effects(ax: Axes, rows: pd.DataFrame, alike: pd.DataFrame) -> None:
    """A panel's effects against its margins, on the axis of all that have its unit."""
    size = float(np.clip(300 / len(alike), 2.4, 5.5))
    for (name, hollow), group in rows.groupby(["verdict", rows["collapsed"] > 0]):
        color, marker = _MARKS[Verdict(str(name))]
        bars = group.dropna(subset=["low", "high"])
        ax.vlines(bars["order"], bars["low"], bars["high"], color=color, linewidth=max(size / 3.5, 0.8), alpha=0.75)
        marks: dict[str, Any] = {"markersize": size, "markeredgewidth": size / 6}
        marks |= {"color": color, "markerfacecolor": "white" if hollow else color}
        ax.plot(group["order"], group["estimate"], marker, linestyle="", **marks)
    _scale(ax, alike)
    for index, level in enumerate(_levels(rows.head(1))):
        ax.axhline(level, color=INK, linewidth=1.0, linestyle="-" if index == 0 else (0, (4, 3)), zorder=0.5)
    ax.axhline(0, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0.5)
    ax.tick_params(axis="x", bottom=False, labelbottom=False)
    ax.grid(visible=False, axis="x")
    ax.spines[["top", "right", "bottom"]].set_visible(False)


def _levels(rows: pd.DataFrame) -> list[float]:
    """The margins of these tests, and those beside."""
    beside = [float(level) for text in rows["beside"] for level in text.split(", ") if level]
    return [*map(float, rows["margin"]), *beside]


def _scale(ax: Axes, alike: pd.DataFrame) -> None:
    """A tick for each order of magnitude of a ratio, in the words of the claim; else the unit, linear if it can be."""
    effects = alike[["estimate", "low", "high"]].to_numpy(dtype=float)
    low, top = min(np.nanmin(effects), 0.0), max(np.nanmax(effects), *_levels(alike))
    if alike["unit"].iloc[0] == "log10":
        ticks = range(int(np.floor(low)), int(np.ceil(top)) + 1)
        ax.set_yticks(list(ticks), [_amount(tick, "log10") for tick in ticks])
        ax.set_ylim(low - 0.1, top + 0.1)
        ax.set_ylabel("ratio")
        return
    if max(top, -low) > _WIDE:
        ax.set_yscale("symlog", linthresh=_WIDE / 10)
    ax.yaxis.set_major_formatter("{x:,g}")
    ax.set_ylabel(alike["unit"].iloc[0])


def _legend(figure: Figure, frame: pd.DataFrame) -> None:
    present = [name for name in _MARKS if (frame["verdict"] == name).any()]
    handles = [Line2D([], [], color=_MARKS[n][0], marker=_MARKS[n][1], linestyle="", label=n) for n in present]
    if (frame["collapsed"] > 0).any():
        label = "hollow: networks have collapsed"
        handles.append(Line2D([], [], color=INK, markerfacecolor="white", marker="o", linestyle="", label=label))
    figure.legend(handles=handles, loc="outside upper center", frameon=False, ncols=len(handles), handletextpad=0.2)


def _matrix(ax: Axes, frame: pd.DataFrame, choices: list[tuple[str, str]], *, named: bool) -> None:
    size = float(np.clip(260 / len(frame), 1.6, 5))
    groups = list(dict.fromkeys(column for column, _ in choices))
    for y, (column, value) in enumerate(choices):
        if groups.index(column) % 2 == 0:
            ax.axhspan(y - 0.5, y + 0.5, color="#F3F3F3", linewidth=0, zorder=0)
        chosen = frame[frame[column] == value]["order"]
        ax.plot(frame["order"], [y] * len(frame), "o", color="#DDDDDD", markersize=size, markeredgewidth=0)
        ax.plot(chosen, [y] * len(chosen), "o", color=INK, markersize=size, markeredgewidth=0)
    ax.set_yticks(range(len(choices)), [value for _, value in choices])
    for column in groups if named else ():
        places = [y for y, (name, _) in enumerate(choices) if name == column]
        ax.annotate(
            column.removeprefix(CHOICE), (0, float(np.mean(places))), (-60, 0), ax.get_yaxis_transform(),
            textcoords="offset points", ha="right", va="center", weight="bold", fontsize=8,
        )  # fmt: skip
    ax.set_ylim(len(choices) - 0.5, -0.5)
    ax.tick_params(axis="both", length=0)
    ax.tick_params(axis="both", labelbottom=False, labelleft=named)
    ax.grid(visible=False)
    ax.spines[["top", "right", "bottom", "left"]].set_visible(False)
