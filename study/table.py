"""The results table: its schema, built from the run folder at any time, merged, checked and loaded.

Three parquet files: `results` has a row per replicate and evaluated step, `profiles` what needs more than one number,
`images` what was drawn. Everything after a run reads these and nothing else. Neither torch nor ray is imported.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from study import space
from study.spec import StudySpec, dump, parse
from trainables import checkpoint
from trainables.checkpoint import Outcome, Record
from trainables.schema import METRICS, RESULTS_VERSION, Replicate, TrialConfig
from trainables.storage import Folder

_T = TypeVar("_T")
_FIELD_TYPES = {
    "latent_dim": pa.int64(),
    "batch_size": pa.int64(),
    "steps": pa.int64(),
    "evaluations": pa.int64(),
    "kl_warmup_steps": pa.int64(),
    "learning_rate": pa.float64(),
    "l2": pa.float64(),
    "grad_clip": pa.float64(),
    "weight_dropout": pa.float64(),
    "beta": pa.float64(),
}
SCHEMAS: dict[str, pa.Schema] = {
    "results": pa.schema(
        [("study", pa.string()), ("cell", pa.string()), ("replicate", pa.string()), ("seed", pa.int64())]
        + [("status", pa.string()), ("error", pa.string()), ("collapsed", pa.bool_()), ("final", pa.bool_())]
        + [("step", pa.int64()), ("epoch", pa.float64())]
        + [(f"config/{name}", _FIELD_TYPES.get(name, pa.string())) for name in TrialConfig.model_fields]
        + [(name, pa.float64()) for name in METRICS]
        + [("train_s", pa.float64()), ("evaluate_s", pa.float64()), ("device", pa.string())]
        + [("data_digest", pa.string()), ("git_commit", pa.string()), ("results_version", pa.int64())]
    ),
    "profiles": pa.schema(
        [
            ("replicate", pa.string()),
            ("step", pa.int64()),
            ("quantity", pa.string()),
            ("index", pa.int64()),
            ("value", pa.float64()),
        ]
    ),
    "images": pa.schema(
        [
            ("replicate", pa.string()),
            ("step", pa.int64()),
            ("kind", pa.string()),
            ("index", pa.int64()),
            ("axis", pa.int64()),
            ("value", pa.float64()),
            ("pixels", pa.binary(784)),
        ]
    ),
}
"""Column names and types of each table; tuples are JSON strings."""
PLUGIN_PREFIX = "x/"
"""Columns of this prefix are a plugin's own and pass every check."""


RUN_FILES = frozenset({"spec.yaml", "provenance.json", "replicates", *(f"{name}.parquet" for name in SCHEMAS)})
"""What lies in a run folder."""


class TableError(ValueError):
    """A table that is absent, damaged, or not of this schema; its text is one readable line."""


@dataclass(frozen=True)
class Tables:
    """A run's tables, its spec and its provenance."""

    results: pd.DataFrame
    profiles: pd.DataFrame
    images: pd.DataFrame
    spec: StudySpec
    provenance: dict[str, Any]


def outcomes(run: Folder, replicates: Iterable[Replicate]) -> dict[str, Outcome]:
    """How each replicate stands, by hash, read from the run folder."""
    return {r.hash: checkpoint.outcome(run.child("replicates").child(r.hash)) for r in replicates}


def standing(run: Folder, replicates: Iterable[Replicate]) -> dict[str, Outcome]:
    """How each replicate stands: from the run folder, or from the tables where only those are kept (`results/`)."""
    if "replicates" in run.names():
        return outcomes(run, replicates)
    stored = {str(key): rows for key, rows in load_tables(run.url).results.groupby("replicate")}
    return {r.hash: _from_rows(r, stored[r.hash]) if r.hash in stored else Outcome("pending") for r in replicates}


def read_run(run: Folder) -> tuple[StudySpec, dict[str, Any]]:
    """The spec and the provenance of a run folder or a folder under `results/`.

    Raises:
        TableError: It is no such folder, or one of the two cannot be read.
    """
    spec, provenance = read_spec(run), read_provenance(run)
    unknown = set(space.datasets(spec)) - provenance["data_digests"].keys()
    if unknown:
        raise TableError(
            f"{run.url}/provenance.json must name the digest of {', '.join(sorted(unknown))}: launch again."
        )
    return spec, provenance


def read_spec(run: Folder) -> StudySpec:
    """The spec of a run folder; raises TableError."""
    return _read(run, "spec.yaml", lambda content: parse(content.decode(), "it"))


def read_provenance(run: Folder) -> dict[str, Any]:
    """The provenance of a run folder; raises TableError."""
    return _read(run, "provenance.json", _parse_provenance)


def write_run(run: Folder, spec: StudySpec, provenance: dict[str, Any]) -> None:
    """Writes what `read_run` reads; the spec last, since it makes the folder a run folder."""
    run.write("provenance.json", (json.dumps(provenance, indent=2, sort_keys=True) + "\n").encode())
    run.write("spec.yaml", dump(spec).encode())


def build(run: Folder) -> Tables:
    """Builds the tables from what the replicates left in the run folder, finished or not, and writes them there."""
    spec, provenance = read_run(run)
    plan = space.replicates(spec, provenance["data_digests"])
    rows: list[dict[str, Any]] = []
    profiles: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    for replicate in plan:
        found = checkpoint.outcome(run.child("replicates").child(replicate.hash))
        rows += _result_rows(spec.name, replicate, found)
        if found.record is not None:
            profiles += _profile_rows(replicate.hash, found.record.profiles)
            images += _image_rows(replicate.hash, found.record.images, found.images)
    frames = {"results": rows, "profiles": profiles, "images": images}
    tables = {name: pa.Table.from_pylist(content, SCHEMAS[name]) for name, content in frames.items()}
    for name, table in tables.items():
        run.write(f"{name}.parquet", _to_parquet(table))
    frame = {name: table.to_pandas() for name, table in tables.items()}
    return Tables(frame["results"], frame["profiles"], frame["images"], spec, provenance)


def damage(run: Folder) -> list[str]:
    """What is wrong with the tables that are there; a launch makes them anew."""
    problems = []
    for name in SCHEMAS:
        try:
            if run.exists(f"{name}.parquet"):
                _load(run, name)
        except TableError as error:
            problems.append(str(error))
    return problems


def load_tables(url: str) -> Tables:
    """Loads and checks the tables of a run folder or a folder under `results/`.

    Raises:
        TableError: A file is absent or damaged, a column is missing, unknown or of another type, the results are of
            another RESULTS_VERSION.
    """
    run = Folder(url)
    spec, provenance = read_run(run)
    frames = {name: _load(run, name) for name in SCHEMAS}
    versions = set(frames["results"]["results_version"].unique()) - {RESULTS_VERSION}
    if versions:
        raise TableError(f"{url}: `results_version == {RESULTS_VERSION}` must hold, but got {sorted(versions)}.")
    return Tables(frames["results"], frames["profiles"], frames["images"], spec, provenance)


def merge(source: Tables, target: Folder) -> Tables:
    """Copies tables to another folder, or merges them into those that are there.

    A replicate of `source` replaces its namesake, unless that one is finished and this one is not.

    Raises:
        TableError: The folder holds the results of another study.
    """
    spec, provenance = source.spec, source.provenance
    frames = {"results": source.results, "profiles": source.profiles, "images": source.images}
    if target.exists("spec.yaml"):
        old = load_tables(target.url)
        spec = _union(old.spec, source.spec)
        done = set(old.results.loc[old.results["status"] == "finished", "replicate"])
        better = set(source.results["replicate"]) - (
            done - set(source.results.loc[source.results["status"] == "finished", "replicate"])
        )
        for name, former in (("results", old.results), ("profiles", old.profiles), ("images", old.images)):
            new = frames[name]
            parts = [former[~former["replicate"].isin(better)], new[new["replicate"].isin(better)]]
            frames[name] = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
        order = ["seed", "cell", "step"]
        frames["results"] = frames["results"].sort_values(order, kind="stable", ignore_index=True)
    target.create()
    for name, frame in frames.items():
        target.write(f"{name}.parquet", _to_parquet(pa.Table.from_pandas(frame, SCHEMAS[name], preserve_index=False)))
    write_run(target, spec, provenance)
    return Tables(frames["results"], frames["profiles"], frames["images"], spec, provenance)


def differences(old: StudySpec, new: StudySpec) -> list[str]:
    """What keeps two specs from sharing a run folder: one line per key; seeds and further cells may differ."""
    found = [f"name: {old.name!r} there, {new.name!r} here"] if old.name != new.name else []
    here, there = space.cells(new), space.cells(old)
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
    """The larger of two specs without `differences`: all cells and seeds that either has."""
    larger = new if space.cells(old).keys() <= space.cells(new).keys() else old
    return larger.model_copy(update={"seeds": max(old.seeds, new.seeds)})


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
    return dict(found)


def _union(old: StudySpec, new: StudySpec) -> StudySpec:
    conflicts = differences(old, new)
    if conflicts:
        raise TableError(f"the tables belong to another spec: {'; '.join(conflicts)}.")
    return grown(old, new)


def _result_rows(study: str, replicate: Replicate, found: Outcome) -> list[dict[str, Any]]:
    config = {
        f"config/{name}": json.dumps(value) if isinstance(value, list) else value
        for name, value in replicate.config.model_dump(mode="json").items()
    }
    provenance = found.record.provenance if found.record else {}
    common = config | {
        "study": study,
        "cell": replicate.cell,
        "replicate": replicate.hash,
        "seed": replicate.seed,
        "status": found.status,
        "error": found.error,
        "device": provenance.get("device"),
        "git_commit": provenance.get("git_commit"),
        "data_digest": replicate.data_digest,
        "results_version": RESULTS_VERSION,
        "final": False,
    }
    rows = [common | row for row in (found.record.rows if found.record else [])] or [common]
    rows[-1]["final"] = found.status in ("finished", "diverged")
    return rows


def _from_rows(replicate: Replicate, rows: pd.DataFrame) -> Outcome:
    """A replicate's outcome as its rows of the results table tell it; null where they are null."""
    evaluated = rows[rows["step"].notna()].astype(object)
    records = evaluated.where(evaluated.notna(), None).to_dict("records")
    last = rows.iloc[-1]
    error = last["error"] if isinstance(last["error"], str) else None
    return Outcome(
        last["status"],
        error,
        Record({"cell": replicate.cell}, rows=[{str(k): v for k, v in r.items()} for r in records]),
    )


def _profile_rows(replicate: str, profiles: list[list[Any]]) -> list[dict[str, Any]]:
    return [
        {"replicate": replicate, "step": step, "quantity": quantity, "index": index, "value": value}
        for step, quantity, values in profiles
        for index, value in enumerate(values)
    ]


def _image_rows(replicate: str, index: list[list[Any]], pixels: np.ndarray | None) -> list[dict[str, Any]]:
    keys = ("step", "kind", "index", "axis", "value")
    stored = np.empty((0, 784), np.uint8) if pixels is None else pixels
    return [
        {"replicate": replicate, **dict(zip(keys, entry, strict=True)), "pixels": image.tobytes()}
        for entry, image in zip(index, stored, strict=True)
    ]


def _to_parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=9, write_page_checksum=True)
    return buffer.getvalue()


def _load(run: Folder, name: str) -> pd.DataFrame:
    file = f"{run.url}/{name}.parquet"
    try:
        table = pq.read_table(io.BytesIO(run.read(f"{name}.parquet")), page_checksum_verification=True)
    except FileNotFoundError:
        raise TableError(f"{file} is absent: `study table {run.url}` builds it from a run folder.") from None
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None
    expected = SCHEMAS[name]
    for column in expected:
        if column.name not in table.column_names:
            raise TableError(f"{file} must have the column `{column.name}`, but it is missing.")
        if table.schema.field(column.name).type != column.type:
            actual = table.schema.field(column.name).type
            raise TableError(f"{file}: column `{column.name}` must be {column.type}, but it is {actual}.")
    for column in table.column_names:
        if column not in expected.names and not column.startswith(PLUGIN_PREFIX):
            raise TableError(f"{file} has the unknown column `{column}`.")
    frame: pd.DataFrame = table.to_pandas()
    return frame
