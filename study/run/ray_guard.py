"""Ends a launch with one line where Ray hangs or is lost.

The main thread may then be in a call of Ray's that never returns, or Ray may end the process without a word, as it does
at the first request to a raylet that is gone. So a thread of its own watches: the time that Ray takes to start and to
end, and afterwards the ports of Ray's processes. It keeps a connection to each, whose end it sees at once.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import sys
import threading
import time
from types import TracebackType
from typing import NoReturn, Self

from study.run.stop import Stop

PERIOD_S = 2.0
LOST_AFTER_S = 15.0
"""A process of Ray's that cannot be reached for this long is lost; one whose port is closed is lost at once."""
YIELDS_WITHIN_S = 6.0
"""Seconds after a signal in which the main thread may end by itself; then the guard ends the process."""
_NO_SIGNAL = b"\0"
"""Wakes the thread, where Python writes the numbers of signals."""
GO_ON = "The newest checkpoints are intact. Go on with the same command."


class Guard:
    """As a context manager: ends the process with one line if Ray hangs, is lost, or lets no signal through."""

    def __init__(self, stop: Stop):
        self._stop = stop
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="ray-guard", daemon=True)
        self._deadline: tuple[float, str] | None = None
        self._watched: dict[str, tuple[str, int]] = {}
        self._answered: dict[str, float] = {}
        self._connections: dict[str, socket.socket] = {}

    def expect(self, seconds: float, otherwise: str) -> None:
        """Ends the process with the line `otherwise` unless `watch` or the block's end comes within the seconds."""
        with self._lock:
            self._disconnect()
            self._watched, self._deadline = {}, (time.monotonic() + seconds, otherwise)

    def watch(self, processes: dict[str, tuple[str, int]]) -> None:
        """Ends the launch when one of Ray's processes is lost; takes each one's host and port, by its name."""
        with self._lock:
            self._answered = dict.fromkeys(processes, time.monotonic())
            self._watched, self._deadline = processes, None
        os.write(self._wake, _NO_SIGNAL)

    def __enter__(self) -> Self:
        self._signals, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._terminal = os.dup(2)  # while Ray starts, 2 is muted
        self._main = threading.current_thread() is threading.main_thread()
        self._former = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False) if self._main else -1
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        os.write(self._wake, _NO_SIGNAL)
        self._thread.join()
        if self._main:
            signal.set_wakeup_fd(self._former)
        self._disconnect()
        for file in (self._signals, self._wake, self._terminal):
            os.close(file)

    def _run(self) -> None:
        while not self._over.is_set():
            if self._signalled():
                if not self._over.wait(YIELDS_WITHIN_S) and (self._deadline or not self._stop.asked()):
                    self._end("Interrupted.", 130)
            elif self._deadline is not None and time.monotonic() > self._deadline[0]:
                self._end(f"Error: {self._deadline[1]}", 1)
            else:
                self._end_if_lost()

    def _signalled(self) -> bool:
        """Waits for a signal, the end of a connection or the period's end; returns whether a signal came."""
        events = select.poll()
        events.register(self._signals, select.POLLIN)
        with self._lock:
            for connection in self._connections.values():
                events.register(connection, getattr(select, "POLLRDHUP", 0))
        awake = {file for file, _ in events.poll(PERIOD_S * 1000)}
        return self._signals in awake and bool(os.read(self._signals, 64).strip(_NO_SIGNAL))

    def _end_if_lost(self) -> None:
        """Ends the process if one of Ray's is lost, before Ray does it without a word."""
        with self._lock:
            lost = next((name for name in self._watched if self._gone(name)), None)
            if lost is None:
                return
            if self._stop.asked():  # a batch system signals Ray's processes too
                self._end(f"Interrupted: {self._stop.reason}, and Ray's {lost} ended too. {GO_ON}", 130)
            self._end(f"Error: Ray's {lost} was lost. {GO_ON}", 1)

    def _gone(self, name: str) -> bool:
        """Connects anew to one of Ray's processes; returns whether it is gone."""
        if name in self._connections:
            self._connections.pop(name).close()
        try:
            self._connections[name] = socket.create_connection(self._watched[name], timeout=PERIOD_S)
        except OSError as error:
            return error.errno == errno.ECONNREFUSED or time.monotonic() - self._answered[name] > LOST_AFTER_S
        self._answered[name] = time.monotonic()
        return False

    def _disconnect(self) -> None:
        """Closes all connections to Ray's processes."""
        while self._connections:
            self._connections.popitem()[1].close()

    def _end(self, line: str, code: int) -> NoReturn:
        """Ends the process, whose main thread may be anywhere."""
        show_cursor = "\033[?25h" if sys.stderr.isatty() else ""
        os.write(self._terminal, f"{show_cursor}{line}\n".encode())
        os._exit(code)
