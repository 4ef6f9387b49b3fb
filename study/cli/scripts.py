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
    sys.unraisablehook = _report_unless_interrupted
    try:
        importlib.import_module(module).main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _report_unless_interrupted(error: sys.UnraisableHookArgs) -> None:
    """Reports an error that Python cannot raise, as one in a destructor, unless it is a Ctrl-C that landed there."""
    if not issubclass(error.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(error)
