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

from study.asked import JOURNAL, read_logs
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

    def read_logs(self, log_number_from: int) -> Sequence[dict[str, Any]]:
        """What Optuna asks for."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """What Optuna writes; on the disk at once, or at the end of the batch. Raises StorageError."""
        self._logs += json.loads(json.dumps(logs))
        if not self._open:
            self._write()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """All that is written within the block is written at its end, whole; or not at all, if it raises."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
        if not self._open:
            self._write()

    def _write(self) -> None:
        if len(self._logs) > self._written:
            lines = (json.dumps(log, separators=(",", ":")) + "\n" for log in self._logs)
            self._run.write(JOURNAL, "".join(lines).encode())
            self._written = len(self._logs)
