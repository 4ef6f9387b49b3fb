"""The columns of the three tables, and the rows that one replicate gives in each.

Units and meanings are in `trainables.schema.METRICS` and `trainables.quantities`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from trainables.records import ImageKey, Profile, Record, Standing
from trainables.schema import METRICS, RESULTS_VERSION, Replicate, TrialConfig
from trainables.shape import MNIST, Shape

CONFIG = "config/"
"""Prefix of the columns that hold TrialConfig's fields."""


def _field_type(name: str) -> pa.DataType:
    """The type of a TrialConfig field's column; tuples are JSON strings."""
    kinds = get_args(TrialConfig.model_fields[name].annotation)
    return pa.int64() if int in kinds else pa.float64() if float in kinds else pa.string()


SCHEMAS: dict[str, pa.Schema] = {
    "results": pa.schema(
        [("study", pa.string()), ("cell", pa.string()), ("replicate", pa.string()), ("seed", pa.int64())]
        + [("status", pa.string()), ("error", pa.string()), ("collapsed", pa.bool_()), ("final", pa.bool_())]
        + [("step", pa.int64()), ("epoch", pa.float64())]
        + [(f"{CONFIG}{name}", _field_type(name)) for name in TrialConfig.model_fields]
        + [(name, pa.float64()) for name in METRICS]
        + [("train_s", pa.float64()), ("evaluate_s", pa.float64()), ("device", pa.string()), ("numerics", pa.string())]
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
            ("shape", pa.string()),
            ("pixels", pa.binary()),
        ]
    ),
}
"""Column names and types of each table."""
LATER_COLUMNS = {"numerics": None, "shape": json.dumps(MNIST)}
"""Columns, beside those of a config, that are younger than the first tables, and their value where a table has none."""


def rows_of(study: str, replicate: Replicate, outcome: Standing) -> dict[str, pa.Table]:
    """A replicate's rows in each table, by the table's name; one without an evaluation has one row in `results`."""
    name, record = replicate.hash, outcome.record or Record({})
    return {
        "results": _results(study, replicate, outcome),
        "profiles": _profiles(name, record.profiles),
        "images": _images(name, record.images, record.shape, outcome.images),
    }


def complete(name: str, rows: pa.Table, configs: Mapping[str, TrialConfig]) -> pa.Table:
    """Adds to rows of a table the columns that are younger: a config's from `configs`, else as LATER_COLUMNS says."""
    absent = [column for column in SCHEMAS[name] if column.name not in rows.column_names]
    cells = rows["cell"].to_pylist() if absent and name == "results" else []
    values = {cell: config_columns(configs[cell]) for cell in set(cells)}
    for column in absent:
        later = LATER_COLUMNS.get(column.name)
        added = [values[cell].get(column.name, later) for cell in cells] if cells else [later] * len(rows)
        rows = rows.append_column(column, pa.array(added, column.type))
    return rows


def config_columns(config: TrialConfig) -> dict[str, Any]:
    """A config's value in each of its columns."""
    return {
        f"{CONFIG}{name}": json.dumps(value) if isinstance(value, list) else value
        for name, value in config.model_dump(mode="json").items()
    }


def _results(study: str, replicate: Replicate, outcome: Standing) -> pa.Table:
    provenance = outcome.record.provenance if outcome.record else {}
    common = config_columns(replicate.config) | {
        "study": study,
        "cell": replicate.cell,
        "replicate": replicate.hash,
        "seed": replicate.seed,
        "status": outcome.status,
        "error": outcome.error,
        "device": provenance.get("device"),
        "numerics": provenance.get("numerics"),
        "git_commit": provenance.get("git_commit"),
        "data_digest": replicate.data_digest,
        "results_version": RESULTS_VERSION,
    }
    rows = (outcome.record.rows if outcome.record else []) or [{}]
    last = outcome.status in ("finished", "diverged")
    columns = {
        field.name: pa.repeat(pa.scalar(common[field.name], field.type), len(rows))
        if field.name in common
        else pa.array([row.get(field.name) for row in rows], field.type)
        for field in SCHEMAS["results"]
    }
    columns["final"] = pa.array([False] * (len(rows) - 1) + [last])
    return pa.table(columns, SCHEMAS["results"])


def _profiles(replicate: str, profiles: list[Profile]) -> pa.Table:
    columns = {
        "step": [step for step, _, values in profiles for _ in values],
        "quantity": [quantity for _, quantity, values in profiles for _ in values],
        "index": [index for _, _, values in profiles for index in range(len(values))],
        "value": [value for _, _, values in profiles for value in values],
    }
    return _table("profiles", replicate, columns)


def _images(replicate: str, index: list[ImageKey], shape: Shape, pixels: np.ndarray | None) -> pa.Table:
    """One row for each `[step, kind, index, axis, value]`; `pixels`: uint8 `(len(index), shape.pixels)`."""
    stored = np.empty((0, shape.pixels), np.uint8) if pixels is None else pixels
    if len(stored) != len(index):
        raise ValueError(
            f"`len(images) == len(pixels)` must hold for {replicate}, but got {len(index)}, {len(stored)}."
        )
    fields = zip(*index, strict=True) if index else [()] * 5
    columns: dict[str, Any] = dict(zip(("step", "kind", "index", "axis", "value"), fields, strict=True))
    columns["shape"] = [json.dumps(shape)] * len(stored)
    content, width = pa.py_buffer(np.ascontiguousarray(stored)), pa.binary(shape.pixels)
    columns["pixels"] = pa.FixedSizeBinaryArray.from_buffers(width, len(stored), [None, content]).cast(pa.binary())
    return _table("images", replicate, columns)


def _table(name: str, replicate: str, columns: Mapping[str, Any]) -> pa.Table:
    length = len(columns["index"])
    return pa.table({"replicate": pa.repeat(replicate, length), **columns}, SCHEMAS[name])
