"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table: one line for the header, one for the rule below it, one for each row; pipes in cells are escaped."""
    names = list(header)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(str(cell).strip().replace("|", "\\|") for cell in line) + " |" for line in lines)
