"""Merges tables of one study: parts that were run by seed, by cell or on several machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from study.run import lock
from study.runfolder import ADDED, MERGED, TableError, differences, grown, with_added, write_run
from study.spec import StudySpec
from study.tables.columns import SCHEMAS, complete
from study.tables.files import Tables, encode, load_tables, matches, open_tables, write
from study.tables.sums import SUMS, write_sums
from trainables.storage import Folder

_SLICE = 10_000
Images = Literal["all", "one", "last", "none"]
"""The images to keep. all: every image; one: of the seed with most, by cell; last: its last step only; none."""


def merge(source: Tables, target: Folder, images: Images = "all") -> Tables:
    """Copies tables to another folder, or merges them into those that are there.

    A replicate of `source` replaces its namesake, unless that one has ended and this one has not. Of the images of both
    only `images` are kept.

    Raises:
        TableError: The folder holds the results of another study, or of other data.
        study.run.lock.RunError: Another merge or a launch writes there, and one would undo the other.
    """
    with lock.held(target, lambda reason: None) as folder:
        return _merge(source, folder, images)


def _merge(source: Tables, target: Folder, images: Images) -> Tables:
    spec, better, origin = source.spec, set(source.ends["replicate"]), source.provenance
    parts = [(source, better)]
    if target.exists("spec.yaml"):
        old = load_tables(target)
        _check_data(old, source)
        spec, origin = _union(old.spec, source.spec), _origin(source.provenance, old.provenance)
        better -= _ended(old) - _ended(source)
        parts = [(old, set(old.ends["replicate"]) - better), (source, better)]
    alone = "replicates" not in target.names()  # what a launch goes on with changes, and has its own checks
    target.delete(SUMS)
    write(target, encode(_merged(parts, images)))
    write_run(target, spec, origin)
    if alone:
        write_sums(target)
    return open_tables(target, spec, origin)


def _check_data(old: Tables, new: Tables) -> None:
    """Raises TableError where both tables name a data set and its images differ: their seeds would be mixed."""
    before, now = (tables.provenance["data_digests"] for tables in (old, new))
    if other := sorted(name for name in before.keys() & now.keys() if before[name] != now[name]):
        name = other[0]
        raise TableError(
            f"the tables belong to other data: {name} must have the digest {before[name]}, but has {now[name]}."
        )


def _union(old: StudySpec, new: StudySpec) -> StudySpec:
    conflicts = differences(old, new)
    if conflicts:
        raise TableError(f"the tables belong to another spec: {'; '.join(conflicts)}.")
    return grown(old, new)


def _origin(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """Joins provenances: the newest part's own, and under MERGED that of each earlier part, once."""
    parts = [*old.get(MERGED, []), _own(old), *new.get(MERGED, [])]
    before = [part for index, part in enumerate(parts) if part != _own(new) and part not in parts[:index]]
    return with_added({**new, "data_digests": old["data_digests"] | new["data_digests"], MERGED: before}, old)


def _own(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A part's provenance without the keys that hold for all parts."""
    return {key: value for key, value in provenance.items() if key not in (MERGED, "data_digests", ADDED)}


def _ended(tables: Tables) -> set[str]:
    """Hashes of the replicates that nothing changes any more."""
    return set(tables.ends.loc[tables.ends["status"].isin(["finished", "stopped", "diverged"]), "replicate"])


def _merged(parts: Sequence[tuple[Tables, set[str]]], images: Images) -> Iterator[dict[str, pa.Table]]:
    """Yields the rows of these replicates, part after part; results of several parts are sorted by seed and cell."""
    results = pa.concat_tables([SCHEMAS["results"].empty_table(), *_kept(parts, "results")])
    if len(parts) > 1:
        results = results.sort_by([(column, "ascending") for column in ("seed", "cell", "step")])
    for start in range(0, len(results), _SLICE):
        yield {"results": results.slice(start, _SLICE)}
    for name, tables in {"profiles": _kept(parts, "profiles"), "images": _kept_images(parts, images)}.items():
        for rows in tables:
            yield {name: rows}


def _kept_images(parts: Sequence[tuple[Tables, set[str]]], images: Images) -> Iterator[pa.Table]:
    if images == "all":
        yield from _kept(parts, "images")
    if images in ("all", "none"):
        return
    last = _last_drawn(parts)
    for rows in _kept(parts, "images"):
        steps = rows["replicate"].to_pandas().map(last)
        kept = steps.notna()
        if images == "last":
            kept &= (rows["step"].to_pandas() == steps) | (rows["kind"].to_pandas() == "input")
        yield rows.filter(pa.array(kept))


def _last_drawn(parts: Sequence[tuple[Tables, set[str]]]) -> dict[str, int]:
    """Chooses each cell's replicate with most images, by seed among equals; returns the last step of its images."""
    drawn = []
    for tables, replicates in parts:
        rows = tables.rows("images", ["replicate", "step"], {"replicate": sorted(replicates)})
        counts = rows.groupby("replicate")["step"].agg(["size", "max"])
        drawn.append(counts.join(tables.ends.set_index("replicate")[["cell", "seed"]]))
    ranked = pd.concat(drawn).sort_values(["size", "seed"], ascending=[False, True]).drop_duplicates("cell")
    return dict(ranked["max"])


def _kept(parts: Sequence[tuple[Tables, set[str]]], name: str) -> Iterator[pa.Table]:
    """Yields a table's rows of these replicates, part after part and a row group at a time, in the schema's columns."""
    for tables, replicates in parts:
        values = {"replicate": pa.array(sorted(replicates), pa.string())}
        for group in range(tables.files[name].num_row_groups):
            rows = tables.files[name].read_row_group(group)
            rows = rows.filter(matches(rows, values))
            if len(rows):
                rows = complete(name, rows, tables.configs)
                yield rows.select(SCHEMAS[name].names).cast(SCHEMAS[name])
