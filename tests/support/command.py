"""Runs a command as its console script does, in this process."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from study.cli.common import OUT


@dataclass(frozen=True)
class Called:
    """The exit code of a command, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


def call(main: Callable[[], None], arguments: Iterable[object], width: int = 200) -> Called:
    """Calls a command's entry point; OUT prints tables as wide as told."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        patch("sys.argv", ["command", *map(str, arguments)]),
        patch.object(OUT, "_width", width),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Called(code, out.getvalue(), err.getvalue())
