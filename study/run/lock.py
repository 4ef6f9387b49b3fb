"""One launch or merge at a time on a folder: a file lock where it is a path, on NFS too; else a heartbeat object.

Two launches at once would not harm the replicates, since each attempt's files are its own; they would do work twice. A
search's journal needs the lock: it has one writer.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from trainables.errors import ReadableError
from trainables.storage import Folder, StorageError

HEARTBEAT = ".launch-lock.json"
BEAT_S = 15.0
"""How many seconds lie between two beats."""
DEAD_AFTER_S = 60.0
"""How many seconds a heartbeat must stand still before another launch may take the folder over."""
SETTLE_S = 2.0
"""How many seconds a launch waits, after it took a folder, to see whether another one took it at the same moment."""
_IN_USE = "{} is in use by another `study launch` or `study table --to`: wait for it, or use another --run."
_LOG = logging.getLogger(__name__)


class RunError(ReadableError):
    """A run folder that cannot be used."""


class Lease:
    """The time for which a launch may write without looking at its heartbeat."""

    def __init__(self, run: Folder, me: str):
        self.run, self._me = run, me
        self._until = 0.0
        self.renew()

    def renew(self) -> None:
        """Begins anew, after the heartbeat was seen to be this launch's."""
        self._until = _clock() + DEAD_AFTER_S / 2

    def check(self) -> None:
        """Raises StorageError if the lease is over and the heartbeat is no longer this launch's."""
        if _clock() < self._until:
            return
        if _holder(self.run, "id") != self._me:
            raise StorageError(
                f"{self.run.url} was taken over by {_holder(self.run) or 'another launch'}. Launch again."
            )
        self.renew()


@dataclass(frozen=True)
class LeasedFolder(Folder):
    """A folder into which a launch writes no more once it has lost its lock. A worker gets it as a plain Folder."""

    lease: Lease = field(compare=False, repr=False)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file; see Folder."""
        self.lease.check()
        super().write(name, content)

    def delete(self, name: str) -> None:
        """Deletes a file; see Folder."""
        self.lease.check()
        super().delete(name)

    def __reduce__(self) -> tuple[type[Folder], tuple[str]]:
        return Folder, (self.location,)


@contextmanager
def held(run: Folder, lost: Callable[[str], None]) -> Iterator[Folder]:
    """Makes the run folder and holds it; yields the folder through which the launch reads and writes.

    `lost` gets the reason if another launch takes the folder over meanwhile. Raises RunError if another launch holds
    the folder, or it cannot be written.
    """
    try:
        run.create()
        probe = f".probe-{uuid.uuid4().hex[:8]}.tmp"
        run.write(probe, b"")
        run.delete(probe)
    except OSError as error:
        raise RunError(str(error)) from None
    with _file_lock(run, run.local) if run.local is not None else _heartbeat(run, lost) as folder:
        yield folder


@contextmanager
def _file_lock(run: Folder, path: Path) -> Iterator[Folder]:
    lock = FileLock(path / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(_IN_USE.format(run.url)) from None
    try:
        yield run
    finally:
        lock.release()


@contextmanager
def _heartbeat(run: Folder, lost: Callable[[str], None]) -> Iterator[Folder]:
    me = uuid.uuid4().hex
    if _free(run):
        run.write(HEARTBEAT, _beat(me, 0))
        time.sleep(SETTLE_S)  # of several launches at one moment, the last to write stays
    if _holder(run, "id") != me:
        raise RunError(f"{_IN_USE.format(run.url)} It is held by {_holder(run)}.")
    over, lease = threading.Event(), Lease(run, me)
    beating = threading.Thread(target=_keep, args=(lease, me, over, lost), daemon=True)
    beating.start()
    try:
        yield LeasedFolder(run.location, lease)
    finally:
        over.set()
        beating.join(BEAT_S)  # it may wait for a store that answers no more
        try:
            if _holder(run, "id") == me:
                run.delete(HEARTBEAT)
        except OSError as error:  # how the launch ended matters more
            _LOG.warning("%s: the lock could not be given back: %s", run.url, error)


def _free(run: Folder) -> bool:
    """Whether nobody holds the folder. A heartbeat in it is watched until it moves or has stood still for too long."""
    seen = _read(run)
    if seen is None:
        return True
    _LOG.warning("%s was left or is held by %s; waiting to see which.", run.url, _holder(run))
    watched = time.monotonic()
    while time.monotonic() - watched < DEAD_AFTER_S:
        time.sleep(min(1.0, DEAD_AFTER_S / 10))
        now = _read(run)
        if now != seen:
            return now is None
    return True


def _keep(lease: Lease, me: str, over: threading.Event, lost: Callable[[str], None]) -> None:
    run, count = lease.run, 0
    while not over.wait(BEAT_S):
        count += 1
        try:
            if _holder(run, "id") != me:
                lost(f"{run.url} was taken over by {_holder(run) or 'another launch'}")
                return
            run.write(HEARTBEAT, _beat(me, count))
            lease.renew()
        except OSError as error:
            _LOG.warning("%s: no heartbeat: %s", run.url, error)


def _clock() -> float:
    """Seconds that pass also while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _beat(me: str, count: int) -> bytes:
    return json.dumps({"id": me, "holder": f"process {os.getpid()} on {platform.node()}", "beat": count}).encode()


def _read(run: Folder) -> bytes | None:
    try:
        return run.read(HEARTBEAT)
    except FileNotFoundError:
        return None


def _holder(run: Folder, key: str = "holder") -> str:
    try:
        return str(json.loads(_read(run) or b"{}")[key])
    except (ValueError, KeyError, TypeError):
        return ""
