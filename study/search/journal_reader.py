"""Reads a search's journal without loading Optuna: `search.jsonl` in the run folder, and the batches beside it.

A line is an operation on Optuna's storage, as JSON. The last line of each batch carries a seal, a digest over the
batch and the seal before it. So a batch that a kill cut off is dropped, and an altered or missing line is noticed.
Journals of earlier versions have no seals; whoever continues one seals it as a whole.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.errors import ReadableError
from trainables.storage import Folder

JOURNAL = "search.jsonl"
"""Optuna's journal in the run folder."""
BATCHES = "search"
"""The folder of later batches, on object stores, which cannot append to a file."""
FIELDS = "fields"
"""The user attribute under which a trial's fields of TrialConfig are in the journal."""
_SEAL = re.compile(rb'(.*),"seal":"([0-9a-f]{8})([0-9a-f]{16})"}')


class JournalError(ReadableError):
    """A journal that cannot be read."""


class SearchError(ReadableError):
    """A search that cannot go on."""


@dataclass(frozen=True)
class Batches:
    """The whole batches of a journal."""

    logs: list[dict[str, Any]] = field(default_factory=list)
    """Optuna's operations."""
    lines: list[bytes] = field(default_factory=list)
    """The same as they are written, seals included."""
    seal: bytes = b""
    """The digest in the last seal; empty where there is none."""


def read_journal(run: Folder) -> Batches:
    """Reads the whole batches of a journal; none if there is no journal.

    Raises:
        JournalError: A line is not as it was written.
    """
    file = f"{run.url}/{JOURNAL}"
    try:
        batches = parse(run.read(JOURNAL), file)
    except FileNotFoundError:
        batches = Batches()
    folder = run.child(BATCHES)
    for name in folder.names():
        start = int(name.partition("-")[0])
        if start == len(batches.lines):  # the file holds earlier ones already
            batches = _continued(batches, folder.read(name), file)
    return batches


def read_asked(run: Folder) -> list[dict[str, Any]]:
    """Reads the fields of each trial drawn so far, in the order of their numbers. Raises JournalError."""
    logs = read_journal(run).logs
    fields = {log["trial_id"]: log["user_attr"][FIELDS] for log in logs if FIELDS in log.get("user_attr", {})}
    return [fields[trial] for trial in sorted(fields)]


def parse(content: bytes, file: str) -> Batches:
    """Reads the whole batches of a journal's bytes.

    Raises:
        JournalError: A line is not as it was written.
    """
    lines = content.split(b"\n")
    count, seal = _whole(lines, b"", file)
    if not seal:
        lines = [line for line in lines if line]
        count = len(lines)
    return Batches(
        [_operation(line, file, number) for number, line in enumerate(lines[:count], 1)], lines[:count], seal
    )


def sealed(lines: Sequence[bytes], seal: bytes) -> tuple[list[bytes], bytes]:
    """Returns the lines of a batch with their seal, and its digest, which follows from the seal before it."""
    salt = uuid.uuid4().hex[:8].encode()  # so that the batches of two drivers never continue each other
    digest = _digest(lines, seal, salt)
    return [*lines[:-1], lines[-1][:-1] + b',"seal":"' + salt + digest + b'"}'], digest


def _whole(lines: Sequence[bytes], seal: bytes, file: str) -> tuple[int, bytes]:
    """Returns how many of the lines belong to whole batches after this seal, and the last seal of those."""
    end = 0
    for number, line in enumerate(lines, start=1):
        mark = _SEAL.fullmatch(line)
        if mark is None:
            continue
        if _digest([*lines[end : number - 1], mark[1] + b"}"], seal, mark[2]) != mark[3]:
            raise JournalError(f"{file} is damaged in lines {end + 1} to {number}: they do not match their digest.")
        seal, end = mark[3], number
    return end, seal


def _continued(batches: Batches, content: bytes, file: str) -> Batches:
    """Adds a batch that lies beside the journal; leaves out one that does not continue it."""
    lines = content.split(b"\n")
    try:
        count, seal = _whole(lines, batches.seal, file)
    except JournalError:  # a driver wrote it that had lost its lock
        return batches
    logs = [_operation(line, file, number) for number, line in enumerate(lines[:count], len(batches.lines) + 1)]
    return Batches(batches.logs + logs, batches.lines + lines[:count], seal)


def _digest(lines: Sequence[bytes], seal: bytes, salt: bytes) -> bytes:
    return hashlib.sha256(b"\n".join([seal, salt, *lines])).hexdigest()[:16].encode()


def _operation(line: bytes, file: str, number: int) -> dict[str, Any]:
    try:
        operation = json.loads(line)
    except ValueError as error:
        raise JournalError(f"{file} is damaged in line {number}: {error}.") from None
    if not isinstance(operation, dict):
        raise JournalError(f"{file} is damaged in line {number}: it is no operation.")
    operation.pop("seal", None)
    return operation
