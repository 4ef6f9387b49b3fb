"""A figure or a table as the report's page shows it: SVG that fits the page, its data as a link, and its command."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from analysis.figures.base import Drawn, Skipped, T, attempt
from analysis.report.pictures import compact
from analysis.report.plot import mark, marks
from study.table import to_csv

PLAIN = 4096
"""Bytes up to which a figure's CSV goes into the page as it is; a larger one is compressed, and pandas opens both."""


@dataclass(frozen=True)
class Embedded:
    """A figure in the page. `data` is a URI of its CSV, which the reader saves as `file`."""

    id: str
    title: str
    caption: str
    svg: Markup
    data: str
    file: str
    command: str
    paper: str = ""
    plot: Mapping[str, Any] = field(default_factory=dict)
    """Axes and series for the page's script; empty where there are none. See `analysis.report.plot`."""


@dataclass(frozen=True)
class Figures:
    """The figures of a part of the page, and those that could not be drawn."""

    drawn: Sequence[Embedded] = ()
    skipped: Sequence[Skipped] = ()


class Parts:
    """Makes the parts of the page, and remembers those that could not be made."""

    def __init__(self) -> None:
        self.missing: list[Skipped] = []

    def add(self, title: str, make: Callable[[], T]) -> T | None:
        """Makes a part; None if these tables do not allow it."""
        part = attempt(title, title, make)
        if isinstance(part, Skipped):
            self.missing.append(part)
            return None
        return part


@dataclass(frozen=True)
class Grid:
    """A table of texts, and a note on it."""

    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""

    @classmethod
    def of(cls, frame: pd.DataFrame, note: str = "") -> Grid:
        """The texts of a frame."""
        return cls(list(frame.columns), [[str(value) for value in row] for row in frame.to_numpy(object)], note)


def embed(
    figures: Iterable[Drawn | Skipped],
    prefix: str,
    command: Callable[[str], str],
    papers: Mapping[str, str] | None = None,
) -> Figures:
    """Puts figures into a page.

    Args:
        figures: The figures, drawn or skipped.
        prefix: The beginning of their ids, for a page with several runs.
        command: The command that draws the figure of a name again.
        papers: By name, what the paper shows there, if it has such a figure.
    """
    every = list(figures)
    drawn = [
        _embedded(one, prefix, command(one.name), (papers or {}).get(one.name, ""))
        for one in every
        if isinstance(one, Drawn)
    ]
    return Figures(drawn, [one for one in every if isinstance(one, Skipped)])


def csv_link(text: str) -> str:
    """The URI of a CSV text."""
    return _uri("text/csv", text.encode())


def _embedded(drawn: Drawn, prefix: str, command: str, paper: str) -> Embedded:
    name = f"{prefix}{drawn.name}"
    frame = drawn.frame.drop(columns="pixels", errors="ignore")  # images.parquet holds them
    content, file = to_csv(frame).encode(), f"{drawn.name}.csv"
    data = _uri("text/csv", content)
    if len(content) > PLAIN:
        data, file = _uri("application/gzip", gzip.compress(content, mtime=0)), f"{file}.gz"
    plot = mark(drawn.figure)
    return Embedded(
        id=name,
        title=drawn.title,
        caption=drawn.caption,
        plot=plot,
        svg=_svg(drawn, prefix, name),
        data=data,
        file=file,
        command=command,
        paper=paper,
    )


def _svg(drawn: Drawn, prefix: str, name: str) -> Markup:
    """The figure's SVG for the page, as wide as the page allows, up to its own width."""
    svg = compact(marks(drawn.svg(prefix)))
    label = str(escape(drawn.title or drawn.name))
    width = re.search(r'<svg[^>]*? width="([\d.]+)pt"', svg)
    svg = re.sub(r'(<svg[^>]*?) width="[\d.]+pt"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[\d.]+pt"', r"\1", svg, count=1)
    role = "group" if "<a " in svg else "img"  # what a picture holds cannot be reached
    attributes = f'role="{role}" aria-label="{label}" aria-describedby="{name}-caption"'
    style = f'style="max-width: {float(width[1]) * 4 / 3:.0f}px"' if width else ""
    return Markup(svg.replace("<svg", f"<svg {attributes} {style}", 1))


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
