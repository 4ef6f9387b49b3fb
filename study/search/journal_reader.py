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
from dataclasses import dataclass, field, replace
from typing import Any

from trainables.errors import ReadableError
from trainables.storage import Folder

JOURNAL = "search.jsonl"
"""Optuna's journal in the run folder."""
BATCHES = "search"
"""The folder of later batches, on object stores, which cannot append to a file."""
FIELDS = "fields"
"""The user attribute under which a trial's fields of TrialConfig are in the journal."""
REMEDY = (
    "`study launch` with this study and --run makes it good: trials that it has lost are taken from their replicates, "
    "so nothing is trained again, but which trials come next may differ."
)
_BATCH = re.compile(r"(\d{12})-[0-9a-f]{16}\.jsonl")
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
    problem: str | None = None
    """The damage of the journal behind these batches; None if there is none."""


def read_journal(run: Folder, *, salvage: bool = False) -> Batches:
    """Reads the whole batches of a journal; none if there is no journal.

    Raises JournalError if a line is not as it was written; with `salvage` it returns the batches before that line.
    """
    try:
        batches = _parse(run.read(JOURNAL), f"{run.url}/{JOURNAL}")
    except FileNotFoundError:
        batches = Batches()
    folder = run.child(BATCHES)
    for name in batch_names(folder):
        if int(name.partition("-")[0]) == len(batches.lines):  # the file holds earlier ones already
            batches = _continued(batches, folder.read(name))
    if batches.problem is not None and not salvage:
        raise JournalError(f"{batches.problem} {REMEDY}")
    return batches


def batch_names(folder: Folder) -> list[str]:
    """Lists the batches beside a journal, the oldest first; other files that lie there are nobody's."""
    return list(filter(_BATCH.fullmatch, folder.names()))


def read_asked(run: Folder) -> list[dict[str, Any]]:
    """Reads the fields of each trial drawn so far, in the order of their numbers.

    Raises:
        JournalError: The journal is damaged, or absent though replicates were trained.
    """
    logs = read_journal(run).logs
    if not logs and run.child("replicates").names():
        raise JournalError(f"{run.url}/{JOURNAL} is absent or empty, though replicates were trained. {REMEDY}")
    fields = {log["trial_id"]: log["user_attr"][FIELDS] for log in logs if _has_fields(log)}
    return [fields[trial] for trial in sorted(fields)]


def sealed(lines: Sequence[bytes], seal: bytes) -> tuple[list[bytes], bytes]:
    """Returns the lines of a batch with their seal, and its digest, which follows from the seal before it."""
    salt = uuid.uuid4().hex[:8].encode()  # so that the batches of two drivers never continue each other
    digest = _digest(lines, seal, salt)
    return [*lines[:-1], lines[-1][:-1] + b',"seal":"' + salt + digest + b'"}'], digest


def _parse(content: bytes, file: str) -> Batches:
    lines = content.split(b"\n")
    count, seal, problem = _whole(lines, b"")
    if not seal and problem is None:  # of an earlier version
        lines = [line for line in lines if line]
        count = len(lines)
    try:
        logs = [_operation(line, number) for number, line in enumerate(lines[:count], 1)]
    except ValueError as error:
        return Batches(problem=f"{file} is damaged in {error}.")
    return Batches(logs, lines[:count], seal, problem and f"{file} is damaged in {problem}.")


def _whole(lines: Sequence[bytes], seal: bytes) -> tuple[int, bytes, str | None]:
    """Returns how many of the lines belong to whole batches after this seal, the last seal of those, and the damage."""
    end = 0
    for number, line in enumerate(lines, start=1):
        mark = _SEAL.fullmatch(line)
        if mark is None:
            continue
        if _digest([*lines[end : number - 1], mark[1] + b"}"], seal, mark[2]) != mark[3]:
            return end, seal, f"lines {end + 1} to {number}: they do not match their digest"
        seal, end = mark[3], number
    return end, seal, None


def _continued(batches: Batches, content: bytes) -> Batches:
    """Adds a batch that lies beside the journal, unless it does not continue it: a driver wrote it without the lock."""
    lines = content.split(b"\n")
    count, seal, _ = _whole(lines, batches.seal)
    logs = [_operation(line, number) for number, line in enumerate(lines[:count], 1)]
    return replace(batches, logs=batches.logs + logs, lines=batches.lines + lines[:count], seal=seal)


def _digest(lines: Sequence[bytes], seal: bytes, salt: bytes) -> bytes:
    return hashlib.sha256(b"\n".join([seal, salt, *lines])).hexdigest()[:16].encode()


def _operation(line: bytes, number: int) -> dict[str, Any]:
    try:
        operation = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number}: {error}") from None
    if not isinstance(operation, dict):
        raise ValueError(f"line {number}: it is no operation")
    if _has_fields(operation) and not (
        isinstance(operation.get("trial_id"), int) and isinstance(operation["user_attr"][FIELDS], dict)
    ):
        raise ValueError(f"line {number}: it has no trial's fields")
    operation.pop("seal", None)
    return operation


def _has_fields(operation: dict[str, Any]) -> bool:
    attribute = operation.get("user_attr")
    return isinstance(attribute, dict) and FIELDS in attribute
