"""Stops a launch: the first Ctrl-C or SIGTERM lets it save what was trained, the second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

GRACE_S = 8.0
"""How many seconds a launch has to end after SIGTERM; then the process ends, whatever it waits for."""
_LATE = b"SIGTERM: ended at once. Launch again to go on from the newest checkpoints.\n"


class Stop:
    """A request to stop a launch, and its reason; as a context manager it listens to SIGINT and SIGTERM.

    The runners look at it about once a second. A second signal raises KeyboardInterrupt wherever the program is.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._former: dict[int, Any] = {}
        self._over = threading.Event()

    def ask(self, reason: str) -> None:
        """Requests a clean end; the first reason counts."""
        self.reason = self.reason or reason

    def asked(self) -> bool:
        """Whether the launch is to stop."""
        return bool(self.reason)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            self._former = {n: former for n, former in handlers.items() if former != signal.SIG_IGN}  # as under nohup
            self.listen()
            self._watch()
        return self

    def listen(self) -> None:
        """Handles the signals again, after a library has taken them over."""
        for number in self._former:
            signal.signal(number, self._heard)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._former:
            signal.set_wakeup_fd(self._former_wakeup)
            os.close(self._signals)
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.asked():
            raise KeyboardInterrupt
        self.ask(f"{signal.Signals(number).name} received")

    def _watch(self) -> None:
        """Has a thread read the signals too: Python's handlers wait while the main thread is in a library's call."""
        reading, self._signals = os.pipe()
        os.set_blocking(self._signals, False)
        self._former_wakeup = signal.set_wakeup_fd(self._signals, warn_on_full_buffer=False)
        threading.Thread(target=self._end_in_time, args=(reading,), daemon=True).start()

    def _end_in_time(self, reading: int) -> None:
        with open(reading, "rb", buffering=0) as signals:
            while number := signals.read(1):
                if number[0] == signal.SIGTERM and not self._over.wait(GRACE_S):
                    os.write(2, _LATE)
                    os._exit(130)
