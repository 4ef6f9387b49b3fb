"""Commands in forks of one process that has loaded everything already, so that a launch takes a second."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from study.cli import scripts

HANG_S = 120.0


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative: the signal that killed it), what it printed, how long it took."""

    code: int
    output: str
    seconds: float


class Command:
    """A command of `study` or `analysis` in a fork, in a session of its own, its output in a file."""

    def __init__(self, words: list[str], log: Path, before: Callable[[], None] = lambda: None):
        self.words, self.log, self.started = words, log, time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(before)

    def _run(self, before: Callable[[], None]) -> None:
        code = 70
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            output = os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
            os.dup2(output, 1), os.dup2(output, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
            sys.argv = self.words
            before()
            code = _main(self.words[0])
        except BaseException:  # noqa: BLE001 (a traceback is what the soak looks for)
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return Path(f"/proc/{self.pid}").exists() and _state(self.pid) != "Z"

    @property
    def printed(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def send(self, *numbers: int) -> bool:
        """Sends signals to it; returns whether it was running."""
        if not self.running:
            return False
        for number in numbers:
            os.kill(self.pid, number)
        return True

    def wait(self) -> Ended:
        """Waits for its end; a command that takes longer than HANG_S is killed, with exit code -9 and the word HANG."""
        while self.running and time.monotonic() - self.started < HANG_S:
            time.sleep(0.005)
        hung = self.running
        if hung:
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        seconds = time.monotonic() - self.started
        return Ended(os.waitstatus_to_exitcode(status), self.printed + ("\nHANG" if hung else ""), seconds)


def _main(program: str) -> int:
    try:
        getattr(scripts, program)()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 0


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"
