"""The columns of the three tables, and the rows that one replicate gives in each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from trainables.records import ImageKey, Profile, Record
from trainables.records import Standing as Outcome
from trainables.schema import METRICS, RESULTS_VERSION, Replicate, TrialConfig, applies

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
    "input_noise": pa.float64(),
    "sample_size": pa.int64(),
    "digit": pa.int64(),
}
SCHEMAS: dict[str, pa.Schema] = {
    "results": pa.schema(
        [("study", pa.string()), ("cell", pa.string()), ("replicate", pa.string()), ("seed", pa.int64())]
        + [("status", pa.string()), ("error", pa.string()), ("collapsed", pa.bool_()), ("final", pa.bool_())]
        + [("step", pa.int64()), ("epoch", pa.float64())]
        + [(f"config/{name}", _FIELD_TYPES.get(name, pa.string())) for name in TrialConfig.model_fields]
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
            ("pixels", pa.binary(784)),
        ]
    ),
}
"""Column names and types of each table; tuples are JSON strings."""
LATER_FIELDS = ("precision", "learning_rate_schedule", "input_noise", "sample_size", "digit", "input")
"""Fields of TrialConfig that are younger than the first tables; where a table has no such column, its default holds."""
LATER_COLUMNS = ("numerics",)
"""Other columns that are younger than the first tables; null where a table has none."""
PLUGIN_PREFIX = "x/"
"""Columns of this prefix are a plugin's own and pass every check."""


def rows_of(study: str, replicate: Replicate, found: Outcome) -> dict[str, pa.Table]:
    """A replicate's rows in each table, by the table's name; one without an evaluation has one row in `results`."""
    name, record = replicate.hash, found.record or Record({})
    return {
        "results": _results(study, replicate, found),
        "profiles": _profiles(name, record.profiles),
        "images": _images(name, record.images, found.images),
    }


def complete(rows: pa.Table) -> pa.Table:
    """Rows of the results table with the columns of LATER_FIELDS and LATER_COLUMNS, where they are older than these."""
    for name in LATER_FIELDS:
        if f"config/{name}" in SCHEMAS["results"].names and f"config/{name}" not in rows.column_names:
            kinds = zip(rows["config/task"].to_pylist(), rows["config/model"].to_pylist(), strict=True)
            default = TrialConfig.model_fields[name].default
            values = [default if name in applies({"task": task, "model": model}) else None for task, model in kinds]
            field = SCHEMAS["results"].field(f"config/{name}")
            rows = rows.append_column(field, pa.array(values, field.type))
    for name in LATER_COLUMNS:
        if name not in rows.column_names:
            field = SCHEMAS["results"].field(name)
            rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows


def _results(study: str, replicate: Replicate, found: Outcome) -> pa.Table:
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
        "numerics": provenance.get("numerics"),
        "git_commit": provenance.get("git_commit"),
        "data_digest": replicate.data_digest,
        "results_version": RESULTS_VERSION,
    }
    rows = (found.record.rows if found.record else []) or [{}]
    last = found.status in ("finished", "diverged")
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


def _images(replicate: str, index: list[ImageKey], pixels: np.ndarray | None) -> pa.Table:
    """One row for each `[step, kind, index, axis, value]`; `pixels`: uint8 `(len(index), 784)`."""
    stored = np.empty((0, 784), np.uint8) if pixels is None else pixels
    if len(stored) != len(index):
        raise ValueError(
            f"`len(images) == len(pixels)` must hold for {replicate}, but got {len(index)}, {len(stored)}."
        )
    fields = zip(*index, strict=True) if index else [()] * 5
    columns: dict[str, Any] = dict(zip(("step", "kind", "index", "axis", "value"), fields, strict=True))
    content = pa.py_buffer(np.ascontiguousarray(stored))
    columns["pixels"] = pa.FixedSizeBinaryArray.from_buffers(pa.binary(784), len(stored), [None, content])
    return _table("images", replicate, columns)


def _table(name: str, replicate: str, columns: Mapping[str, Any]) -> pa.Table:
    length = len(columns["index"])
    return pa.table({"replicate": pa.repeat(replicate, length), **columns}, SCHEMAS[name])
