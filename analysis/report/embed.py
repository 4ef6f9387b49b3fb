"""A figure as the report shows it: SVG that fits the page, caption, data, and the command that draws it."""

from __future__ import annotations

import base64
import gzip
import re
from dataclasses import dataclass

from markupsafe import Markup, escape

from analysis.figures.catalogue import Drawn


@dataclass(frozen=True)
class Shown:
    """A figure in the page. `data` is a URI of the CSV, which the reader saves as `file`."""

    id: str
    title: str
    caption: str
    svg: Markup
    data: str
    file: str
    command: str
    paper: str = ""


def show(drawn: Drawn, prefix: str, command: str, paper: str = "") -> Shown:
    """A drawn figure with ids of its own in the page.

    Args:
        drawn: The figure.
        prefix: Of its ids, for a page with several runs.
        command: That draws it again.
        paper: What the paper shows there, if it has such a figure.
    """
    name = f"{prefix}{drawn.name}"
    # An image is 1,568 hex digits in the CSV: such frames travel compressed, and pandas opens them as they are.
    pixels = "pixels" in drawn.frame
    text = drawn.csv().encode()
    data = _uri("application/gzip", gzip.compress(text, mtime=0)) if pixels else _uri("text/csv", text)
    file = f"{drawn.name}.csv{'.gz' * pixels}"
    return Shown(name, drawn.title, drawn.caption, _svg(drawn, prefix, name), data, file, command, paper)


def csv_link(text: str) -> str:
    """The URI of a CSV text."""
    return _uri("text/csv", text.encode())


def _svg(drawn: Drawn, prefix: str, name: str) -> Markup:
    """Its SVG without what only a file needs, as wide as the page allows, up to its own width."""
    svg = drawn.svg(prefix)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    label = str(escape(drawn.title or drawn.name))
    width = re.search(r'<svg[^>]*? width="([\d.]+)pt"', svg)
    svg = re.sub(r'(<svg[^>]*?) width="[\d.]+pt"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[\d.]+pt"', r"\1", svg, count=1)
    attributes = f'role="img" aria-label="{label}" aria-describedby="{name}-caption"'
    style = f'style="max-width: {float(width[1]) * 4 / 3:.0f}px"' if width else ""
    return Markup(svg.replace("<svg", f"<svg {attributes} {style}", 1))


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
