"""A run folder: what it holds, its spec and provenance, how a spec may grow, how far each replicate has come.

The folder is the truth of a run; its tables (`study.tables`) are built from it. Neither torch nor Ray is imported.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from study.plan import Plan
from study.search.journal_reader import BATCHES, JOURNAL, REMEDY, JournalError, read_asked
from study.searchspace import SearchSpec
from study.spec import SpecError, StudySpec, dump, parse
from study.tables.columns import SCHEMAS
from trainables import checkpoint
from trainables.errors import ReadableError
from trainables.records import Standing
from trainables.registry import register
from trainables.schema import Replicate, TrialConfig
from trainables.storage import Folder

ADDED = "plugins_added"
"""Key in the provenance of a study with plugins: the names that they added, by registry."""
MERGED = "merged"
"""Key in the provenance of merged tables: the provenance of each earlier part."""
SPEC, PROVENANCE = "spec.yaml", "provenance.json"
SPEC_DIGESTS, SEAL = "spec_sha256", "sha256"
"""Keys in provenance.json alone: digests of the spec that may lie beside it, and the digest of all its other keys."""
ERRORS = "errors"
"""The folder of tracebacks, by the hash of the replicate that failed."""
RUN_FILES = frozenset(
    {SPEC, PROVENANCE, "replicates", ERRORS, JOURNAL, BATCHES, *(f"{name}.parquet" for name in SCHEMAS)}
)
"""Names of what lies in a run folder."""
_MAX_BYTES = 16_000_000
_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class TableError(ReadableError):
    """A run folder or table that is absent, damaged, or not of this schema."""


def outcomes(run: Folder, replicates: Iterable[Replicate]) -> dict[str, Standing]:
    """Reads how far each replicate has come, by hash; of its record the last row alone, without its images."""
    folder = run.child("replicates")
    return {r.hash: _last_row(checkpoint.standing(folder.child(r.hash))) for r in replicates}


def unmeasured(run: Folder, spec: StudySpec, outcomes: Mapping[str, Standing]) -> set[str]:
    """Names the finished replicates among `outcomes`, by hash, that still lack a measurement of the spec."""
    folder, wanted = run.child("replicates"), spec.final_measurements
    if not wanted:
        return set()
    return {name for name, outcome in outcomes.items() if checkpoint.unmeasured(folder.child(name), outcome, wanted)}


def read_plan(run: Folder) -> tuple[Plan, dict[str, Any]]:
    """Reads the plan and the provenance of a run folder or a folder under `results/`.

    Raises:
        TableError: It is no such folder, or one of the two cannot be read.
    """
    provenance = read_provenance(run)
    plan = Plan(read_spec(run), provenance["data_digests"])
    try:
        _ = plan.trials
    except SpecError as error:
        raise TableError(f"{run.url}/{JOURNAL} is damaged: {error} {REMEDY}") from None
    unknown = set(plan.datasets) - plan.digests.keys()
    if unknown:
        raise TableError(
            f"{run.url}/provenance.json must name the digest of {', '.join(sorted(unknown))}: launch again."
        )
    return plan, provenance


def read_spec(run: Folder, *, asked: bool = True) -> StudySpec:
    """Reads the spec of a run folder, with the trials that its search has drawn; raises TableError.

    Without `asked`, the search's journal is not read. No plugin is imported, since a folder may be anybody's: the
    provenance has the names that plugins added.
    """
    digests = _spec_digests(run)

    def parsed(content: bytes) -> StudySpec:
        if digests and _digest(content) not in digests:
            raise ValueError("it is not as a launch has written it")
        spec = parse(content.decode(), "it", plugins=False)
        if not digests:  # of an earlier version: its cells may be damaged too
            _ = Plan(spec).cells
        return spec

    spec = _read(run, SPEC, parsed)
    if not asked or spec.search is None or spec.search.asked:  # beside merged tables, spec.yaml holds them
        return spec
    try:
        return spec.with_asked(read_asked(run))
    except JournalError as error:
        raise TableError(str(error)) from None


def read_provenance(run: Folder) -> dict[str, Any]:
    """Reads the provenance of a run folder, and registers the names that its plugins added; raises TableError."""
    provenance = _read(run, PROVENANCE, _parse_provenance)
    register(provenance.get(ADDED) or {})
    return {key: value for key, value in provenance.items() if key not in (SEAL, SPEC_DIGESTS)}


def read_former(run: Folder, plan: Plan) -> tuple[StudySpec, dict[str, Any]]:
    """Reads the spec and the provenance that earlier launches left, for the launch of a plan, which makes them good.

    A damaged spec is made good if the launch's is the very one that was written there; where the provenance, which
    would know, is damaged too, if every replicate in the folder is the plan's. A damaged provenance is always made
    good: the data are loaded and digested anew, and each replicate's record keeps its own origin.

    Raises:
        TableError: The spec is damaged, and the launch's is another.
    """
    provenance: dict[str, Any] = {"data_digests": {}}
    try:
        if run.exists(PROVENANCE):
            provenance = read_provenance(run)
    except TableError as error:
        _LOG.warning("%s It is written anew.", error)
    try:
        return read_spec(run, asked=False), provenance
    except TableError as error:
        known = _spec_digests(run)
        if _digest(dump(plan.spec.with_asked([])).encode()) not in known and (known or not _holds_only(run, plan)):
            raise
        _LOG.warning("%s It is written anew.", error)
    return plan.spec, provenance


def _holds_only(run: Folder, plan: Plan) -> bool:
    """Whether every replicate in a run folder is the plan's, or of a trial in its search's journal."""
    try:
        asked = [] if plan.spec.search is None else read_asked(run)
    except JournalError:
        return False
    whole = Plan(plan.spec.with_asked(asked), plan.digests)
    return set(run.child("replicates").names()) <= {replicate.hash for replicate in whole.replicates}


def write_run(run: Folder, spec: StudySpec, provenance: dict[str, Any]) -> None:
    """Writes what `read_plan` reads; the spec last, since it makes the folder a run folder.

    The provenance has the digest of the spec, and of the one that it replaces: a kill may come between the two files.
    """
    content = dump(spec).encode()
    sealed = provenance | {SPEC_DIGESTS: [_digest(content), *_spec_digests(run)[:1]]}
    run.write(PROVENANCE, _json(sealed | {SEAL: _digest(_json(sealed))}))
    run.write(SPEC, content)


def with_added(provenance: dict[str, Any], former: Mapping[str, Any]) -> dict[str, Any]:
    """Adds to a provenance the names that plugins added according to a former one."""
    old, new = former.get(ADDED), provenance.get(ADDED)
    if old is None:
        return provenance
    new = new or {}
    return provenance | {ADDED: {kind: old.get(kind, {}) | new.get(kind, {}) for kind in sorted(old | new)}}


def differences(old: StudySpec, new: StudySpec) -> list[str]:
    """Lists what keeps two specs from sharing a run folder, a line per key; seeds and further cells may differ."""
    lines = [f"name: {old.name!r} there, {new.name!r} here"] if old.name != new.name else []
    lines += _search_differences(old, new)
    here, there = (Plan(spec).compared for spec in (new, old))
    for label in here.keys() & there.keys():
        lines += [
            f"cell {label!r}, {field}: {getattr(there[label], field)!r} there, {getattr(here[label], field)!r} here"
            for field in TrialConfig.model_fields
            if getattr(there[label], field) != getattr(here[label], field)
        ]
    if not lines and not (here.keys() <= there.keys() or there.keys() <= here.keys()):
        lines.append(
            f"cells: {sorted(there.keys() - here.keys())} there only, {sorted(here.keys() - there.keys())} here only"
        )
    return sorted(lines)


def grown(old: StudySpec, new: StudySpec) -> StudySpec:
    """Joins two specs without `differences`: all cells, seeds and measurements that either has; raises SpecError."""
    here, there = (Plan(spec).compared for spec in (new, old))
    larger = new if there.keys() <= here.keys() else old
    measurements = list(dict.fromkeys([*old.measurements, *new.measurements]))
    search = None
    if old.search is not None and new.search is not None:
        asked = max(old.search.asked, new.search.asked, key=len)
        search = new.search.model_dump() | {"asked": asked, "trials": max(old.search.trials, new.search.trials)}
    seeds, data = max(old.seeds, new.seeds), old.model_dump()["data"] | new.model_dump()["data"]  # a file may move
    return larger.with_keys(seeds=seeds, measurements=measurements, search=search, data=data)


def _search_differences(former: StudySpec, later: StudySpec) -> list[str]:
    """Lists what keeps two searches from being one that has come further; trials and their concurrency may differ.

    Optuna hears of a trial once, so neither what trials share nor the seeds that judge them may change.
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
    lines = [f"{key}: {a!r} there, {b!r} here" for key, (a, b) in pairs.items() if a != b]
    if any(a != b for a, b in zip(old.asked, new.asked, strict=False)):
        lines.append("search.asked: other configurations there than here")
    return lines


def _read(run: Folder, name: str, parse_content: Callable[[bytes], _T]) -> _T:
    try:
        return parse_content(run.read(name, _MAX_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        raise TableError(f"{run.url} is no run folder: it must hold spec.yaml and provenance.json.") from None
    except (ValueError, RecursionError) as error:  # SpecError, not UTF-8, not JSON
        remedy = "`study launch` with the study and --run mends it, if need be after it was deleted; no result is lost."
        if {"results.parquet", "replicates"} & set(run.names()) == {"results.parquet"}:
            remedy = "Fetch the folder again from where it came, or make it again by `study table RUN --to`."
        raise TableError(f"{run.url}/{name} is damaged: {str(error).rstrip('.')}. {remedy}") from None


def _parse_provenance(content: bytes) -> dict[str, Any]:
    provenance = json.loads(content)
    digests = provenance.get("data_digests") if isinstance(provenance, dict) else None
    if not isinstance(digests, dict) or not all(isinstance(value, str) for value in digests.values()):
        raise ValueError("it names no data_digests")
    seal = provenance.pop(SEAL, None)  # absent before there was one
    if seal is not None and seal != _digest(_json(provenance)):
        raise ValueError("it is not as a launch has written it")
    return dict(provenance)


def _spec_digests(run: Folder) -> list[str]:
    """Digests of the spec that a run folder may hold, the newest first; none where they are not known."""
    try:
        digests = _parse_provenance(run.read(PROVENANCE, _MAX_BYTES)).get(SPEC_DIGESTS, [])
    except (OSError, ValueError, RecursionError):
        return []
    return list(map(str, digests)) if isinstance(digests, list) else []


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _last_row(outcome: Standing) -> Standing:
    record = outcome.record and replace(outcome.record, rows=outcome.record.rows[-1:], profiles=[], images=[])
    return replace(outcome, record=record, images=None)
