"""The framework of every figure: an entry names its frame, drawing and caption, and is drawn or skipped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import settle, to_png, to_svg
from study.table import TableError, to_csv
from trainables.printable import printable

_LOG = logging.getLogger(__name__)
T = TypeVar("T")


class NotApplicableError(ValueError):
    """A figure that its source cannot give; the text is the reason."""


@dataclass(frozen=True)
class Drawn:
    """A figure that was drawn, and the frame that it shows."""

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    figure: Figure

    def svg(self, prefix: str = "") -> str:
        """SVG text whose ids start with `prefix` and the figure's name."""
        return to_svg(self.figure, f"{prefix}{self.name}")

    def png(self) -> bytes:
        """PNG at 150 dots per inch."""
        return to_png(self.figure)

    def csv(self) -> str:
        """The frame; each image as hexadecimal digits, two a pixel."""
        frame = self.frame
        if "pixels" in frame:
            frame = frame.assign(pixels=[px.hex() if isinstance(px, bytes) else "" for px in frame["pixels"]])
        return to_csv(frame)


@dataclass(frozen=True)
class Skipped:
    """A figure that its source cannot give, and why."""

    name: str
    title: str
    reason: str


def attempt(name: str, title: str, make: Callable[[], T]) -> T | Skipped:
    """Makes a figure, or another part of a page; where that fails, says why, so that it costs nothing else."""
    try:
        return make()
    except (NotApplicableError, TableError) as reason:
        return Skipped(name, title, str(reason))
    except Exception as error:  # noqa: BLE001 (whatever the tables hold, the rest of the page comes)
        _LOG.warning("%s is left out: %s: %s", name, type(error).__name__, error)
        _LOG.debug("%s", name, exc_info=True)
        return Skipped(name, title, f"these tables do not allow it ({type(error).__name__}: {error})")


@dataclass(frozen=True)
class FigureEntry:
    """An entry that makes a figure from its source: a run's tables, those of several runs, or a claim's verdict.

    `data` gives the tidy frame or raises NotApplicableError, `plot` draws it, `caption` explains it. `paper` says what
    the paper shows there and reads from it, if the figure is one of its own.
    """

    title: str
    data: Callable[[Any], pd.DataFrame]
    plot: Callable[[pd.DataFrame], Axes | Figure]
    caption: Callable[[pd.DataFrame], str]
    paper: str = ""

    def draw(self, name: str, source: Any, *, note: str = "") -> Drawn | Skipped:
        """Draws the figure under this name; `note` is added to its caption."""
        return attempt(name, self.title, lambda: self._drawn(name, source, note))

    def _drawn(self, name: str, source: Any, note: str) -> Drawn:
        frame = _printable(self.data(source))
        figure = self.plot(frame).get_figure(root=True)
        if figure is None:
            raise RuntimeError("it must be drawn on axes of a figure, but these axes have none")
        settle(figure)
        return Drawn(name, self.title, self.caption(frame) + note, frame, figure)


def _printable(frame: pd.DataFrame) -> pd.DataFrame:
    texts = frame.select_dtypes(["object", "string"])
    safe = {
        str(name): texts[name].map(lambda value: printable(value) if isinstance(value, str) else value)
        for name in texts
    }
    return frame.assign(**safe)
