"""This process as the scheduler: one pack after another. Ray is never imported, but torch is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing

from study.run.display import Display
from study.run.launch import MAX_RETRIES, Job, give_up, label
from study.run.stop import Stop
from study.runfolder import TableError
from trainables import trial
from trainables.storage import StorageError

_LOG = logging.getLogger(__name__)


def run(job: Job, display: Display, tick: Callable[[], None], stop: Stop) -> None:
    """Runs the packs one after another; those that fail again and again are marked as failed."""
    for index in _indices(job):
        pack = job.packs[index]
        for attempt in range(MAX_RETRIES + 1):
            if stop.asked():
                return
            try:
                reports = trial.run(
                    pack,
                    job.data[pack[0].config.dataset],
                    job.replicates,
                    pauses=job.pauses(index),
                    **job.options,
                )
                with closing(reports):
                    for progress in reports:
                        display.report(index, progress)
                        if reason := job.hear(index, progress):
                            display.stopped(index, reason)
                            break
                        tick()
                        if stop.asked():
                            display.stopping(stop.reason)
                            return
                break
            except (StorageError, TableError):
                raise  # no other trial could write either, nor tables be made
            except Exception as error:  # noqa: BLE001 (whatever a trial raises is its own failure, and the study goes on)
                reason = f"{type(error).__name__}: {error}"
                _LOG.info("%s", label(pack), exc_info=True)
                if attempt == MAX_RETRIES:
                    give_up(job, index, reason, display)
                else:
                    display.say(f"{label(pack)}: {reason}; trying again")
        job.end(index)


def _indices(job: Job) -> Iterator[int]:
    """The packs that are there, then those that the search asks for as long as somebody asks."""
    yield from range(len(job.packs))
    while (index := job.ask()) is not None:
        yield index
