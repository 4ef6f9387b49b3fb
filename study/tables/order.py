"""The order of the tables' rows: checked when tables are read, restored where another tool has written them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from study.runfolder import TableError

if TYPE_CHECKING:
    import pandas as pd

_BLOCK: dict[str, list[str]] = {"results": [], "profiles": ["step", "quantity"], "images": ["step", "kind"]}
"""Columns whose equal values lie together among the rows of a replicate."""
_WITHIN = {"results": ["step"], "profiles": ["index"], "images": ["index", "axis", "value"]}
"""Columns that rise strictly within such a block."""
_GROUP = 10_000


def in_order(files: Mapping[str, pq.ParquetFile], cells: Sequence[str], folder: str) -> dict[str, pq.ParquetFile]:
    """The tables with their rows in order: in the same files where they are so already, else sorted in memory.

    The rows of a replicate lie together, by rising step; replicates by seed, and within a seed by cell, in one order:
    that of the spec (`cells`), or another that a merge has written. Raises TableError, which names `folder`, if a table
    has two rows for the same thing.
    """
    named = files["results"].read(["replicate", "seed", "cell"]).to_pandas().drop_duplicates("replicate")
    places = named["cell"].map({label: place for place, label in enumerate(cells)})
    replicates = named.assign(cell=places).sort_values(["seed", "cell"])["replicate"]
    ordered = {}
    for name, file in files.items():
        keys = ["replicate", *_BLOCK[name], *_WITHIN[name]]
        rows = file.read(keys)
        codes = {key: _codes(rows[key]) for key in keys}
        ordered[name] = file
        if not _together(codes, name) or (name == "results" and not _by_seed(named)):
            _refuse_doubled(rows, codes, f"{folder}/{name}.parquet")
            ordered[name] = _sorted(file, rows, replicates)
    return ordered


def _refuse_doubled(rows: pa.Table, codes: Mapping[str, np.ndarray], file: str) -> None:
    _, first = np.unique(_joined(codes, list(codes)), return_index=True)
    if len(first) < len(rows):
        doubled = rows.slice(int(np.setdiff1d(np.arange(len(rows)), first)[0]), 1).to_pylist()[0]
        what = ", ".join(f"{key} {value}" for key, value in doubled.items() if value is not None)
        raise TableError(f"{file} must have each row once, but has two of {what}.")


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """A whole number for each value of a column, equal for equal ones; of numbers in their order, null the least."""
    if pa.types.is_string(column.type):
        codes: np.ndarray = column.combine_chunks().dictionary_encode().indices.to_numpy()
        return codes
    values = column.to_pandas().fillna(-np.inf).to_numpy(float)
    return np.unique(values, return_inverse=True)[1]


def _joined(codes: Mapping[str, np.ndarray], keys: Sequence[str]) -> np.ndarray:
    """One code for each row's values in all these columns, in the order of the columns."""
    return np.ravel_multi_index([codes[key] for key in keys], [codes[key].max(initial=0) + 1 for key in keys])


def _together(codes: Mapping[str, np.ndarray], name: str) -> bool:
    """Whether replicates and their blocks lie together, with rising steps, and rise strictly within."""
    replicate, block = codes["replicate"], _joined(codes, ["replicate", *_BLOCK[name]])
    new_replicate, new_block = np.diff(replicate) != 0, np.diff(block) != 0
    scattered = any(
        len(np.unique(key)) < 1 + new.sum() for key, new in ((replicate, new_replicate), (block, new_block))
    )
    rising = new_replicate | (np.diff(codes["step"]) >= 0)
    strictly = new_block | (np.diff(_joined(codes, _WITHIN[name])) > 0)
    return not len(block) or (not scattered and bool(rising.all() and strictly.all()))


def _by_seed(replicates: pd.DataFrame) -> bool:
    """Whether replicates lie by rising seed, with the cells of each seed in one order."""
    cells = replicates.sort_values("seed", kind="stable")["cell"].unique()
    places = replicates["cell"].map({cell: place for place, cell in enumerate(cells)}).to_numpy()
    seeds = np.diff(replicates["seed"].to_numpy())
    return bool(((seeds > 0) | ((seeds == 0) & (np.diff(places) > 0))).all())


def _sorted(file: pq.ParquetFile, rows: pa.Table, replicates: pd.Series) -> pq.ParquetFile:
    frame = rows.to_pandas()
    frame["replicate"] = frame["replicate"].map({name: place for place, name in enumerate(replicates)})
    content = io.BytesIO()
    order = frame.sort_values(rows.column_names).index
    pq.write_table(file.read().take(pa.array(order)), content, row_group_size=_GROUP)
    return pq.ParquetFile(content)
