"""Earlier and worse states of a run: its tables as they were, or may become, at some other moment."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from study.table import Tables
from trainables.schema import METRICS

MEASURED = [name for name in METRICS if name not in ("step", "epoch", "collapsed")]


def earlier(tables: Tables, rng: np.random.Generator) -> Tables:
    """The run as it was: each replicate is pending, running, failed, diverged, stopped or finished, by chance."""
    shares = rng.dirichlet([0.5] * 6)
    ends = dict(zip(tables.ends["replicate"], tables.ends["step"].fillna(0), strict=True))
    moment = rng.random()
    cuts: dict[str, tuple[str, float]] = {}
    for replicate, last in ends.items():
        status = str(rng.choice(["pending", "running", "failed", "diverged", "stopped", "finished"], p=shares))
        if status == "running":
            cuts[replicate] = status, last * min(moment * rng.uniform(0.8, 1.2), 0.99)
        elif status != "finished":
            cuts[replicate] = status, last * rng.random()
    return _spec_cut(_cut(tables, cuts), rng)


def first_second(tables: Tables) -> Tables:
    """The run before anything has been evaluated."""
    return _cut(tables, dict.fromkeys(tables.ends["replicate"], ("pending", -1.0)))


def worse(tables: Tables, rng: np.random.Generator) -> Tables:
    """The run with some of what it recorded taken away or spoilt: metrics, profiles, kinds of images."""
    frames = {"results": tables.results.copy(), "profiles": tables.profiles, "images": tables.images}
    results = frames["results"]
    for name in rng.choice(MEASURED, rng.integers(0, 4), replace=False):
        results[name] = rng.choice([np.nan, 0.0, 7.0, np.inf, 1e300])
    for name, column in (("profiles", "quantity"), ("images", "kind")):
        kinds = sorted(frames[name][column].unique())
        gone = [kind for kind in kinds if rng.random() < rng.choice([0.0, 0.2, 1.0])]
        frames[name] = frames[name][~frames[name][column].isin(gone)]
    return _stored(frames, tables)


def _cut(tables: Tables, cuts: dict[str, tuple[str, float]]) -> Tables:
    frames = {}
    steps = {replicate: step for replicate, (_, step) in cuts.items()}
    for name in ("results", "profiles", "images"):
        frame = getattr(tables, name)
        limit = frame["replicate"].map(steps).astype(float)
        frames[name] = frame[limit.isna() | (frame["step"] <= limit)]
    frames["results"] = pd.concat(_rows(tables, frames["results"], cuts), ignore_index=True)
    return _stored(frames, tables)


def _rows(tables: Tables, kept: pd.DataFrame, cuts: dict[str, tuple[str, float]]) -> Iterator[pd.DataFrame]:
    """Each replicate's rows: those that are left, or the one row of a replicate without an evaluation."""
    config = [name for name in tables.results if str(name).startswith("config/")]
    same = ["study", "cell", "replicate", "seed", "data_digest", "results_version", *config]
    left = dict(iter(kept.groupby("replicate")))
    for row in tables.results.drop_duplicates("replicate").to_dict("records"):
        status, _ = cuts.get(row["replicate"], ("finished", 0.0))
        rows = left.get(row["replicate"])
        if rows is None or status == "pending":
            rows = pd.DataFrame([{name: row[name] for name in same}]).reindex(columns=tables.results.columns)
        if row["replicate"] in cuts:
            error = f"{status} at a step" if status in ("failed", "diverged", "stopped") else None
            last = np.arange(len(rows)) == len(rows) - 1
            rows = rows.assign(status=status, error=error, final=last & (status == "diverged"))
        yield rows.astype(object)


def _spec_cut(tables: Tables, rng: np.random.Generator) -> Tables:
    """With some of a search's trials not drawn yet; or drawn, but not in the tables yet."""
    search = tables.spec.search
    if search is None or rng.random() < 0.5:
        return tables
    count = int(rng.integers(0, len(search.asked) + 1))
    later = {f"trial-{number:04d}" for number in range(count, len(search.asked))}
    gone = tables.ends.loc[tables.ends["cell"].isin(later), "replicate"]
    frames = {name: getattr(tables, name) for name in ("results", "profiles", "images")}
    cut = _stored({name: frame[~frame["replicate"].isin(gone)] for name, frame in frames.items()}, tables)
    return cut if rng.random() < 0.5 else replace(cut, spec=tables.spec.with_asked(search.asked[:count]))


def _stored(frames: dict[str, pd.DataFrame], tables: Tables) -> Tables:
    """Tables of these frames with the columns that the run's own tables have, which may be older than today's."""
    files = {}
    for name, frame in frames.items():
        content = io.BytesIO()
        schema = tables.files[name].schema_arrow
        pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False), content, row_group_size=5000)
        files[name] = pq.ParquetFile(content)
    return Tables(files, tables.spec, tables.provenance, tables.url)
