"""A search's trials: their replicates, which are under way, how they ended. Reads neither Optuna nor a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from study.plan import Plan, trial_label
from study.spec import resolve_trial
from trainables.records import Standing
from trainables.schema import Replicate, TrialConfig


class TrialResult(NamedTuple):
    """The end of a trial: the mean of each objective if it finished, else the reason."""

    state: Literal["finished", "stopped", "failed"]
    values: list[float] | None = None
    error: str | None = None


class SearchState:
    """The trials of a search by their numbers, which count from 0 in the order in which they were drawn.

    Args:
        plan: The study, with a search.
    """

    def __init__(self, plan: Plan):
        self._spec, self._digests = plan.spec, plan.digests
        self._labels = {config: label for label, config in plan.compared.items()}
        self._members: list[list[Replicate]] = []
        self._first: dict[TrialConfig, int] = {}
        self._open: dict[int, None] = {}
        self._under_way: set[int] = set()
        self._rows: dict[tuple[int, int], dict[str, Mapping[str, Any]]] = {}

    def add(self, fields: Mapping[str, Any], *, ended: bool = False) -> int:
        """Adds a trial with these fields of TrialConfig and returns its number.

        Raises:
            study.spec.SpecError: The fields do not make a valid config.
        """
        number = len(self._members)
        config = resolve_trial(self._spec, fields)
        label = self._labels.setdefault(config, trial_label(number))
        digest = self._digests[config.dataset]
        self._members.append([Replicate(label, config, seed, digest) for seed in range(self._spec.seeds)])
        self._first.setdefault(config, number)
        if not ended:
            self._open[number] = None
        return number

    def __len__(self) -> int:
        return len(self._members)

    @property
    def open(self) -> list[int]:
        """Numbers of the trials that have not ended, in order."""
        return list(self._open)

    def members(self, number: int) -> list[Replicate]:
        """Returns a trial's replicates, one for each seed."""
        return self._members[number]

    def hashes(self, *, ended: bool = False) -> set[str]:
        """Returns the hashes of all trials' replicates, or of ended trials', whose end Optuna knows for good."""
        numbers = (number for number in range(len(self)) if not (ended and number in self._open))
        return {replicate.hash for number in numbers for replicate in self._members[number]}

    @property
    def repetitions(self) -> list[int]:
        """Numbers of the open trials with the configuration of an earlier one, whose replicates they share."""
        return [number for number in self._open if self._repeats(number)]

    def start(self) -> int | None:
        """Returns the lowest open trial that is not under way and repeats none, and counts it as under way."""
        waiting = (n for n in self._open if n not in self._under_way and not self._repeats(n))
        number = next(waiting, None)
        if number is not None:
            self._under_way.add(number)
        return number

    def stop(self, number: int) -> None:
        """Counts a trial as no longer under way."""
        self._under_way.discard(number)

    def end(self, number: int) -> None:
        """Counts a trial as ended."""
        self._open.pop(number, None)

    def reopen(self, number: int) -> None:
        """Counts a trial as not ended, since a file of its replicates was lost."""
        self._open = dict.fromkeys(sorted([*self._open, number]))

    def is_open(self, number: int) -> bool:
        """Whether a trial has not ended."""
        return number in self._open

    def requeue(self) -> None:
        """Counts no trial as under way, as after Ray gave up: `start` returns all open ones again."""
        self._under_way.clear()

    def collect(self, number: int, step: int, rows: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
        """Collects what a trial's replicates measured at a step, by hash; returns it once all have reported."""
        collected = self._rows.setdefault((number, step), {})
        collected.update(rows)
        return list(collected.values()) if len(collected) == self._spec.seeds else None

    def _repeats(self, number: int) -> bool:
        return self._first[self._members[number][0].config] < number


def judge(standings: Sequence[Standing], objectives: Sequence[str]) -> TrialResult | None:
    """Judges a trial by its replicates' standings; None if one has yet to end."""
    if any(standing.status in ("pending", "running") for standing in standings):
        return None
    errors = [f"{o.status}: {o.error}" for o in standings if o.status in ("failed", "diverged")]
    if errors:
        return TrialResult("failed", error=errors[0])
    stopped = [standing for standing in standings if standing.status == "stopped"]
    if stopped:
        return TrialResult("stopped", error=stopped[0].error)
    last = [standing.record.rows[-1] for standing in standings if standing.record is not None]
    values = [mean([row[name] for row in last]) for name in objectives]
    missing = [name for name, value in zip(objectives, values, strict=True) if value is None]
    if missing:
        return TrialResult("failed", error=f"{missing[0]} has no value at the last step")
    return TrialResult("finished", [value for value in values if value is not None])


def mean(values: Sequence[float | None]) -> float | None:
    """Returns the mean of values; None if one is absent, as where a network diverges, or all are."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
