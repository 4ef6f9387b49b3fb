"""Builds a run's tables from its run folder, at any time; one block of replicates is in memory at once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.plan import Plan
from study.runfolder import TableError, read_plan
from study.spec import dump
from study.tables.columns import SCHEMAS, rows_of
from study.tables.files import (
    BUILD,
    SOURCE,
    Tables,
    encode,
    load_tables,
    named,
    open_table,
    open_tables,
    write,
)
from study.tables.sums import SUMS, TABLES, write_sums, wrong_sums
from trainables import checkpoint
from trainables.records import Standing
from trainables.schema import RESULTS_VERSION, Replicate
from trainables.storage import Folder

_LOG = logging.getLogger(__name__)
BLOCK = 100
"""How many replicates a row group holds, unless tables were merged."""
_ATTEMPTS = 5
Rows = Mapping[str, pa.Table]
"""A replicate's rows in each table."""


def build(run: Folder) -> Tables:
    """Builds the tables of a run folder, once."""
    return Builder(run).build()


def load_or_build(url: str) -> Tables:
    """Opens the tables of a run; of a run that has none yet, builds them in memory and leaves its folder alone.

    Raises:
        TableError: As in `load_tables`.
    """
    run = Folder(url)
    if any(run.exists(f"{name}.parquet") for name in SCHEMAS) or "replicates" not in run.names():
        return load_tables(url)
    plan, provenance = read_plan(run)
    contents = encode(Builder(run).blocks(plan))
    files = {name: pq.ParquetFile(pa.BufferReader(content)) for name, content in contents.items()}
    return Tables(files, plan.spec, provenance, run.url)


class Builder:
    """Builds a run's tables again and again while it runs, and reads each replicate's folder once after its end.

    An end does not change, so later builds take such rows from the tables on the disk, where they are complete.
    """

    def __init__(self, run: Folder):
        self.run = run
        self._ended: dict[str, tuple[Any, ...]] = {}

    def build(self) -> Tables:
        """Builds the tables from what the replicates have left in the run folder, and writes them there.

        Tables that were built from these very files stay. Where another process has written tables meanwhile, these
        may be newer, so that they are built again.
        """
        for _ in range(_ATTEMPTS):
            before, plan = _named(self.run, BUILD), read_plan(self.run)[0]
            source = self._source(plan)
            damaged = list(wrong_sums(self.run))
            if self.run.exists(SUMS) and not damaged and set(_named(self.run, SOURCE)) == {source}:
                break
            for problem in damaged:
                _LOG.warning("%s It is made anew.", problem)
            contents = encode(self.blocks(plan), source)
            if _named(self.run, BUILD) == before:
                write(self.run, contents)
                write_sums(self.run, TABLES)
                break
        plan, provenance = read_plan(self.run)
        return open_tables(self.run, plan.spec, provenance)

    def blocks(self, plan: Plan) -> Iterator[Rows]:
        """Yields the rows of each block of replicates, in each table."""
        former = FormerRows(self.run, self._ended)
        begun = set(self.run.child("replicates").names())
        for start in range(0, len(plan.replicates), BLOCK):
            block = plan.replicates[start : start + BLOCK]
            known = former.of_block(start // BLOCK)
            rows = [known.get(replicate.hash) or self._read(plan, replicate, begun) for replicate in block]
            yield {name: pa.concat_tables([tables[name] for tables in rows]) for name in SCHEMAS}

    def _source(self, plan: Plan) -> str:
        """A digest of all that the tables are made from. A file's name holds the digest of its bytes."""
        files = {name: sorted(found.items()) for name, found in self.run.child("replicates").files_within().items()}
        parts = (RESULTS_VERSION, str(SCHEMAS), dump(plan.spec), dict(plan.digests), sorted(files.items()))
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def _read(self, plan: Plan, replicate: Replicate, begun: set[str]) -> Rows:
        name = replicate.hash
        folder = self.run.child("replicates").child(name)
        outcome = checkpoint.standing(folder) if name in begun else Standing("pending")
        rows = rows_of(plan.spec.name, replicate, checkpoint.with_measurements(folder, outcome))
        if outcome.ended and not checkpoint.unmeasured(folder, outcome, plan.spec.final_measurements):
            self._ended[name] = _stamp(rows)
        return rows


def _named(run: Folder, key: bytes) -> list[str | None]:
    """The text under a key of each table's metadata; None where there is no readable table, or no such key."""

    def text_of(name: str) -> str | None:
        try:
            return named(open_table(run, name), key)
        except TableError:
            return None

    return [text_of(name) for name in SCHEMAS]


class FormerRows:
    """The rows of ended replicates in the tables that a run folder already holds.

    Args:
        run: The run folder.
        ended: The stamp of each ended replicate's rows, by hash; rows with another stamp are not used.
    """

    def __init__(self, run: Folder, ended: Mapping[str, tuple[Any, ...]]):
        self._ended = ended
        self._files = {}
        try:
            files = {name: open_table(run, name) for name in SCHEMAS} if ended else {}
            if all(file.schema_arrow.equals(SCHEMAS[name]) for name, file in files.items()):
                self._files = files
        except TableError:
            pass  # they are built from the run folder

    def of_block(self, block: int) -> dict[str, Rows]:
        """Reads the rows of a block, by replicate; none where the files are absent, damaged or of another form."""
        try:
            if block >= min((file.num_row_groups for file in self._files.values()), default=0):
                return {}
            parts = {name: _by_replicate(file.read_row_group(block)) for name, file in self._files.items()}
        except (pa.ArrowException, OSError):
            self._files = {}  # another process has replaced or damaged them
            return {}
        empty = {name: schema.empty_table() for name, schema in SCHEMAS.items()}
        names = parts["results"].keys() & self._ended.keys()
        rows = {name: {key: part.get(name, empty[key]) for key, part in parts.items()} for name in names}
        return {name: tables for name, tables in rows.items() if _stamp(tables) == self._ended[name]}


def _by_replicate(rows: pa.Table) -> dict[str, pa.Table]:
    """Splits rows by replicate; those of one lie together."""
    runs = pc.run_end_encode(rows["replicate"].combine_chunks())
    stops = runs.run_ends.to_pylist()
    return {
        name: rows.slice(start, stop - start)
        for name, start, stop in zip(runs.values.to_pylist(), [0, *stops], stops, strict=False)
    }


def _stamp(rows: Rows) -> tuple[Any, ...]:
    """Tells a replicate's rows after its end from those before, and from a part of them."""
    return rows["results"]["status"][0].as_py(), *(len(rows[name]) for name in SCHEMAS)
