"""The base of the project's errors that a user sees: each one's text is one readable line. Standard library only."""

from __future__ import annotations


class ReadableError(ValueError):
    """An error whose text is one line that names the rule or the file and what to do; shown without a traceback."""


class DataError(ReadableError):
    """A dataset is absent, incomplete, damaged or another one."""
