"""The forest plot of all claims: a row for each, on one axis that counts in margins of the claim."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.claims.decide import Outcome
from analysis.claims.evaluate import Judgement
from analysis.claims.ledger import Control, Dimension, EquivalencePart
from analysis.claims.wording import cell_text, interval
from analysis.dimension.estimate import BAND
from analysis.dimension.estimate_table import known_dimension
from analysis.dimension.panels import VERDICTS
from analysis.figures.base import Drawn, FigureEntry, NotApplicableError, Skipped
from analysis.figures.style import BAD, GOOD, GREY, INK, theme
from analysis.formats import number, with_interval
from analysis.verdict import Verdict

COLUMNS = (
    "claim statement claim_verdict not_measured shown part contrast at verdict claimed estimate low high unit margin "
    "margins margins_low margins_high"
).split()
_WIDTH, _ROW, _WRAP = 11.4, 0.43, 62
"""Inches: the figure's width, the height of a row; characters in a line of a claim."""
_AXIS, _RIGHT = (0.39, 0.28), 0.69
"""The axis's left end and width, and the left end of the numbers, in widths of the figure."""
_TICKS = (-1000, -100, -10, -1, 0, 1, 10, 100, 1000)
_COLORS = {Verdict.CONFIRMED: GOOD, Verdict.REFUTED: BAD, Verdict.PARTLY_REFUTED: BAD}


def forest_data(judgements: Sequence[Judgement]) -> pd.DataFrame:
    """A row for each measured test that decides a claim; a claim without one has a row without numbers.

    Columns COLUMNS. `margins`: the distance of the effect from the margin in margins, above 0 on the claim's side, with
    the ends of its interval. `shown`: the test of a claim that speaks least for it, which is drawn with its interval.
    `not_measured`: how many tests that would decide the claim these runs do not hold.

    Raises:
        NotApplicableError: No claim was measured.
    """
    rows = [row for judgement in judgements for row in _rows(judgement)]
    if all(row["claim_verdict"] == Verdict.NOT_MEASURED for row in rows):
        raise NotApplicableError("these runs measure none of the claims")
    return pd.DataFrame(rows, columns=COLUMNS)


def forest_caption(_: pd.DataFrame) -> str:
    """The scale of the axis, and which test a row shows."""
    return (
        "All claims on one axis, each in margins of its own: an effect's distance from the margin, divided by the "
        "margin. Right of 0 lies what the paper claims; beyond -1 and 1 the axis is logarithmic. Of a claim of "
        "equality the distance counts from the nearer margin, and cannot exceed 1; of 10 < N < 100 it counts in log "
        "N; of a margin of 0, in halves of the interval. Each row shows the test that speaks least for its claim, "
        "with its 95 % interval over seeds (90 % where equality is claimed), and its effect in words; small marks are "
        "the claim's other tests. Blue circles: the test confirms; orange diamonds: it refutes; open circles: it does "
        "not decide. The verdict is on all tests of a claim together."
    )


def draw_forest(judgements: Sequence[Judgement]) -> Drawn | Skipped:
    """Draws the forest plot with its data and caption."""
    entry = FigureEntry("The paper's claims at a glance", forest_data, plot_forest, forest_caption)
    return entry.draw("claims_forest", judgements)


@theme()
def plot_forest(frame: pd.DataFrame) -> Figure:
    """Draws `forest_data`: the claim in words, its tests on the axis, the verdict with the shown test's numbers."""
    claims = list(dict.fromkeys(frame["claim"]))
    height = _ROW * len(claims) + 0.95
    figure = Figure(figsize=(_WIDTH, height))
    ax = figure.add_axes((_AXIS[0], 0.55 / height, _AXIS[1], 1 - 0.95 / height))
    _scale(ax, frame)
    for line, claim in enumerate(claims):
        rows = frame[frame["claim"] == claim]
        if line % 2:
            ax.axhspan(line - 0.5, line + 0.5, color="#F3F3F3", linewidth=0, zorder=0)
        _words(ax, line, rows.sort_values("shown").iloc[-1])
        _marks(ax, line, rows[rows["margins"].notna()])
    ax.axvline(0, color=INK, linewidth=1)
    ax.set(ylim=(len(claims) - 0.5, -0.5), xlabel="distance from the margin, in margins")
    for x, text in ((0.02, "← against the claim"), (0.98, "for the claim →")):
        where: dict[str, Any] = {"ha": "left" if x < 0.5 else "right", "va": "bottom", "fontsize": 8.5, "color": GREY}
        ax.text(x, 1 + 0.06 / height, text, transform=ax.transAxes, **where)
    ax.set_yticks([])
    ax.grid(visible=False, axis="y")
    ax.spines[["left", "top", "right"]].set_visible(False)
    return figure


def _rows(judgement: Judgement) -> Iterator[dict[str, Any]]:
    claim = judgement.claim
    missing = sum(not outcome.measured for outcome in judgement.deciding)
    whole = {
        "claim": claim.id,
        "statement": claim.statement,
        "claim_verdict": judgement.verdict,
        "not_measured": missing,
    }
    tests = [_test(outcome) for outcome in judgement.deciding if outcome.measured and outcome.estimate is not None]
    if not tests:
        yield whole | {"shown": False}
    least = min((test["margins"] for test in tests), default=math.nan)
    shown = next((place for place, test in enumerate(tests) if test["margins"] == least), None)
    for place, test in enumerate(tests):
        yield whole | {"shown": place == shown} | test


def _test(outcome: Outcome) -> dict[str, Any]:
    estimate = float(outcome.estimate or 0.0)
    low, high = (math.nan if end is None else float(end) for end in interval(outcome))
    place, *ends = _in_margins(outcome, np.array([estimate, low, high]))
    return {
        "part": outcome.part.name,
        "contrast": outcome.sample.contrast or outcome.sample.value,
        "at": cell_text(outcome.sample.at),
        "verdict": outcome.verdict,
        "claimed": outcome.rule,
        "estimate": estimate,
        "low": low,
        "high": high,
        "unit": outcome.part.unit,
        "margin": outcome.margin,
        "margins": float(place),
        "margins_low": float(min(ends)),
        "margins_high": float(max(ends)),
    }


def _in_margins(outcome: Outcome, values: np.ndarray) -> np.ndarray:
    """Distances from the margin in margins, above 0 on the claim's side, of an effect and the ends of its interval."""
    part = outcome.part
    if isinstance(part, Control | Dimension | EquivalencePart):
        if isinstance(part, Dimension):
            low, high = np.log(BAND)
            values, centre, margin = np.log(np.maximum(values, 1e-3)), (low + high) / 2, (high - low) / 2
        elif isinstance(part, Control):
            centre, margin = float(known_dimension(part.dataset) or 0), part.tolerance
        else:
            centre, margin = 0.0, part.margin
        places = 1 - np.abs(values - centre) / margin
        across = values[1] < centre < values[2]
        return np.array([places[0], places[1:].min(), 1.0]) if across else places
    margin = float(outcome.margin or 0)
    half = float(values[2] - values[1]) / 2
    unit = abs(margin) or (half if math.isfinite(half) and half > 0 else abs(float(values[0])) or 1.0)
    side = 1 if getattr(part, "direction", "greater") == "greater" else -1
    return side * (values - margin) / unit


def _scale(ax: Axes, frame: pd.DataFrame) -> None:
    """Makes the axis linear from -1 to 1 and logarithmic beyond, as far as the estimates lie."""
    places = frame["margins"].dropna()
    low, high = min(-3.0, places.min() * 2), max(3.0, places.max() * 2)
    ax.set_xscale("symlog", linthresh=1, linscale=0.8)
    ax.set_xlim(low, high)
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())


def _words(ax: Axes, line: int, row: pd.Series[Any]) -> None:
    """Writes the claim to the left, and to the right its verdict and the numbers of the test that is shown."""
    left = -_AXIS[0] / _AXIS[1] + 0.02
    right = (_RIGHT - _AXIS[0]) / _AXIS[1]
    style: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center"}
    ax.text(left, line, row["claim"], fontsize=9.5, weight="bold", url=f"#claim-{row['claim'].lower()}", **style)
    ax.text(left + 0.115, line, textwrap.fill(row["statement"], _WRAP), fontsize=8.5, linespacing=1.1, **style)
    color = _COLORS.get(row["claim_verdict"], GREY)
    ax.text(right, line - 0.2, row["claim_verdict"], fontsize=9, weight="bold", color=color, **style)
    if row["claim_verdict"] == Verdict.NOT_MEASURED:
        return
    missing = f"; {row['not_measured']} not measured" if row["not_measured"] else ""
    ax.text(right + 0.41, line - 0.2, f"claimed {row['claimed']}{missing}", fontsize=8, color=GREY, **style)


def _marks(ax: Axes, line: int, rows: pd.DataFrame) -> None:
    limits = ax.get_xlim()
    for row in rows.sort_values("shown").to_dict("records"):
        color, face, marker, _ = VERDICTS[row["verdict"]]
        size = 7 if row["shown"] else 3.5
        if row["shown"] and not math.isnan(row["margins_low"]):
            ends = np.clip([row["margins_low"], row["margins_high"]], *limits)
            ax.plot(ends, [line, line], color=color, linewidth=1.8, solid_capstyle="butt")
        ax.plot(row["margins"], line, marker, color=color, markerfacecolor=face, markersize=size, zorder=3)
        if row["shown"]:
            right = (_RIGHT - _AXIS[0]) / _AXIS[1]
            style: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center", "color": GREY}
            text = with_interval(row["estimate"], row["low"], row["high"], number)
            ax.text(right, line + 0.2, f"{text} {row['unit']}", fontsize=8, **style)
