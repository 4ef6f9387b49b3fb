"""Stops a launch: the first Ctrl-C or SIGTERM lets it save what was trained, the second one ends it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Stop:
    """A request to stop a launch, and its reason; as a context manager it listens to SIGINT and SIGTERM.

    The runners look at it about once a second. A second signal raises KeyboardInterrupt wherever the program is.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._error: Exception | None = None
        self._former: dict[int, Any] = {}

    def ask(self, reason: str) -> None:
        """Requests a clean end; the first reason counts."""
        self.reason = self.reason or reason

    def asked(self) -> bool:
        """Whether the launch is to stop."""
        return bool(self.reason)

    def fail(self, error: Exception) -> None:
        """From another thread: has the main thread raise the error, wherever it is, if this listens to SIGTERM."""
        if signal.SIGTERM in self._former:
            self._error = error
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            self._former = {n: former for n, former in handlers.items() if former != signal.SIG_IGN}  # as under nohup
            self.listen()
        return self

    def listen(self) -> None:
        """Handles the signals again, after a library has taken them over."""
        for number in self._former:
            signal.signal(number, self._heard)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self._error is not None:
            raise self._error
        if self.asked():
            raise KeyboardInterrupt
        self.ask(f"{signal.Signals(number).name} received")
