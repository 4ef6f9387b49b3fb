"""How far each replicate of a run has come: from its run folder, or from its tables where only those were stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from study.runfolder import outcomes
from study.tables.files import load_tables
from trainables.records import Record, Standing
from trainables.schema import Replicate
from trainables.storage import Folder


def standing(run: Folder, replicates: Iterable[Replicate]) -> dict[str, Standing]:
    """Reads how far each replicate has come, by hash; of a folder under `results/` from its tables."""
    if "replicates" in run.names():
        return outcomes(run, replicates)
    rows = {row["replicate"]: row for row in load_tables(run).ends.to_dict("records")}
    return {r.hash: _outcome(r, rows[r.hash]) if r.hash in rows else Standing("pending") for r in replicates}


def _outcome(replicate: Replicate, row: Mapping[Any, Any]) -> Standing:
    """Makes a replicate's outcome from its last row of the results table; null where that is null."""
    values: dict[str, Any] = {str(key): None if pd.isna(value) else value for key, value in row.items()}
    rows = [] if values["step"] is None else [values]
    record = Record({"cell": replicate.cell}, rows=rows, provenance={"device": values["device"]})
    record.train_s, record.evaluate_s = values["train_s"] or 0.0, values["evaluate_s"] or 0.0
    return Standing(values["status"], values["error"], record)
