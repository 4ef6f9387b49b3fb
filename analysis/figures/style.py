"""The look of figures: one colour, line and marker per network in every figure, a theme, and files that never change.

Figures are `matplotlib.figure.Figure` without pyplot state, so drawing needs no display and leaks nothing.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from trainables.printable import printable

INK = "#262626"
GREY = "#737373"
GRID = "#E6E6E6"
GOOD, BAD = "#0B5A94", "#A33F00"
"""The colours of words that confirm and refute: darker than those of marks, for they are read."""
PNG_DPI = 150


class Look(NamedTuple):
    """Colour, line style and marker: the line style and the marker keep a network apart in grey."""

    color: str
    line: Any
    marker: str


LOOKS: dict[str, Look] = {
    "linear": Look("#D55E00", "-", "o"),
    "linear clipped": Look("#E69F00", (0, (5, 2)), "s"),
    "sigmoid": Look("#CC79A7", (0, (6, 1.5, 1.5, 1.5)), "^"),
    "relu": Look("#009E73", (0, (4, 2)), "D"),
    "elu": Look("#0072B2", "-", "v"),
    "vae": Look("#1A1A1A", (0, (1.5, 1.2)), "P"),
    "pca": Look("#8C6D31", (0, (8, 3)), "X"),
    "tanh": Look("#56B4E9", (0, (3, 1.5)), "<"),
    "silu": Look("#6A3D9A", (0, (7, 2, 1, 2)), ">"),
    "gelu": Look("#A6761D", (0, (2, 1)), "h"),
    "leaky_relu": Look("#66A61E", (0, (5, 1, 1, 1, 1, 1)), "d"),
}
"""Okabe and Ito's palette for the paper's networks; the names are those of `analysis.cells.network`."""

_MARKERS = "osDv^PX<>hd*"
_LINES: tuple[Any, ...] = ((0, (5, 2)), (0, (1.5, 1.2)), "-", (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1)))
ALIKE = 8
"""How many cells of one network can be shades of its colour; more have the colours of a scale, from first to last."""
TICK = "{x:,.10g}"
"""The format of a tick's label: the tick's value, without the noise of binary fractions."""

DIGITS: tuple[str, ...] = tuple(sns.color_palette("colorblind", 10).as_hex())

_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.family": "sans-serif",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.7,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def look(network: str, *, rank: int = 0, count: int = 1) -> Look:
    """The network's look; of `count` cells with the same network, those of higher `rank` are lighter, marked apart.

    Cells beyond ALIKE have no shade of the network's colour but the colours of a scale, all with the network's line.
    """
    base = LOOKS.get(network) or LOOKS.get(network.split()[0], Look(GREY, (0, (3, 1)), "*"))
    line = base.line if network in LOOKS else (0, (3, 1, 1, 1))
    share = 0.6 * rank / max(count - 1, 1)
    marker = _MARKERS[(_MARKERS.index(base.marker) + rank) % len(_MARKERS)]
    if count > ALIKE:
        scale = sns.color_palette("viridis", as_cmap=True)  # without its ends, which a dark or a light page hides
        return Look(to_hex(scale(0.2 + 0.65 * rank / (count - 1))), line, marker)
    lines = [line, *(other for other in _LINES if other != line)]
    red, green, blue = ((1 - share) * part + share for part in to_rgb(base.color))  # the lighter, the higher the rank
    return Look(to_hex((red, green, blue)), lines[rank % len(lines)], marker)


def looks(cells: Sequence[tuple[str, str]]) -> dict[str, Look]:
    """A look for each `(cell, network)`; networks without one of their own, such as a plugin's, are shades of grey."""
    networks = [network if network.split()[0] in LOOKS else "other" for _, network in cells]
    ranks = [networks[:index].count(network) for index, network in enumerate(networks)]
    return {
        cell: look(network, rank=rank, count=networks.count(network))
        for (cell, _), network, rank in zip(cells, networks, ranks, strict=True)
    }


@contextmanager
def theme() -> Iterator[None]:
    """The look of what is drawn inside; also a decorator, `@theme()`."""
    with mpl.rc_context(sns.axes_style("whitegrid") | sns.plotting_context("paper", font_scale=0.91) | _RC):
        yield


def blank(width: float, height: float) -> Axes:
    """Axes without frame that fill a new figure of `width` x `height` inches."""
    axes = Figure(figsize=(width, height)).add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    return axes


def settle(figure: Figure) -> None:
    """Lays the figure out once and for all: each further layout would move it a little, and so change its files."""
    if engine := figure.get_layout_engine():
        with theme():
            engine.execute(figure)
        figure.set_layout_engine("none")


def to_svg(figure: Figure, name: str) -> str:
    """The figure as SVG text, the same for the same figure; `name` makes its ids its own among others in a page."""
    buffer = io.StringIO()
    with mpl.rc_context(_RC | {"svg.hashsalt": name}):
        # Not `savefig`, which draws a figure that has been laid out twice.
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = printable(buffer.getvalue())
    text = re.sub(r'\bid="', f'id="{name}-', text)
    return re.sub(r"(<use [^>]*?href=\"#|url\(#)", rf"\g<1>{name}-", text)  # a link leads out of the figure


def to_png(figure: Figure) -> bytes:
    """The figure as PNG, the same for the same figure."""
    buffer = io.BytesIO()
    with mpl.rc_context(_RC):
        figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()
