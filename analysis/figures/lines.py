"""Lines with bands and bars with intervals, drawn by seaborn from frames that already hold means and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figures.style import Look

INTERVAL: dict[str, Any] = {"estimator": "median", "errorbar": ("pi", 100)}
"""Seaborn's settings for `three_rows`: the middle one is drawn, from the lowest to the highest."""


def three_rows(frame: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
    """Rows `keys`, `at`: each value, and the ends of its interval, columns `low` and `high`, where it has one."""
    return frame[[*keys, "low", value, "high"]].melt(keys, value_name="at").dropna(subset="at")


def lines(
    frame: pd.DataFrame, ax: Axes, looks: Mapping[str, Look], *, by: str, x: str = "x", y: str = "value", **style: Any
) -> dict[str, Line2D]:
    """Draws a line for each value of the column `by`, with a marker at each point and the band of its intervals.

    Args:
        frame: A row a point: `x`, `y`, `by`, and `low` and `high`, which may be null.
        ax: The axes to draw on; their labels are left alone.
        looks: The look of each line by the value of `by`, in the order in which they are drawn.
        by: The column that separates the lines.
        x: The column of places.
        y: The column of values.
        **style: Properties of all lines.

    Returns:
        The lines by the value of `by`, for labels.
    """
    count, labels = len(ax.lines), (ax.get_xlabel(), ax.get_ylabel())
    names = [name for name in looks if (frame[by] == name).any()]
    dashes = {name: "" if looks[name].line == "-" else looks[name].line[1] for name in names}
    told_apart: dict[str, Any] = {"hue": by, "hue_order": names, "palette": {name: looks[name].color for name in names}}
    told_apart |= {"style": by, "style_order": names, "dashes": dashes}
    told_apart |= {"markers": {name: looks[name].marker for name in names}, "markeredgewidth": 0}
    band = INTERVAL | {"err_kws": {"alpha": 0.2, "linewidth": 0}}
    sns.lineplot(three_rows(frame, [x, by], y), x=x, y="at", legend=False, ax=ax, **told_apart | band | style)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    return dict(zip(names, ax.lines[count:], strict=True))
