"""Tables of a Markdown page as rows of text."""

from __future__ import annotations

import re


def table_rows(text: str) -> list[list[str]]:
    """Splits the rows of a page's tables into cells, without the first header and its rule."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines[2:]]
