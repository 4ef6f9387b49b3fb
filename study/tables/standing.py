"""The standing of each replicate of a run: from its tables where they know its end, else from its folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from study.runfolder import TableError, outcomes
from study.tables.files import load_tables, open_table
from trainables.records import Record, Standing
from trainables.replicate_file import MARKER
from trainables.schema import Replicate
from trainables.storage import Folder

_COLUMNS = "replicate status error collapsed step test_nll train_s evaluate_s device".split()
_LASTING = ("finished", "diverged", "stopped")


def standing(run: Folder, replicates: Iterable[Replicate]) -> dict[str, Standing]:
    """Reads how far each replicate has come, by hash; its record has the last row alone, and that in part.

    An end that the tables know is taken from there while the replicate's folder says that there is one. Of a folder
    under `results/` there are the tables alone.
    """
    if "replicates" not in run.names():
        rows = _last_rows(load_tables(run).files["results"].read(_COLUMNS))
        return {r.hash: _standing(r, rows[r.hash]) if r.hash in rows else Standing("pending") for r in replicates}
    files = run.child("replicates").files_within()
    rows = _stored(run) if files else {}
    standings: dict[str, Standing] = {}
    for replicate in replicates:
        name = replicate.hash
        row = rows.get(name)
        if name not in files:
            standings[name] = Standing("pending")
        elif row and row["status"] in _LASTING and any(file.endswith(MARKER) for file in files[name]):
            standings[name] = _standing(replicate, row)
        else:
            standings |= outcomes(run, [replicate])
    return standings


def _stored(run: Folder) -> dict[str, dict[str, Any]]:
    """The last rows in a run folder's results table; none where it is absent or damaged."""
    try:
        return _last_rows(open_table(run, "results").read(_COLUMNS))
    except (TableError, pa.ArrowException, OSError):
        return {}


def _last_rows(rows: pa.Table) -> dict[str, dict[str, Any]]:
    """The last row of each replicate, by hash, without pandas, which takes longer to load than all else."""
    names, steps = rows["replicate"].to_pylist(), rows["step"].to_pylist()
    last = {names[place]: place for place in sorted(range(len(rows)), key=lambda place: steps[place] or 0)}
    values = {name: {key: rows[key][place].as_py() for key in _COLUMNS} for name, place in last.items()}
    return {name: {key: None if v != v else v for key, v in row.items()} for name, row in values.items()}  # no NaN


def _standing(replicate: Replicate, row: Mapping[Any, Any]) -> Standing:
    rows = [] if row["step"] is None else [dict(row)]
    record = Record({"cell": replicate.cell}, rows=rows, provenance={"device": row["device"]})
    record.train_s, record.evaluate_s = row["train_s"] or 0.0, row["evaluate_s"] or 0.0
    return Standing(row["status"], row["error"], record)
