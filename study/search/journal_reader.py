"""What a search has asked for so far, read from its journal without loading Optuna; what can go wrong with it."""

from __future__ import annotations

import json
from typing import Any

from trainables.storage import Folder

JOURNAL = "search.jsonl"
"""Optuna's journal in the run folder."""
FIELDS = "fields"
"""The user attribute under which a trial's fields of TrialConfig are in the journal."""


class JournalError(ValueError):
    """A journal that cannot be read; its text is one readable line."""


class SearchError(ValueError):
    """A search that cannot go on; its text is one readable line."""


def read_logs(run: Folder) -> list[dict[str, Any]]:
    """The journal's lines; none where there is no journal.

    Raises:
        JournalError: A line is no JSON object.
    """
    try:
        lines = run.read(JOURNAL).decode().splitlines()
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise JournalError(f"{run.url}/{JOURNAL} is damaged: {error}.") from None
    logs = []
    for number, line in enumerate(lines, start=1):
        try:
            logs.append(json.loads(line))
        except ValueError as error:
            raise JournalError(f"{run.url}/{JOURNAL} is damaged in line {number}: {error}.") from None
        if not isinstance(logs[-1], dict):
            raise JournalError(f"{run.url}/{JOURNAL} is damaged in line {number}: it is no operation.")
    return logs


def read_asked(run: Folder) -> list[dict[str, Any]]:
    """The fields of each trial asked for, in the order of their numbers. Raises JournalError."""
    logs = read_logs(run)
    fields = {log["trial_id"]: log["user_attr"][FIELDS] for log in logs if FIELDS in log.get("user_attr", {})}
    return [fields[trial] for trial in sorted(fields)]
