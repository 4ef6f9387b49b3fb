"""The replicates that a launch has left to do, read from the run folder before it begins, and their ends as counts.

This is how a study resumes: a launch trains what its `Backlog` does not know as ended, each from its newest checkpoint.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from study.plan import Plan
from study.runfolder import unmeasured
from trainables import checkpoint
from trainables.records import Standing
from trainables.schema import Replicate
from trainables.storage import Folder


@dataclass(frozen=True)
class Backlog:
    """The replicates of a launch before it begins."""

    standings: Mapping[str, Standing]
    """Each one's standing, by hash, without its record."""
    unmeasured: Collection[str]
    """Hashes of the finished ones that lack a measurement."""

    @classmethod
    def read(cls, run: Folder, plan: Plan, replicates: Iterable[Replicate], final: Collection[str]) -> Backlog:
        """Reads the run folder, and deletes what killed and failed attempts left there.

        Args:
            run: The run folder.
            plan: The study.
            replicates: The replicates of the launch.
            final: Hashes of replicates whose failure is final, so that nothing of theirs is deleted.
        """
        run.sweep()
        folder = run.child("replicates")
        folder.sweep()
        begun = set(folder.names())
        standings = {}
        for name in (replicate.hash for replicate in replicates):
            standing = Standing("pending")
            if name in begun:
                standing = _tidied(folder.child(name), name in final)
            standings[name] = dataclasses.replace(standing, record=None, images=None)
        return cls(standings, unmeasured(run, plan.spec, standings))

    def lost(self, ended: Collection[str]) -> set[str]:
        """Selects those of the `ended` replicates that are no longer so, since a file was lost."""
        return {
            name for name in ended if name in self.standings and self.standings[name].status in ("pending", "running")
        }

    def unfinished(self, replicates: Iterable[Replicate], *, but: Collection[str]) -> list[Replicate]:
        """Selects the replicates that are to be measured, or to be trained and are not the search's own (`but`)."""
        return [
            r for r in replicates if r.hash in self.unmeasured or not (self.standings[r.hash].ended or r.hash in but)
        ]

    def starts(self, replicates: Iterable[Replicate]) -> dict[str, int]:
        """Returns the step from which each replicate goes on, by hash; -1 if it is only to be measured."""
        return {r.hash: -1 if r.hash in self.unmeasured else self.standings[r.hash].step for r in replicates}

    def __str__(self) -> str:
        words = {"running": "to continue", "failed": "to retry", "pending": "to start"}
        counts = Counter(
            "to measure" if name in self.unmeasured else words.get(standing.status, standing.status)
            for name, standing in self.standings.items()
        )
        return ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))


def _tidied(folder: Folder, final: bool) -> Standing:
    if final and (standing := checkpoint.standing(folder, thorough=True)).status == "failed":
        folder.sweep()
        return standing
    return checkpoint.tidy(folder)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of replicates of a launch by the way they ended, or that were left when it stopped."""

    finished: int = 0
    stopped: int = 0
    """Ended early by the search."""
    diverged_in_search: int = 0
    """A search may try settings that diverge: a result and no failure, so it is counted apart."""
    diverged: int = 0
    failed: int = 0
    unmeasured: int = 0
    """Finished, but a measurement failed."""
    to_measure: int = 0
    running: int = 0
    pending: int = 0

    def without_measurements(self, count: int, *, stopped: bool) -> Counts:
        """Counts finished replicates without measurements apart: `to_measure` after a stop, else `unmeasured`."""
        field = "to_measure" if stopped else "unmeasured"
        return dataclasses.replace(self, finished=self.finished - count, **{field: count})

    @property
    def left(self) -> int:
        """Number of replicates with which a further launch would go on."""
        return self.to_measure + self.running + self.pending

    @property
    def bad(self) -> int:
        """Number of replicates that ended without the result that was wanted of them."""
        return self.diverged + self.failed + self.unmeasured

    @property
    def total(self) -> int:
        """Number of replicates."""
        return sum(dataclasses.astuple(self))

    def __str__(self) -> str:
        words = {"diverged_in_search": "diverged in the search", "to_measure": "to measure"}
        words |= {"running": "begun", "pending": "not begun"}  # nothing runs when a launch has ended
        counts = {words.get(name, name): count for name, count in dataclasses.asdict(self).items() if count}
        return ", ".join(f"{count} {word}" for word, count in counts.items()) or "nothing to do"
