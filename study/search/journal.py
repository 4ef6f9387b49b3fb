"""Optuna's journal in the run folder: `search.jsonl`, whatever file system that is on.

Every operation on Optuna's storage is a line. Operations that belong together (a new trial with all that was drawn, a
rung with ASHA's decision) are one batch, which is on the disk before anything acts on it: a kill leaves all of it or
nothing. One driver writes at a time, the one that holds the run folder's lock. On a local disk it appends to the file,
which `optuna-dashboard` opens. An object store cannot append, so there each batch is an object of its own, until
`MOST_BATCHES` of them are written into the file together.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from study.search.journal_reader import BATCHES, JOURNAL, JournalError, batch_names, read_journal, sealed
from trainables.storage import Folder

_LOG = logging.getLogger(__name__)
MOST_BATCHES = 64
"""How many batches lie beside the file at most: readers open each, and every rewriting costs as much as the file."""


class Journal(BaseJournalBackend):
    """The journal of a run folder, read once. Of a damaged one the batches before the damage count, and stay."""

    def __init__(self, run: Folder):
        self._run = run
        self._beside = run.child(BATCHES)
        self._names = batch_names(self._beside)
        """Batches beside the file."""
        batches = read_journal(run, salvage=True)
        self._logs, self._lines, self._seal = batches.logs, batches.lines, batches.seal
        self._size: int | None = None
        """Bytes of the file; None until this driver has written it."""
        self._open = 0
        self._torn = False
        if batches.problem is not None:
            _LOG.warning("%s %d operations before that are kept.", batches.problem, len(self._logs))
            self._write_all([])

    def read_logs(self, log_number_from: int) -> Sequence[dict[str, Any]]:
        """Returns the operations from this number on, to Optuna."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Takes operations from Optuna, and writes them at once or at the end of the batch.

        Raises:
            StorageError: The file cannot be written.
            study.search.journal_reader.JournalError: A batch has failed, so that Optuna knows more than the file.
        """
        if self._torn:
            raise JournalError(f"{self._run.url}/{JOURNAL} must be opened again after a write that failed.")
        self._logs += json.loads(json.dumps(logs))
        if not self._open:
            self._write()

    def discard(self, problem: str) -> None:
        """Begins anew, where the operations are whole but nobody can read them."""
        _LOG.warning("%s/%s is damaged: %s. It is begun anew.", self._run.url, JOURNAL, problem)
        self._logs, self._lines, self._seal, self._torn = [], [], b"", False
        self._write_all([])

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Writes the operations of the block at its end, all or none.

        If the block raises, none is written, nor anything later: Optuna has seen what the file does not hold.
        """
        before = len(self._logs)
        self._open += 1
        try:
            yield
        except BaseException:
            del self._logs[before:]
            self._torn = True
            raise
        finally:
            self._open -= 1
        if not self._open:
            self._write()

    def _write(self) -> None:
        new = [json.dumps(log, separators=(",", ":")).encode() for log in self._logs[len(self._lines) :]]
        if not new:
            return
        try:
            if self._size is None or len(self._names) == MOST_BATCHES:
                self._write_all(new)
            elif self._run.local is not None:
                self._append(new)
            else:
                self._write_beside(new)
        except BaseException:
            self._torn = True
            raise

    def _append(self, new: list[bytes]) -> None:
        lines, self._seal = sealed(new, self._seal)
        self._run.append(JOURNAL, _joined(lines), at=self._size or 0)
        self._size = (self._size or 0) + len(_joined(lines))
        self._lines += lines

    def _write_beside(self, new: list[bytes]) -> None:
        start = len(self._lines)
        lines, self._seal = sealed(new, self._seal)
        self._names.append(f"{start:012d}-{self._seal.decode()}.jsonl")
        self._beside.write(self._names[-1], _joined(lines))
        self._lines += lines

    def _write_all(self, new: list[bytes]) -> None:
        """Writes the whole file, then deletes what lay beside it; seals what an earlier version left unsealed."""
        before, unsealed = (self._lines, []) if self._seal else ([], self._lines)
        lines = unsealed + new
        if lines:
            lines, self._seal = sealed(lines, self._seal)
        self._lines = before + lines
        content = _joined(self._lines)
        self._run.write(JOURNAL, content)
        self._size = len(content)
        for name in self._names:
            self._beside.delete(name)
        self._names = []


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
