"""Axes of values that span decades: when they are logarithmic, and their few round ticks."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter

from analysis.figures.style import TICK

TICKS = 4
"""How many labels fit under a logarithmic axis of a small panel, its 0 apart."""


def log_spaced(values: np.ndarray) -> bool:
    """Whether values lie more evenly on a logarithmic axis than on a linear one; 0 may be among them."""
    distinct = np.unique(values[np.isfinite(values)])
    positive = distinct[distinct > 0]
    if len(positive) < 3 or (distinct < 0).any() or positive[-1] < 8 * positive[0]:
        return False
    gaps = [np.diff(scale) for scale in (positive, np.log(positive))]
    linear, logarithmic = (float(gap.std() / gap.mean()) for gap in gaps)
    return logarithmic < linear


def log_ticks(values: np.ndarray, most: int = TICKS) -> list[float]:
    """Ticks of a logarithmic axis of these values, at most `most`: round ones if possible, and 0 if it is a value."""
    positive = values[values > 0]
    low, high = float(positive.min()), float(positive.max())
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for digits in ((1, 3), (1,)):
        round_ones = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
        ticks = [tick for tick in round_ones if low <= tick <= high]
        if len(ticks) <= most:
            break
    ticks = ticks[:: math.ceil(len(ticks) / most)] if len(ticks) > 1 else [float(f"{end:.2g}") for end in (low, high)]
    return [0.0] * bool((values == 0).any()) + ticks


def log_axis(ax: Axes, values: np.ndarray, along: Literal["x", "y"], most: int = TICKS) -> None:
    """Makes an axis logarithmic for these values, down to 0 if it is among them."""
    scale: dict[str, Any] = {"value": "log"}
    if (values == 0).any():
        scale = {"value": "symlog", "linthresh": float(values[values > 0].min()) / 2}
    (ax.set_xscale if along == "x" else ax.set_yscale)(**scale)
    axis = ax.xaxis if along == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator(log_ticks(values, most)))
    axis.set_major_formatter(TICK)
    axis.set_minor_formatter(NullFormatter())
