"""The console scripts `study` and `analysis`: a Ctrl-C ends them quietly, also while their modules are imported."""

from __future__ import annotations

import importlib
import sys

INTERRUPTED = 130


def study() -> None:
    """Runs the command `study`."""
    _run("study.cli.app")


def analysis() -> None:
    """Runs the command `analysis`."""
    _run("analysis.cli")


def _run(module: str) -> None:
    try:
        importlib.import_module(module).main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
