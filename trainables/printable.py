"""Text that is safe to show: no control character of a table's reaches a terminal, an SVG or a page."""

from __future__ import annotations

import re

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Control characters but tabs and line ends, marks that change the direction of text, halves of a character."""


def printable(text: str) -> str:
    r"""The text with each unsafe character as its escape, such as \x1b."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
