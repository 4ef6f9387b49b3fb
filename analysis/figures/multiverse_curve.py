"""The specification curve of the answer: (L), (U) and (a) in each setting that differs from the default one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.dimension import multiverse
from analysis.dimension.estimate import BAND
from analysis.dimension.multiverse import Setting
from analysis.dimension.panels import SHADE, mark
from analysis.figures.base import Drawn, FigureEntry, Skipped
from analysis.figures.style import theme

LEAST = 2
"""How many settings must be measured for a curve."""
_SHIFT = {"L": -0.22, "U": 0.0, "a": 0.22}
_TICKS = (3, 10, 30, 100, 300)


def drawn(settings: Sequence[Setting]) -> list[Drawn | Skipped]:
    """The figure, once at least LEAST settings are measured; else none."""
    if sum(setting.measured for setting in settings) < LEAST:
        return []
    entry = FigureEntry(
        "The answer, one setting at a time", curve_data, plot_curve, lambda _: multiverse.text(settings)
    )
    return [entry.draw("multiverse", settings)]


def curve_data(settings: Sequence[Setting]) -> pd.DataFrame:
    """A row for each measured setting and estimate: `setting, key, value, low, high, verdict`."""
    rows = [
        (setting.name, key, one.value, one.low, one.high, str(one.verdict))
        for setting in settings
        for key, one in setting.estimates.items()
        if np.isfinite(one.value)
    ]
    return pd.DataFrame(rows, columns=["setting", "key", "value", "low", "high", "verdict"])


@theme()
def plot_curve(frame: pd.DataFrame) -> Figure:
    """Draws `curve_data`: a line for each setting, an estimate each a little apart, the paper's band shaded."""
    names = list(dict.fromkeys(frame["setting"]))
    figure = Figure(figsize=(8.0, 1.2 + 0.42 * len(names)))
    ax = figure.add_axes((0.3, 0.16, 0.66, 0.8))
    ax.axvspan(*BAND, color=SHADE, zorder=0, linewidth=0)
    for row in frame.to_dict("records"):
        line = names.index(row["setting"]) + _SHIFT[row["key"]]
        mark(row, line, ax, width=1.4, size=6)
        ax.annotate(f"({row['key']})", (row["value"], line), xytext=(6, -3), textcoords="offset points", fontsize=7.5)
    ax.set(xscale="log", xlim=(2, 400), ylim=(len(names) - 0.5, -0.5), xlabel="latent dimensions N")
    ax.set_xticks(_TICKS, [f"{tick}" for tick in _TICKS])
    ax.xaxis.minorticks_off()
    ax.set_yticks(range(len(names)), names)
    return figure
