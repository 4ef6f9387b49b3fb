"""Optuna's journal in the run folder: `search.jsonl`, whatever file system that is on.

Every operation on Optuna's storage is a line. What belongs together (an ask with all that was drawn, a rung with what
ASHA made of it) is written in one atomic write, before anything acts on it: a kill leaves all of it or nothing. There
is one writer, which holds the run folder's lock; so the file is written anew each time, which object stores allow and
appending they do not. On a local disk `optuna-dashboard` opens it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from study.search.journal_reader import JOURNAL, JournalError, read_logs
from trainables.storage import Folder


class Journal(BaseJournalBackend):
    """The journal of a run folder, read once.

    Raises:
        study.asked.JournalError: The file is damaged.
    """

    def __init__(self, run: Folder):
        self._run = run
        self._logs = read_logs(run)
        self._written = len(self._logs)
        self._open = 0
        self._torn = False

    def read_logs(self, log_number_from: int) -> Sequence[dict[str, Any]]:
        """What Optuna asks for."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """What Optuna writes; on the disk at once, or at the end of the batch.

        Raises:
            StorageError: The file cannot be written.
            study.asked.JournalError: A batch has failed, so that Optuna knows more than the file.
        """
        if self._torn:
            raise JournalError(f"{self._run.url}/{JOURNAL} must be opened again after a write that failed.")
        self._logs += json.loads(json.dumps(logs))
        if not self._open:
            self._write()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """All that is written within the block is written at its end, whole.

        If the block raises, nothing of it is, nor anything after it: Optuna has seen what the file does not hold.
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
        if len(self._logs) > self._written:
            lines = (json.dumps(log, separators=(",", ":")) + "\n" for log in self._logs)
            self._run.write(JOURNAL, "".join(lines).encode())
            self._written = len(self._logs)
