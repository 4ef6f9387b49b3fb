"""Shows a person how far a study is while it runs: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from trainables.records import Progress as Report

_LOG = logging.getLogger(__name__)
LINE_EVERY_S = 15.0
"""How many seconds lie between two lines where there is no bar."""


class _Left(ProgressColumn):
    """The time left at the speed since the launch began."""

    def render(self, task: Task) -> Text:
        return Text(f"{duration(task.fields['left'])} left" if task.fields["left"] is not None else "", "cyan")


class Display:
    """Follows packs by their reports; use as a context manager.

    Args:
        name: Returns a pack's label, by its number.
        pending: How many replicates are to run.
        steps: Training steps of all of them, those done before this launch included.
        console: Gets a live bar if it is a terminal.
    """

    def __init__(self, name: Callable[[int], str], pending: int, steps: int, console: Console):
        self.name, self.pending, self.steps, self.console = name, pending, max(steps, 1), console
        self.ended: Counter[str] = Counter()
        self._over: Counter[int] = Counter()
        self._done = self._trained = 0  # steps; what a pack had trained before this launch is done, not trained
        self._at: dict[int, int] = {}
        self._whole: dict[int, int] = {}
        self._members: dict[int, int] = {}
        self._running: set[int] = set()
        self._started = self._printed = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(None), TextColumn("{task.percentage:>3.0f} %"))
            tail = (TextColumn("{task.fields[speed]}"), TimeElapsedColumn(), _Left())
            self._bar = Progress(*columns, *tail, console=self.console, expand=True)
            self._task = self._bar.add_task(self._counts(), total=self.steps, speed="", left=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def report(self, pack: int, report: Report) -> None:
        """Takes a pack's report."""
        at, self._whole[pack] = report.step * report.members, report.steps * report.members
        self._done += at - self._at.get(pack, 0)
        self._trained += at - self._at.get(pack, 0 if report.ended else at)
        self._at[pack], self._members[pack] = at, report.members
        self._running.add(pack)
        for status in report.ended.values():
            self.ended[status] += 1
        if report.ended:
            statuses = ", ".join(sorted(set(report.ended.values())))
            self.say(f"{self.name(pack)}: {statuses} at step {report.step:,}")
        self._over[pack] += len(report.ended)
        if self._over[pack] == report.members:
            self._running.discard(pack)
        self._draw(force=bool(report.ended))

    def failed(self, pack: int, members: int, reason: str) -> None:
        """Takes note that a pack has failed for good."""
        self.ended["failed"] += members
        self._running.discard(pack)
        self.say(f"{self.name(pack)}: failed: {reason} (`study status` names the traceback)")
        self._draw(force=True)

    def stopped(self, pack: int, reason: str) -> None:
        """Takes note that the search trains a pack no further, since it promises too little."""
        self.ended["stopped"] += self._members[pack] - self._over[pack]
        self.steps = max(self.steps - self._whole[pack] + self._at[pack], 1)
        self._running.discard(pack)
        self.say(f"{self.name(pack)}: {reason}")
        self._draw(force=True)

    def stopping(self, reason: str) -> None:
        """Says that the launch is stopping, and why."""
        self.say(f"{reason}: stopping, and saving what was trained. Ctrl-C (again) stops at once.")

    def say(self, line: str) -> None:
        """Prints a line above the bar, and logs it."""
        _LOG.info("%s", line)
        self.console.print(line, highlight=False, markup=False)

    def _draw(self, *, force: bool) -> None:
        now = time.monotonic()
        speed = self._trained / max(now - self._started, 1e-9)
        left = max(self.steps - self._done, 0) / speed if speed > 0 else None
        if self._bar is not None:
            shown = f"{speed:,.0f} steps/s"
            self._bar.update(
                self._task, total=self.steps, completed=self._done, description=self._counts(), speed=shown, left=left
            )
        elif force or now - self._printed > LINE_EVERY_S:
            self._printed = now
            ending = f", {duration(left)} left" if left is not None else ""
            self.say(f"[{duration(now - self._started)}] {self._counts()}, {speed:,.0f} steps/s{ending}")

    def _counts(self) -> str:
        done = sum(count for status, count in self.ended.items() if status != "failed")
        return f"{done}/{self.pending} done, {len(self._running)} running, {self.ended['failed']} failed"


def duration(seconds: float | None) -> str:
    """Writes seconds as `1:02:03` or `2:03`."""
    whole = int(seconds or 0)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
