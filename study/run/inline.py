"""This process as the scheduler: it runs one pack after another. Ray is never imported, but torch is."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from types import FrameType

from study.run.deadlines import TICK_S, Deadlines, HungError
from study.run.display import Display
from study.run.job import MAX_RETRIES, Job
from study.run.stop import Stop
from trainables import trial
from trainables.records import Progress
from trainables.storage import StorageError


def run(job: Job, display: Display, tick: Callable[[], None], stop: Stop) -> None:
    """Runs the packs one after another; marks a pack as failed when its retries are used up."""
    for pack in _packs(job):
        for attempt in range(MAX_RETRIES + 1):
            if stop.asked():
                return
            try:
                _train(job, pack, display, tick, stop)
                break
            except _TrialError as error:
                if attempt == MAX_RETRIES:
                    display.failed(pack, job.give_up(pack, error.reason, error.trace), error.reason)
                else:
                    display.say(f"{job.label(pack)}: {error.reason}; trying again")
        if stop.asked():
            return
        job.close(pack)


class _TrialError(Exception):
    """A trial's own failure: its reason in one line, and its traceback."""

    def __init__(self, error: Exception):
        self.reason = str(error) if isinstance(error, HungError) else f"{type(error).__name__}: {error}"
        self.trace = "".join(traceback.format_exception(error))


def _train(job: Job, pack: int, display: Display, tick: Callable[[], None], stop: Stop) -> None:
    """Trains a pack until it ends, the search stops it, or somebody stops the launch."""
    with closing(_reports(job, pack)) as reports:
        for progress in reports:
            display.report(pack, progress)
            if reason := job.report(pack, progress):
                display.stopped(pack, reason)
                return
            tick()
            if stop.asked():
                display.stopping(stop.reason)
                return


def _reports(job: Job, pack: int) -> Generator[Progress, None, None]:
    """Yields a pack's reports.

    Raises:
        _TrialError: The trial fails or hangs.
        StorageError: The run folder cannot be used, by no other trial either.
    """
    members = job.packs[pack]
    data = job.data[members[0].config.dataset]
    try:
        with closing(trial.run(members, data, job.replicates, pauses=job.pauses(pack), **job.settings)) as reports:
            yield from _Alarm(pack).watched(reports)
    except StorageError:
        raise
    except Exception as error:  # whatever a trial raises is its own failure, and the study goes on
        raise _TrialError(error) from error


class _Alarm:
    """Raises HungError in a trial that hangs: in the main thread, where alone Python can interrupt it."""

    def __init__(self, pack: int):
        self._pack, self._deadlines, self._armed = pack, Deadlines(), False

    def watched(self, reports: Iterator[Progress]) -> Generator[Progress, None, None]:
        """Yields the reports, and watches the trial while it works on the next one."""
        if threading.current_thread() is not threading.main_thread():
            yield from reports
            return
        self._deadlines.begin(self._pack)
        former = signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)
        try:
            while (progress := self._next(reports)) is not None:
                self._deadlines.report(self._pack, members=progress.members, ended=len(progress.ended))
                yield progress
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)

    def _next(self, reports: Iterator[Progress]) -> Progress | None:
        self._deadlines.resume(self._pack)
        self._armed = True
        try:
            return next(reports, None)
        finally:
            self._armed = False

    def _look(self, number: int, frame: FrameType | None) -> None:
        if self._armed and (reason := self._deadlines.hung().get(self._pack)):
            self._armed = False  # the trial may take its time to end
            raise HungError(reason)


def _packs(job: Job) -> Iterator[int]:
    """Yields the index of each pack, then of those that the search adds."""
    yield from range(len(job.packs))
    while (pack := job.next_pack()) is not None:
        yield pack
