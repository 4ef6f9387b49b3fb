"""Prepares a figure for the page's script, which shows the values under the pointer and hides series.

The script reads the points from the SVG itself; it needs to know the axes' scales and which part belongs to which entry
of the legend.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, NullFormatter

POINTS_PER_INCH = 72
_ID = re.compile(r' id="[^"]*\b(axes|series|legend)-(\d+)(?:-\d+)?"')


def mark(figure: Figure) -> dict[str, Any]:
    """Gives ids to the axes, series and legend entries of a figure, for `marks`.

    Returns:
        `series`: the legend's texts; `axes`: for each its box in the SVG (left, top, right, bottom), and its x and y
        as name, lower and upper limit and scale; null where ticks have words. Empty without a legend or numbers.
    """
    entries: dict[tuple[str, str], int] = {}
    for legend in _legends(figure):
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=False):
            if handle is not None and (colour := _colour(handle)) is not None:
                number = entries.setdefault((colour, text.get_text()), len(entries))
                text.set_gid(f"legend-{number}")
    colours = [colour for colour, _ in entries]
    numbers = {colour: number for number, colour in enumerate(colours) if colours.count(colour) == 1}
    axes, parts = [], 0
    for place, ax in enumerate(figure.axes):
        ax.set_gid(f"axes-{place}")
        axes.append(_scales(ax, figure))
        for artist in [*ax.lines, *ax.collections]:
            colour = _colour(artist)
            if colour in numbers:
                artist.set_gid(f"series-{numbers[colour]}-{parts}")
                parts += 1
    if not parts or not any(one["x"] or one["y"] for one in axes):
        return {}
    return {"series": [text for _, text in entries], "axes": axes}


def marks(svg: str) -> str:
    """Turns the ids of `mark` into data attributes, which may occur more than once in a page."""
    return _ID.sub(r' data-\1="\2"', svg)


def _legends(figure: Figure) -> Iterator[Legend]:
    yield from figure.legends
    for ax in figure.axes:
        if (legend := ax.get_legend()) is not None:
            yield legend


def _colour(artist: Artist) -> str | None:
    """The one colour of a line or a collection; None where it has none or several."""
    if isinstance(artist, Line2D):
        colour: Any = artist.get_color()
        return to_hex(colour)
    if isinstance(artist, Collection):
        faces: Any = artist.get_facecolor()
        colours = {to_hex(face) for face in faces}
        return colours.pop() if len(colours) == 1 else None
    return None


def _scales(ax: Axes, figure: Figure) -> dict[str, Any]:
    width, height = (inches * POINTS_PER_INCH for inches in figure.get_size_inches())
    box = ax.get_position()
    sides = (box.x0 * width, (1 - box.y1) * height, box.x1 * width, (1 - box.y0) * height)
    return {
        "box": [round(side, 3) for side in sides],
        "x": _scale(ax.xaxis, ax.get_xlim(), ax.get_xscale(), ax.get_xlabel()),
        "y": _scale(ax.yaxis, ax.get_ylim(), ax.get_yscale(), ax.get_ylabel() or ax.get_title()),
    }


def _scale(axis: Axis, limits: tuple[float, float], kind: str, name: str) -> list[Any] | None:
    worded = isinstance(axis.get_major_formatter(), FixedFormatter | NullFormatter)
    if kind not in ("linear", "log") or worded or axis.get_converter() is not None:
        return None
    return [name, *(float(f"{limit:.6g}") for limit in limits), kind]
