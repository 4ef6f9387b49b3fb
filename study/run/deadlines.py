"""Notices packs that hang: a worker that is alive, but has not reported for far longer than it used to take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

TIMES = 20.0
"""How many times its longest time between two reports a pack may take for the next."""
LEAST_S = 120.0
"""How many seconds a pack may always take for a report."""
UNKNOWN_S = 3600.0
"""How many seconds a pack may take where it has not reported yet, or measures networks that have finished."""
TICK_S = 5.0
"""How many seconds lie at most between two looks of a driver that is awake; a sleep counts as this long."""


class HungError(RuntimeError):
    """A pack hangs."""


@dataclass
class _Wait:
    limit_s: float
    waited_s: float = 0.0
    longest_s: float = 0.0
    ended: int = 0


class Deadlines:
    """The time that each running pack has for its next report.

    A report comes about once a second while a pack trains, and later where a step, an evaluation or a checkpoint takes
    longer. So the deadline follows from the pack's own times. Only time counts in which the driver was awake itself.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._seen = clock()
        self._waits: dict[int, _Wait] = {}

    def begin(self, pack: int) -> None:
        """Begins to wait for a pack's first report."""
        self.hung()
        self._waits[pack] = _Wait(UNKNOWN_S)

    def report(self, pack: int, *, members: int, ended: int) -> None:
        """Takes note of a pack's report, which says how many of its members have ended."""
        self.hung()
        wait = self._waits.setdefault(pack, _Wait(UNKNOWN_S))
        wait.longest_s = max(wait.longest_s, wait.waited_s)
        wait.ended += ended
        wait.limit_s = UNKNOWN_S if wait.ended >= members else max(LEAST_S, TIMES * wait.longest_s)
        wait.waited_s = 0.0

    def resume(self, pack: int) -> None:
        """Waits anew, since the driver itself had kept the pack waiting."""
        self.hung()
        self._waits[pack].waited_s = 0.0

    def end(self, pack: int) -> None:
        """Waits no more for a pack."""
        self._waits.pop(pack, None)

    def hung(self) -> dict[int, str]:
        """Returns the packs that hang, and in words since when; the driver calls it every few seconds."""
        now = self._clock()
        passed, self._seen = min(now - self._seen, TICK_S), now
        for wait in self._waits.values():
            wait.waited_s += passed
        late = {pack: wait for pack, wait in self._waits.items() if wait.waited_s > wait.limit_s}
        return {
            pack: f"hangs: no report for {wait.waited_s:,.0f} s, after at most {wait.longest_s:,.1f} s before"
            for pack, wait in late.items()
        }
