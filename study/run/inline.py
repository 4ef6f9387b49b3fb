"""This process as the scheduler: it runs one pack after another. Ray is never imported, but torch is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing

from study.run.display import Display
from study.run.job import MAX_RETRIES, Job
from study.run.stop import Stop
from study.runfolder import TableError
from trainables import trial
from trainables.storage import StorageError

_LOG = logging.getLogger(__name__)


def run(job: Job, display: Display, tick: Callable[[], None], stop: Stop) -> None:
    """Runs the packs one after another; marks a pack as failed when its retries are used up."""
    for pack in _packs(job):
        for attempt in range(MAX_RETRIES + 1):
            if stop.asked():
                return
            try:
                _train(job, pack, display, tick, stop)
                break
            except (StorageError, TableError):
                raise  # no other trial could write either, nor tables be made
            except Exception as error:  # noqa: BLE001 (whatever a trial raises is its own failure, and the study goes on)
                reason = f"{type(error).__name__}: {error}"
                _LOG.info("%s", job.label(pack), exc_info=True)
                if attempt == MAX_RETRIES:
                    display.failed(pack, job.give_up(pack, reason), reason)
                else:
                    display.say(f"{job.label(pack)}: {reason}; trying again")
        if stop.asked():
            return
        job.close(pack)


def _train(job: Job, pack: int, display: Display, tick: Callable[[], None], stop: Stop) -> None:
    """Trains a pack until it ends, the search stops it, or somebody stops the launch."""
    members = job.packs[pack]
    data = job.data[members[0].config.dataset]
    with closing(trial.run(members, data, job.replicates, pauses=job.pauses(pack), **job.settings)) as reports:
        for progress in reports:
            display.report(pack, progress)
            if reason := job.report(pack, progress):
                display.stopped(pack, reason)
                return
            tick()
            if stop.asked():
                display.stopping(stop.reason)
                return


def _packs(job: Job) -> Iterator[int]:
    """Yields the index of each pack, then of those that the search adds."""
    yield from range(len(job.packs))
    while (pack := job.next_pack()) is not None:
        yield pack
