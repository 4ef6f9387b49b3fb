"""The results table: built from the run folder at any time, checked and read; `study.tables.merge` puts parts together.

Three parquet files: `results` has a row per replicate and evaluated step, `profiles` what needs more than one number,
`images` what was drawn; `study.tables.columns` has their columns. Everything after a run reads these and nothing else.
A row group holds a hundred replicates: what is in memory at a time. Neither torch nor ray is imported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from study import plan as space
from study.search.journal_reader import JOURNAL, JournalError, read_asked
from study.searchspace import SearchSpec
from study.spec import StudySpec, dump, parse
from study.tables.columns import SCHEMAS, rows_of
from study.tables.files import TableError as TableError
from study.tables.files import Tables as Tables
from study.tables.files import check, open_table, open_tables, write
from study.tables.files import once as once
from trainables import checkpoint
from trainables.records import Record
from trainables.records import Standing as Outcome
from trainables.registry import register
from trainables.schema import RESULTS_VERSION, Replicate, TrialConfig
from trainables.storage import Folder

BLOCK = 100
"""Replicates in a row group, unless tables were merged."""
ADDED = "plugins_added"
"""In the provenance of a study with plugins: what they have added to the registries, by registry and name."""
MERGED = "merged"
"""In the provenance of merged tables: that of each part before the last."""
RUN_FILES = frozenset({"spec.yaml", "provenance.json", "replicates", JOURNAL, *(f"{name}.parquet" for name in SCHEMAS)})
"""What lies in a run folder."""
_T = TypeVar("_T")


class Builder:
    """Builds a run's tables, again and again while it runs; what a replicate has left at its end is read once.

    From then on its rows are taken from the tables on the disk, where they are all there; an end does not change.
    """

    def __init__(self, run: Folder):
        self.run = run
        self._ended: dict[str, tuple[Any, ...]] = {}

    def build(self) -> Tables:
        """Builds the tables from what the replicates left in the run folder, finished or not, and writes them there."""
        spec, provenance = read_run(self.run)
        plan = space.replicates(spec, provenance["data_digests"])
        folder = self.run.child("replicates")
        begun = set(folder.names())

        def look(replicate: Replicate) -> dict[str, pa.Table]:
            name, own = replicate.hash, folder.child(replicate.hash)
            found = checkpoint.outcome(own) if name in begun else Outcome("pending")
            rows = rows_of(spec.name, replicate, checkpoint.with_measurements(own, found))
            if found.ended and not checkpoint.unmeasured(own, found, spec.final_measurements):
                self._ended[name] = _stamp(rows)
            return rows

        def blocks() -> Iterator[dict[str, pa.Table]]:
            for start, former in zip(range(0, len(plan), BLOCK), self._former(), strict=False):
                members = [former.get(r.hash) or look(r) for r in plan[start : start + BLOCK]]
                yield {name: pa.concat_tables([rows[name] for rows in members]) for name in SCHEMAS}

        write(self.run, blocks())
        return open_tables(self.run, spec, provenance)

    def _former(self) -> Iterator[dict[str, dict[str, pa.Table]]]:
        """For each block the rows, by replicate and table, of those that have ended; nothing where it is in doubt."""
        try:
            files = {name: open_table(self.run, name) for name in SCHEMAS} if self._ended else {}
            empty = {name: schema.empty_table() for name, schema in SCHEMAS.items()}
            ours = all(file.schema_arrow.equals(SCHEMAS[name]) for name, file in files.items())
            for group in range(min((file.num_row_groups for file in files.values() if ours), default=0)):
                parts = {name: _split(file.read_row_group(group)) for name, file in files.items()}
                found = {
                    name: {key: part.get(name, empty[key]) for key, part in parts.items()}
                    for name in parts["results"].keys() & self._ended.keys()
                }
                yield {name: rows for name, rows in found.items() if _stamp(rows) == self._ended[name]}
        except (TableError, pa.ArrowException, OSError):
            pass  # another process has replaced or damaged them: the run folder has it all
        while True:
            yield {}


def outcomes(run: Folder, replicates: Iterable[Replicate]) -> dict[str, Outcome]:
    """How each replicate stands, by hash, read from the run folder; of its record the last row, without its images."""
    folder = run.child("replicates")
    return {r.hash: _last_row(checkpoint.outcome(folder.child(r.hash))) for r in replicates}


def unmeasured(run: Folder, spec: StudySpec, standing: Mapping[str, Outcome]) -> set[str]:
    """Hashes of the finished ones among `standing` of which a measurement of the spec has yet to be made."""
    folder, wanted = run.child("replicates"), spec.final_measurements
    if not wanted:
        return set()
    return {name for name, found in standing.items() if checkpoint.unmeasured(folder.child(name), found, wanted)}


def standing(run: Folder, replicates: Iterable[Replicate]) -> dict[str, Outcome]:
    """How each replicate stands: from the run folder, or from the tables where only those are kept (`results/`)."""
    if "replicates" in run.names():
        return outcomes(run, replicates)
    stored = {row["replicate"]: row for row in load_tables(run.url).ends.to_dict("records")}
    return {r.hash: _from_row(r, stored[r.hash]) if r.hash in stored else Outcome("pending") for r in replicates}


def read_run(run: Folder) -> tuple[StudySpec, dict[str, Any]]:
    """The spec and the provenance of a run folder or a folder under `results/`.

    Raises:
        TableError: It is no such folder, or one of the two cannot be read.
    """
    provenance = read_provenance(run)
    spec = read_spec(run, provenance)
    unknown = set(space.datasets(spec)) - provenance["data_digests"].keys()
    if unknown:
        raise TableError(
            f"{run.url}/provenance.json must name the digest of {', '.join(sorted(unknown))}: launch again."
        )
    return spec, provenance


def read_spec(run: Folder, provenance: Mapping[str, Any] | None = None) -> StudySpec:
    """The spec of a run folder, with what its search has asked for so far; raises TableError.

    Where the run's provenance says what its plugins have added, they need not be there, and none is imported.
    """
    plugins = ADDED not in (provenance or {})
    spec = _read(run, "spec.yaml", lambda content: parse(content.decode(), "it", plugins=plugins))
    if spec.search is None or spec.search.asked:  # of tables alone, spec.yaml holds it
        return spec
    try:
        return spec.with_asked(read_asked(run))
    except JournalError as error:
        raise TableError(str(error)) from None


def read_provenance(run: Folder) -> dict[str, Any]:
    """The provenance of a run folder, and makes known the names that its plugins have added; raises TableError."""
    return _read(run, "provenance.json", _parse_provenance)


def write_run(run: Folder, spec: StudySpec, provenance: dict[str, Any]) -> None:
    """Writes what `read_run` reads; the spec last, since it makes the folder a run folder."""
    run.write("provenance.json", (json.dumps(provenance, indent=2, sort_keys=True) + "\n").encode())
    run.write("spec.yaml", dump(spec).encode())


def with_added(provenance: dict[str, Any], former: Mapping[str, Any]) -> dict[str, Any]:
    """A provenance with what plugins have added according to a former one too, where there is any."""
    old, new = former.get(ADDED), provenance.get(ADDED)
    if old is None:
        return provenance
    new = new or {}
    return provenance | {ADDED: {kind: old.get(kind, {}) | new.get(kind, {}) for kind in sorted(old | new)}}


def build(run: Folder) -> Tables:
    """Builds the tables of a run folder, once."""
    return Builder(run).build()


def device_hours(ends: pd.DataFrame) -> pd.DataFrame:
    """What replicates have taken of each device: `device`, `replicates`, `train_h`, `evaluate_h`, `hours` (both).

    Networks that trained at once on a device share its time; on a CPU a device is a core, since a replicate has one
    thread. Measurements of finished networks and what an attempt lost when it was killed are not in it; a replicate
    that went on elsewhere counts where it began.

    Args:
        ends: Of each replicate the `device` and the seconds `train_s`, `evaluate_s` up to its last row; null where it
            has yet to begin.
    """
    seconds = ["train_s", "evaluate_s"]
    begun = ends[["device", *seconds]].dropna(subset=seconds, how="all")
    begun = begun.astype({"device": object, "train_s": float, "evaluate_s": float})
    begun = begun.fillna({"device": "not recorded", "train_s": 0.0, "evaluate_s": 0.0})
    devices = begun.groupby("device")
    hours = (devices[seconds].sum() / 3600).rename(columns={"train_s": "train_h", "evaluate_s": "evaluate_h"})
    hours.insert(0, "replicates", devices.size())
    return hours.assign(hours=hours["train_h"] + hours["evaluate_h"]).reset_index()


def damage(run: Folder) -> list[str]:
    """What is wrong with the tables that are there; a launch makes them anew."""
    problems = []
    for name in SCHEMAS:
        try:
            if run.exists(f"{name}.parquet"):
                check(run, name)
        except TableError as error:
            problems.append(str(error))
    return problems


def load_tables(url: str) -> Tables:
    """Opens and checks the tables of a run folder or a folder under `results/`.

    Raises:
        TableError: A file is absent or damaged, a column is missing, unknown or of another type, the results are of
            another RESULTS_VERSION.
    """
    run = Folder(url)
    spec, provenance = read_run(run)
    for name in SCHEMAS:
        check(run, name)
    tables = open_tables(run, spec, provenance)
    versions = set(tables.rows("results", ["results_version"])["results_version"].unique()) - {RESULTS_VERSION}
    if versions:
        raise TableError(f"{url}: `results_version == {RESULTS_VERSION}` must hold, but got {sorted(versions)}.")
    return tables


def to_csv(frame: pd.DataFrame) -> str:
    """A frame as CSV that pandas, DuckDB and R read alike: R takes TRUE and FALSE alone for truth values."""
    truths = [str(name) for name in frame if pd.api.types.infer_dtype(frame[name]) == "boolean"]
    words = {name: frame[name].map({True: "TRUE", False: "FALSE"}) for name in truths}
    return str(frame.assign(**words).to_csv(index=False, lineterminator="\n"))


def differences(old: StudySpec, new: StudySpec) -> list[str]:
    """What keeps two specs from sharing a run folder: one line per key; seeds and further cells may differ."""
    found = [f"name: {old.name!r} there, {new.name!r} here"] if old.name != new.name else []
    found += _search_differences(old, new)
    here, there = (space.cells(spec.with_asked([])) for spec in (new, old))
    for label in here.keys() & there.keys():
        found += [
            f"cell {label!r}, {field}: {getattr(there[label], field)!r} there, {getattr(here[label], field)!r} here"
            for field in TrialConfig.model_fields
            if getattr(there[label], field) != getattr(here[label], field)
        ]
    if not found and not (here.keys() <= there.keys() or there.keys() <= here.keys()):
        found.append(
            f"cells: {sorted(there.keys() - here.keys())} there only, {sorted(here.keys() - there.keys())} here only"
        )
    return sorted(found)


def grown(old: StudySpec, new: StudySpec) -> StudySpec:
    """The larger of two specs without `differences`: all cells, seeds and measurements that either has."""
    here, there = (space.cells(spec.with_asked([])) for spec in (new, old))
    larger = new if there.keys() <= here.keys() else old
    measurements = list(dict.fromkeys([*old.measurements, *new.measurements]))
    search = larger.search
    if old.search is not None and new.search is not None:
        asked = max(old.search.asked, new.search.asked, key=len)
        trials = max(old.search.trials, new.search.trials)
        search = new.search.model_copy(update={"asked": asked, "trials": trials})
    return larger.model_copy(
        update={"seeds": max(old.seeds, new.seeds), "measurements": measurements, "search": search}
    )


def _search_differences(former: StudySpec, later: StudySpec) -> list[str]:
    """What keeps two searches from being one that has come further; the number of trials and their concurrency may.

    Trials are told once and for all, so that neither what they share nor the seeds that judge them may change.
    """
    old, new = former.search, later.search
    if old is None or new is None:
        there, here = ("none" if search is None else "one" for search in (old, new))
        return [] if there == here else [f"search: {there} there, {here} here"]
    keys = SearchSpec.model_fields.keys() - {"trials", "concurrency", "asked"}
    pairs = {f"search.{key}": (getattr(old, key), getattr(new, key)) for key in sorted(keys)}
    fields = former.base.keys() | later.base.keys()
    pairs |= {f"base.{field}": (former.base.get(field), later.base.get(field)) for field in fields}
    pairs["seeds"] = (former.seeds, later.seeds)
    found = [f"{key}: {a!r} there, {b!r} here" for key, (a, b) in pairs.items() if a != b]
    if any(a != b for a, b in zip(old.asked, new.asked, strict=False)):
        found.append("search.asked: other configurations there than here")
    return found


def _read(run: Folder, name: str, parse_content: Callable[[bytes], _T]) -> _T:
    try:
        return parse_content(run.read(name))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TableError(f"{run.url} is no run folder: it must hold spec.yaml and provenance.json ({error}).") from None
    except ValueError as error:  # SpecError, not UTF-8, not JSON
        remedy = ""
        if run.child("replicates").names():
            remedy = " Delete it, and `study launch` with this study and --run makes it anew; no result is lost."
        raise TableError(f"{run.url}/{name} is damaged: {str(error).rstrip('.')}.{remedy}") from None


def _parse_provenance(content: bytes) -> dict[str, Any]:
    found = json.loads(content)
    digests = found.get("data_digests") if isinstance(found, dict) else None
    if not isinstance(digests, dict) or not all(isinstance(value, str) for value in digests.values()):
        raise ValueError("it names no data_digests")
    register(found.get(ADDED) or {})
    return dict(found)


def _split(rows: pa.Table) -> dict[str, pa.Table]:
    """Rows by replicate; those of one lie together."""
    runs = pc.run_end_encode(rows["replicate"].combine_chunks())
    stops = runs.run_ends.to_pylist()
    return {
        name: rows.slice(start, stop - start)
        for name, start, stop in zip(runs.values.to_pylist(), [0, *stops], stops, strict=False)
    }


def _stamp(rows: Mapping[str, pa.Table]) -> tuple[Any, ...]:
    """Tells a replicate's rows after its end from those before, and from a part of them."""
    return rows["results"]["status"][0].as_py(), *(len(rows[name]) for name in SCHEMAS)


def _last_row(found: Outcome) -> Outcome:
    record = found.record and replace(found.record, rows=found.record.rows[-1:], profiles=[], images=[])
    return replace(found, record=record, images=None)


def _from_row(replicate: Replicate, row: Mapping[Any, Any]) -> Outcome:
    """A replicate's outcome as its last row of the results table tells it; null where that is null."""
    values: dict[str, Any] = {str(key): None if pd.isna(value) else value for key, value in row.items()}
    rows = [] if values["step"] is None else [values]
    record = Record({"cell": replicate.cell}, rows=rows, provenance={"device": values["device"]})
    record.train_s, record.evaluate_s = values["train_s"] or 0.0, values["evaluate_s"] or 0.0
    return Outcome(values["status"], values["error"], record)
