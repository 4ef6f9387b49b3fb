"""The tables of the paper's study in small, in memory: every number is known."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from study import spec
from study.plan import Plan
from study.spec import StudySpec
from study.table import Tables
from study.tables.columns import SCHEMAS
from trainables.schema import Replicate

STEPS = (0, 10, 200, 600, 1000)
FINAL = {"linear": 148.0, "linear clipped": 1545.0, "sigmoid": 120.0, "relu": 111.0, "elu": 100.0, "vae": 105.0}
FLOOR, MEAN_IMAGE = 45.5, 205.8
SEED_STEP = 2.0
"""How much the test NLL of one seed exceeds that of the seed before it."""


def make_tables(seeds: int = 3, *, arms: tuple[str, ...] = (*FINAL, "pca"), **changes: Any) -> Tables:
    """Tables of the built-in study `paper`, finished: at the last step `FINAL[cell] + SEED_STEP * seed`.

    `changes` replaces keys of the spec (`base`, `grid`, `title`, ...).
    """
    study = spec.load("paper")
    base = study.base | {"steps": STEPS[-1]} | changes.pop("base", {})
    chosen = {name: study.arms[name] for name in arms}
    study = study.model_copy(update={"base": base, "arms": chosen, "seeds": seeds} | changes)
    results, profiles, images = [], [], []
    for replicate in Plan(study, {"mnist": "d1"}).replicates:
        pca = replicate.config.task == "pca"
        steps = (0,) if pca else STEPS
        results += [_row(study.name, replicate, step, final=step == steps[-1]) for step in steps]
        profiles += _profiles(replicate)
        images += _images(replicate)
    rows = {"results": results, "profiles": profiles, "images": images}
    frames = {name: pd.DataFrame(rows[name], columns=SCHEMAS[name].names) for name in SCHEMAS}
    provenance = {
        "git_commit": "abc",
        "versions": {"torch": "2.14"},
        "command": "study launch paper",
        "data_digests": {"mnist": "d1"},
    }
    return stored(frames, study, provenance)


def stored(frames: dict[str, pd.DataFrame], study: StudySpec, provenance: dict[str, Any]) -> Tables:
    """Tables of these frames, in parquet files that lie in memory."""
    files = {}
    for name, frame in frames.items():
        content = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(frame, SCHEMAS[name], preserve_index=False), content, row_group_size=50)
        files[name] = pq.ParquetFile(content)
    return Tables(files, study, provenance)


def replaced(tables: Tables, cell: str, seed: int, **values: Any) -> Tables:
    """The same tables with these values in all rows of a replicate; without a step it has one row."""
    results = tables.results.copy()
    mask = (results["cell"] == cell) & (results["seed"] == seed)
    if values.get("step", 0) is None:
        results = results[~mask | ~mask.duplicated()].reset_index(drop=True)
        mask = (results["cell"] == cell) & (results["seed"] == seed)
    for column, value in values.items():
        results.loc[mask, column] = value
    results = results.drop_duplicates(["replicate", "step"], keep="last")  # one that has yet to begin has one row
    frames = {"results": results, "profiles": tables.profiles, "images": tables.images}
    return stored(frames, tables.spec, tables.provenance)


def _row(study: str, replicate: Replicate, step: int, *, final: bool) -> dict[str, Any]:
    config = {f"config/{k}": str(list(v)) if isinstance(v, tuple) else v for k, v in replicate.config}
    progress = 1.0 if replicate.config.task == "pca" else step / STEPS[-1]
    end = FINAL.get(replicate.cell.partition(" latent_dim")[0], 157.7) + SEED_STEP * replicate.seed
    nll = end + (1 - progress) * 300.0
    kl = 11.0 if replicate.config.variational else None
    return config | {
        "study": study, "cell": replicate.cell, "replicate": replicate.hash, "seed": replicate.seed,
        "status": "finished", "error": None, "collapsed": False, "final": final, "step": step, "epoch": step / 550,
        "test_nll": nll, "test_nll_mean": nll, "test_kl": kl, "test_sse": 20.0,
        "train_nll": 108.0 if step == 600 else 100.0, "train_s": 60.0,
        "evaluate_s": 1.0, "device": "cpu", "data_digest": "d1", "git_commit": "abc", "results_version": 1,
    }  # fmt: skip


def _profiles(replicate: Replicate) -> list[dict[str, Any]]:
    config = replicate.config
    last = 0 if config.task == "pca" else STEPS[-1]
    values = {(0, "test_nll_floor"): [FLOOR], (0, "test_nll_mean_image"): [MEAN_IMAGE]}
    if config.latent_dim == 2 and config.task == "train":
        rng = np.random.default_rng(replicate.seed)
        values |= {(last, f"code_{axis}"): rng.normal(size=40).tolist() for axis in range(2)}
        values |= {(last, f"grid_axis_{axis}"): np.linspace(-2, 2, 3).tolist() for axis in range(2)}
        values[last, "code_label"] = [float(index % 10) for index in range(40)]
    return [
        {"replicate": replicate.hash, "step": step, "quantity": quantity, "index": index, "value": value}
        for (step, quantity), numbers in values.items()
        for index, value in enumerate(numbers)
    ]


def _images(replicate: Replicate) -> list[dict[str, Any]]:
    config = replicate.config
    steps = (0,) if config.task == "pca" else STEPS[2:]
    kinds = [(0, "input", 10), *((step, "reconstruction", 10) for step in steps)]
    kinds += [(steps[-1], "sample", 20)] if config.variational else []
    kinds += [(steps[-1], "grid", 9)] if config.latent_dim == 2 and config.task == "train" else []
    return [
        {
            "replicate": replicate.hash,
            "step": step,
            "kind": kind,
            "index": index,
            "shape": "[28, 28, 1]",
            "pixels": bytes([index * 9]) * 784,
        }
        for step, kind, count in kinds
        for index in range(count)
    ]
