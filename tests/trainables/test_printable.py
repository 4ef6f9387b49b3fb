"""Text that a user wrote reaches a terminal or a page without its control characters."""

from __future__ import annotations

import pytest

from trainables.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\u202eb", r"a\u202eb"),
        ("half \ud800", r"half \ud800"),
        ("null\x00", r"null\x00"),
    ],
)
def test_printable_unsafe_character_becomes_its_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_printable_plain_text_with_tabs_and_lines_stays() -> None:
    assert printable("β = 1\tN\nü") == "β = 1\tN\nü"
