"""One replicate trained again, alone and without Ray, and compared with its rows in a table."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from study.run.provenance import git_commit
from trainables import checkpoint, datasets, trial
from trainables.errors import DataError
from trainables.images.source import ImageSource
from trainables.records import Record
from trainables.schema import METRICS, Replicate
from trainables.storage import Folder

EQUAL = 1e-6
"""Numbers of the same numerics are equal where they differ by less than this share of the larger."""
ORIGIN = {"numerics": "numerics", "device": "device", "git_commit": "commit"}
"""Columns of the results table that say how a row was computed, by what they are called to a user."""


_ELSEWHERE = "If the run's images are elsewhere, say where: --dataset PATH."


@dataclass(frozen=True)
class Difference:
    """A metric of one step, in the table and again, and by which share of the larger the two differ."""

    step: int
    metric: str
    stored: float | None
    again: float | None

    @property
    def share(self) -> float:
        """The difference as a share of the larger value; infinite where one of the two is null."""
        if self.stored is None or self.again is None:
            return 0.0 if self.stored is self.again else math.inf
        larger = max(abs(self.stored), abs(self.again))
        return abs(self.stored - self.again) / larger if larger else 0.0


@dataclass(frozen=True)
class Comparison:
    """A replicate's rows in a table and again.

    `differences`: by step and metric; `others`: how the rows were computed, in words, where it is not how they are now;
    `in_spreads`: the largest difference of the last step in standard deviations over the cell's seeds, None where there
    are no two.
    """

    differences: list[Difference]
    others: list[str]
    in_spreads: float | None

    @property
    def last(self) -> list[Difference]:
        """The differences of the last step that both have, less metrics that neither has."""
        return _last(self.differences)

    @property
    def largest(self) -> Difference:
        """The difference of the largest share."""
        return max(self.differences, key=lambda difference: difference.share)

    @property
    def agrees(self) -> bool:
        """Whether the numbers are equal, or computed otherwise and within the spread over seeds."""
        if not self.differences:
            return False
        within_spread = self.in_spreads is not None and self.in_spreads <= 1
        return self.largest.share < EQUAL or (bool(self.others) and within_spread)


def train_again(replicate: Replicate, source: ImageSource | None, say: Callable[[str], None]) -> Record:
    """Trains a replicate in a folder of its own, which is deleted; returns its record.

    `source`: where the images are, if they are a user's own; `say` gets the progress in words. Raises
    `trainables.errors.DataError` if the data at hand are not those that the replicate was trained on.
    """
    try:
        dataset = datasets.load(replicate.config.dataset, source)
    except DataError as error:
        raise error if source is None else DataError(f"{str(error).rstrip('.')}. {_ELSEWHERE}") from None
    if dataset.digest != replicate.data_digest:
        where = replicate.config.dataset if source is None else source.path
        raise DataError(
            f"{where} must hold the images of the run, of digest {replicate.data_digest}, but its digest is "
            f"{dataset.digest}." + f" {_ELSEWHERE}" * (source is not None)
        )
    with tempfile.TemporaryDirectory(prefix="study-replay-") as scratch:
        stamp = {"git_commit": git_commit()}
        for progress in trial.run([replicate], dataset, Folder(scratch), provenance=stamp):
            say(f"step {progress.step:,} of {progress.steps:,}")
        record = checkpoint.standing(Folder(scratch).child(replicate.hash)).record
    return record or Record(replicate.described())


def compare(rows: pd.DataFrame, replicate: str, again: Record) -> Comparison:
    """Compares a replicate's rows in a table with those of its training again.

    Args:
        rows: The results table, of which the rows of the replicate's cell are used.
        replicate: The replicate's hash.
        again: Its record now.
    """
    own = rows[rows["replicate"] == replicate].set_index("step")
    differences = [
        Difference(row["step"], metric, _number(own.at[row["step"], metric]), row[metric])
        for row in again.rows
        if row["step"] in own.index
        for metric in METRICS
    ]
    last = _last(differences)
    peers = rows[rows["cell"].isin(own["cell"]) & rows["step"].isin({difference.step for difference in last})]
    spreads = list(_in_spreads(last, peers)) if len(peers) > 1 else []
    return Comparison(differences, _others(own, again), max(spreads, default=None))


def lines(comparison: Comparison) -> Iterator[str]:
    """Describes the outcome of a comparison."""
    if not comparison.differences:
        yield "No step of the table was trained again: there is nothing to compare."
        return
    largest, steps = comparison.largest, len({difference.step for difference in comparison.differences})
    yield (
        f"{steps} steps compared. The largest relative difference is {largest.share:.2g}: {largest.metric} at step "
        f"{largest.step:,}, {largest.stored!r} in the table, {largest.again!r} again."
    )
    yield from (f"Others: {text}." for text in comparison.others)
    if largest.share < EQUAL:
        yield "The same numbers, bit for bit." if largest.share == 0 else f"The same numbers, below {EQUAL:g}."
    elif not comparison.others:
        yield f"The numbers differ, though nothing that is recorded does: equal is below {EQUAL:g}."
    elif comparison.in_spreads is None:
        yield "The table has one seed of this cell, so there is no spread that the difference could be held against."
    else:
        yield (
            f"At the last step the largest difference is {comparison.in_spreads:.2g} standard deviations over the "
            f"cell's seeds: {'within' if comparison.agrees else 'beyond'} their spread."
        )


def _last(differences: list[Difference]) -> list[Difference]:
    """Differences of the last step, of metrics that the table or the training again has."""
    step = max((difference.step for difference in differences), default=None)
    return [d for d in differences if d.step == step and (d.stored, d.again) != (None, None)]


def _others(own: pd.DataFrame, again: Record) -> list[str]:
    """Names what differs between the processor, code or device of the stored rows and those of now."""
    texts = []
    for column, name in ORIGIN.items():
        now = again.provenance.get(column)
        value = own[column].iloc[0] if column in own and len(own) else None
        stored = value if isinstance(value, str) else None
        if stored != now:
            texts.append(f"{name}: {stored or 'not recorded'} in the table, {now or 'not recorded'} now")
    return texts


def _in_spreads(differences: list[Difference], peers: pd.DataFrame) -> Iterator[float]:
    """Differences that are not equal, in standard deviations of the metric over the peers' seeds."""
    for difference in differences:
        if difference.share < EQUAL:
            yield 0.0
        elif difference.stored is None or difference.again is None:
            yield math.inf
        else:
            spread = float(peers[difference.metric].std())
            yield abs(difference.stored - difference.again) / spread if spread > 0 else math.inf


def _number(value: Any) -> float | None:
    return None if value != value else float(value)
