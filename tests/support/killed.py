"""Runs the command `study` in a process that kills itself with SIGKILL at one chosen moment: for test_recovery.

    python tests/support/killed.py MOMENT COUNT launch SPEC ...

MOMENT is `step`, just before the COUNT-th training step of this process, or the pattern of a file name (a regular
expression): while the COUNT-th such file is written, when a part of it is on the disk.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    moment, count, *arguments = sys.argv[1:]
    if moment == "step":
        kill_before_step(int(count))
    else:
        kill_in_write(moment, int(count))
    sys.argv = ["study", *arguments]
    from study.cli.app import main as study

    study()


def kill_before_step(count: int) -> None:
    from trainables.pack import Pack

    left, step = [count], Pack.step

    def stepping(pack: Pack) -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        step(pack)

    Pack.step = stepping  # type: ignore[method-assign,assignment]


def kill_in_write(pattern: str, count: int) -> None:
    """Files reach the disk by `os.fsync`, under a temporary name that holds their own."""
    left, fsync = [count], os.fsync

    def syncing(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        left[0] -= bool(re.search(pattern, name) and name.endswith(".tmp"))
        if not left[0]:
            os.truncate(descriptor, os.fstat(descriptor).st_size * 2 // 3)
            fsync(descriptor)
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    patched: Any = syncing
    os.fsync = patched


if __name__ == "__main__":
    main()
