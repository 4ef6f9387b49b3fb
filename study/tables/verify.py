"""Checks every file of a run folder, or the tables of a folder under `results/`: `study verify`. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator

from study.plan import Plan
from study.runfolder import read_plan
from study.tables.build import Builder
from study.tables.columns import SCHEMAS
from study.tables.files import load_tables, open_table
from study.tables.sums import wrong_sums
from trainables import checkpoint, replicate_file
from trainables.errors import ReadableError
from trainables.replicate_file import TENSORS, FileName
from trainables.storage import Folder


def problems(run: Folder) -> Iterator[str]:
    """Names what is damaged, missing or contradicts the rest, one readable line each.

    The spec, the provenance and a search's journal are read; each replicate's files are compared with the digests in
    their names; the folders' names are compared with the hashes of the spec's replicates; the tables are read to their
    end and compared with the replicates' folders, where these are there, else with SHA256SUMS, if there is one.
    """
    try:
        plan, _ = read_plan(run)
    except ReadableError as error:
        yield str(error)
        return
    if "replicates" in run.names():
        yield from _damaged_files(run, plan)
    try:
        load_tables(run)
    except ReadableError as error:
        yield str(error)
        return
    if "replicates" in run.names():
        yield from _stale_tables(run, plan)
    else:
        yield from wrong_sums(run)


def _damaged_files(run: Folder, plan: Plan) -> Iterator[str]:
    replicates = run.child("replicates")
    hashes = {replicate.hash for replicate in plan.replicates}
    for name in replicates.names():
        if name not in hashes:
            yield f"{replicates.url}/{name} must be named by the hash of one of the spec's replicates, but is not."
            continue
        folder = replicates.child(name)
        files = folder.files()
        if checkpoint.standing(folder).ended:  # nothing rests on a checkpoint that a kill has left
            files = [file for file in files if (parsed := FileName.parse(file)) is None or parsed.step is None]
        for file in files:
            try:
                (replicate_file.read_tensors if file.endswith(TENSORS) else replicate_file.read)(folder, file)
            except (ReadableError, OSError) as error:
                yield f"{str(error).rstrip('.')}."


def _stale_tables(run: Folder, plan: Plan) -> Iterator[str]:
    """Compares each table with what the replicates' folders give, a block of replicates at a time."""
    files = {name: open_table(run, name) for name in SCHEMAS}
    different = set()
    blocks = 0
    for block, rows in enumerate(Builder(run).blocks(plan)):
        blocks += 1
        for name, file in files.items():
            stored = file.read_row_group(block) if block < file.num_row_groups else SCHEMAS[name].empty_table()
            if not stored.replace_schema_metadata(None).equals(rows[name].replace_schema_metadata(None)):
                different.add(name)
    different |= {name for name, file in files.items() if file.num_row_groups > blocks}
    for name in sorted(different):
        yield (
            f"{run.url}/{name}.parquet must hold what the replicates' folders hold, but differs: "
            f"`study table {run.url}` builds it again."
        )
