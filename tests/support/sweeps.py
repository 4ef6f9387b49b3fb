"""Tables of a sweep over the latent dimension whose estimates are known, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from study import spec
from study.plan import Plan
from study.spec import StudySpec
from study.table import Tables
from study.tables.columns import SCHEMAS
from tests.support.tables import stored
from trainables.schema import Replicate

DIMS = (1, 2, 5, 10, 20, 50, 64, 100, 200)
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Of a run, at which the made-up networks are evaluated."""
FLOOR, MEAN_IMAGE, BEST = 45.5, 205.8, 50.0
SATURATED, SLOPE = 64, 20.0
"""The made-up NLL falls by 20 nats per unit of log N up to N = 64, and then no more."""
CUBES, SHRUNK = (1.0, 10.0, 20.0, 40.0), 0.8
"""The made-up estimators return 0.8 of a cube's dimension."""


def nll(network: str, latent_dim: int, seed: int, fraction: float) -> float:
    late = {"elu": 1.0, "vae": 1.5, "linear": 2.0, "pca": 2.5}[network] * (0.98 + 0.02 * seed)
    excess = max(np.log(SATURATED / latent_dim), 0.0) * SLOPE * late
    return float(BEST + excess + 50 * np.exp(-40 * fraction))


def active(latent_dim: int, seed: int, fraction: float) -> float:
    return min(latent_dim, 24 + seed)


def sweep_tables(
    *,
    dims: tuple[int, ...] = DIMS,
    seeds: int = 3,
    dataset: str = "mnist",
    steps: int | None = None,
    nll: Callable[[str, int, int, float], float] = nll,
    active: Callable[[int, int, float], float] = active,
    profiles: Callable[[Replicate, str], dict[str, list[float]]] = lambda replicate, network: {},
    status: Callable[[Replicate], str] = lambda replicate: "finished",
    networks: tuple[str, ...] = ("elu", "vae"),
    further: tuple[dict[str, Any], ...] = (),
    base: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
    name: str = "latent",
) -> Tables:
    """Tables of the study `latent` with these metrics; from N = 20 on five times as many steps, as there.

    `further` are more parts of the grid, `base` more fields of every arm, `name` the study's name.
    """
    study = spec.load("latent")
    arms = {name: study.arms[name] for name in networks}
    large = [dim for dim in dims if dim >= 20]
    grids = [
        {"latent_dim": [dim for dim in dims if dim < 20], "steps": steps or 1000},
        {"latent_dim": large, "steps": steps or 5000},
    ]
    grid = [part for part in grids if part["latent_dim"]] + list(further)
    study = study.model_copy(
        update={"arms": arms, "grid": grid, "seeds": seeds, "base": {"dataset": dataset} | (base or {}), "name": name}
    )
    results: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for replicate in Plan(study, {dataset: "d1"}).replicates:
        config, network = replicate.config, replicate.cell.split()[0]
        common = result_row(study, replicate) | {"status": status(replicate)}
        for fraction in SHARES[:1] if config.task == "pca" else SHARES:
            shown = 1.0 if config.task == "pca" else fraction
            loss = nll(network, config.latent_dim or 0, replicate.seed, shown)
            row = common | {"step": round(fraction * (config.steps or 0)), "test_nll": loss}
            if network == "vae":
                units = active(config.latent_dim or 0, replicate.seed, shown)
                row |= {"test_neg_elbo": loss + 25.0, "test_active_units": units}
            results.append(row)
        last = 0 if config.task == "pca" else config.steps or 0
        own = {"test_nll_floor": [FLOOR], "test_nll_mean_image": [MEAN_IMAGE]} | profiles(replicate, network)
        found += profile_rows(replicate, last, own)
    return tables_of(study, results, found, provenance)


def intrinsic_tables(
    raw: Callable[[str, int, int | None, int], float],
    *,
    datasets: tuple[str, ...] = ("mnist",),
    sizes: tuple[int, ...] = (1000, 10_000),
    digits: tuple[int | None, ...] = (None,),
    cubes: int | None = None,
    finished: bool = True,
) -> Tables:
    """Tables of a study of intrinsic dimensions, three subsamples each; `raw` of dataset, size, digit, seed.

    Without `finished` all of them have failed.
    TwoNN returns it, the MLE one more at each number of neighbours; cubes of `cubes` points, or of as many as the data.
    """
    grid = {"dataset": list(datasets), "sample_size": list(sizes)}
    arms: dict[str, dict[str, Any]] = {
        "all" if digit is None else f"digit {digit}": {"task": "intrinsic_dimension"}
        | ({} if digit is None else {"digit": digit})
        for digit in digits
    }
    study = StudySpec(name="intrinsic", seeds=3, arms=arms, grid=grid)
    results, found = [], []
    for replicate in Plan(study, dict.fromkeys(datasets, "d1")).replicates:
        config = replicate.config
        size = config.sample_size or 0
        value = raw(config.dataset, size, config.digit, replicate.seed)
        results.append(result_row(study, replicate) | {"status": "finished" if finished else "failed", "step": 0})
        shrunk = [SHRUNK * cube for cube in CUBES]
        values = {
            "dimension_points": [float(size)], "cube_points": [float(cubes or size)], "cube_dims": list(CUBES),
            "dimension_neighbours": [5.0, 20.0], "dimension_twonn": [value], "dimension_mle": [value + 1, value + 1],
            "cube_twonn": shrunk, "cube_mle_5": shrunk, "cube_mle_20": shrunk,
        }  # fmt: skip
        found += profile_rows(replicate, 0, values if finished else {})
    return tables_of(study, results, found)


def result_row(study: StudySpec, replicate: Replicate) -> dict[str, Any]:
    config = {f"config/{k}": str(list(v)) if isinstance(v, tuple) else v for k, v in replicate.config}
    return config | {
        "study": study.name, "cell": replicate.cell, "replicate": replicate.hash, "seed": replicate.seed,
        "collapsed": False, "final": True, "results_version": 1,
    }  # fmt: skip


def profile_rows(replicate: Replicate, step: int, values: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [
        {"replicate": replicate.hash, "step": step, "quantity": quantity, "index": index, "value": value}
        for quantity, numbers in values.items()
        for index, value in enumerate(numbers)
    ]


def tables_of(
    study: StudySpec,
    results: list[dict[str, Any]],
    profiles: list[dict[str, Any]],
    provenance: dict[str, Any] | None = None,
) -> Tables:
    rows: dict[str, list[dict[str, Any]]] = {"results": results, "profiles": profiles, "images": []}
    return stored(
        {name: pd.DataFrame(rows[name], columns=SCHEMAS[name].names) for name in SCHEMAS}, study, provenance or {}
    )
