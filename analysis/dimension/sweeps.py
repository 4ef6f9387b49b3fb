"""A network's metrics against the latent dimension and training, by seed, read from the tables of one study.

The network has the reference setting: every field of its config but the free ones has its default. If several studies
hold such networks, the one with the most latent dimensions is read, so that budgets are not mixed across studies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.figures.base import NotApplicableError
from study.table import once
from trainables.schema import TrialConfig, applies

if TYPE_CHECKING:
    from study.table import Tables

FRACTIONS = np.arange(1, 51) / 50
"""Shares of a run at which histories are read: the evaluations of the default config."""
NETWORKS: dict[str, dict[str, str]] = {
    "elu": {"model": "autoencoder", "activation": "elu"},
    "vae": {"model": "vae", "activation": "elu"},
    "linear": {"model": "autoencoder", "activation": "linear"},
}
ACTIVE_THRESHOLD = 0.1
"""The other threshold of active units; that of `test_active_units` is 0.01."""
_FREE = frozenset("dataset latent_dim steps evaluations precision".split())
_RECORDED = ("test_nll", "test_neg_elbo", "test_active_units")
_PROFILED = {"neg_iw_bound": 2, "recognition": 0, "recognition_originals": 0}
"""Quantities of which one index is a metric here; of the bound, that of 100 samples."""
METRICS = (*_RECORDED, "active_units_0.1", *_PROFILED)
_LEVELS = {"test_nll_floor": 0, "test_nll_mean_image": 0}


@dataclass(frozen=True)
class Sweep:
    """A network at several latent dimensions.

    Attributes:
        latent_dims: N, rising, `(num_dims,)`.
        steps: Training steps of each, `(num_dims,)`.
        seeds: Those that finished at every one of these N.
        missing: Latent dimensions of the study at which these seeds have not finished.
        left_out: Seeds of the study that have not finished at every one of these N.
        values: By METRICS, `(num_fractions, num_seeds, num_dims)`: the last evaluation up to that share of the run;
            NaN where there is none.
        floor: Entropy floor of the test images, nats per image; None if it was not recorded.
        mean_image: The mean image's test NLL, likewise.
    """

    latent_dims: np.ndarray
    steps: np.ndarray
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    left_out: tuple[int, ...]
    values: dict[str, np.ndarray]
    floor: float | None
    mean_image: float | None

    def at_equal_steps(self, metric: str) -> tuple[int, np.ndarray]:
        """The least budget of all N, and the metric of each N after as many steps, `(num_seeds, num_dims)`."""
        least = int(self.steps.min())
        index = np.searchsorted(FRACTIONS, least / self.steps + 1e-9) - 1
        values = self.values[metric][np.maximum(index, 0), :, np.arange(len(index))].T
        return least, np.where(index >= 0, values, np.nan)

    @property
    def budget(self) -> str:
        """Training steps as a reader writes them."""
        low, high = int(self.steps.min()), int(self.steps.max())
        return f"{high:,}" if low == high else f"{low:,} to {high:,}"


def sweep(tables_list: Sequence[Tables], dataset: str, network: str, *, largest: bool = False) -> Sweep:
    """Reads a network's sweep over the latent dimension.

    Args:
        tables_list: Tables of any studies.
        dataset: A name in DATASETS.
        network: A key of NETWORKS.
        largest: Whether to read the study's largest latent dimension alone, so that its seeds need no others.

    Raises:
        NotApplicableError: No study has such a network, or none of it has finished; its text says which.
    """
    having = [tables for tables in tables_list if _trains(tables, dataset)]
    studies = [(tables, _planned(tables, dataset, network)) for tables in having]
    tables, planned = max(studies, key=lambda study: _breadth(study[1]), default=(None, pd.DataFrame()))
    if tables is None or not len(planned):
        raise NotApplicableError("needs study latent")
    if largest:
        planned = planned[planned["latent_dim"] == planned["latent_dim"].max()]
    chosen = _longest(planned)
    finished = chosen[chosen["status"] == "finished"]
    if not len(finished):
        raise NotApplicableError("unfinished: study latent has none yet")
    by_seed = finished.groupby("seed")["latent_dim"].agg(set)
    dims = max(by_seed, key=len)
    seeds = tuple(seed for seed, found in zip(by_seed.index.tolist(), by_seed, strict=True) if dims <= found)
    rows = finished[finished["latent_dim"].isin(dims) & finished["seed"].isin(seeds)]
    grid = rows.pivot(index="seed", columns="latent_dim", values="replicate")
    points = _points(tables)
    return Sweep(
        latent_dims=grid.columns.to_numpy(),
        steps=rows.groupby("latent_dim")["steps"].first().to_numpy(),
        seeds=seeds,
        missing=tuple(sorted({int(dim) for dim in chosen["latent_dim"]} - dims)),
        left_out=tuple(sorted({int(seed) for seed in chosen["seed"]} - set(seeds))),
        values=_values(points, grid, dict(zip(rows["replicate"], rows["steps"], strict=True))),
        floor=points.first("test_nll_floor", rows["replicate"]),
        mean_image=points.first("test_nll_mean_image", rows["replicate"]),
    )


def pca(tables_list: Sequence[Tables], dataset: str) -> tuple[pd.Series, np.ndarray | None]:
    """PCA's test NLL by latent dimension, nats per image, and all eigenvalues of the train images, falling; None."""
    nll: dict[int, float] = {}
    spectrum = None
    for tables in tables_list:
        ends = tables.ends
        rows = ends[(ends["config/task"] == "pca") & (ends["config/dataset"] == dataset)]
        rows = rows[rows["status"] == "finished"]
        nll |= dict(zip(rows["config/latent_dim"].astype(int), rows["test_nll"].astype(float), strict=True))
        if spectrum is None and len(rows):
            where: dict[str, Any] = {"replicate": rows["replicate"].iloc[:1], "quantity": ["spectrum"]}
            found = tables.rows("profiles", ["index", "value"], where).sort_values("index")["value"].to_numpy()
            spectrum = found if len(found) else None
    return pd.Series(nll, dtype="float64").sort_index(), spectrum


@once
def _trains(tables: Tables, dataset: str) -> bool:
    ends = tables.ends
    return bool(((ends["config/dataset"] == dataset) & (ends["config/task"] == "train")).any())


@once
def _planned(tables: Tables, dataset: str, network: str) -> pd.DataFrame:
    """Replicates of a network in its reference setting, finished or not: one row each."""
    own = NETWORKS[network]
    expected = {
        field: TrialConfig.model_fields[field].default for field in applies({"task": "train"} | own) - _FREE
    } | own
    configs = {
        cell: config
        for cell, config in tables.configs.items()
        if config.dataset == dataset and all(getattr(config, field) == value for field, value in expected.items())
    }
    rows = tables.ends.loc[tables.ends["cell"].isin(configs), ["replicate", "cell", "seed", "status"]]
    return rows.assign(**{name: [getattr(configs[c], name) for c in rows["cell"]] for name in ("latent_dim", "steps")})


def _breadth(planned: pd.DataFrame) -> tuple[int, int]:
    """Latent dimensions in all, and those at which something has finished."""
    finished = planned[planned["status"] == "finished"]
    return planned["latent_dim"].nunique(), finished["latent_dim"].nunique()


def _longest(planned: pd.DataFrame) -> pd.DataFrame:
    """Of several cells with one latent dimension, that with a finished replicate, and the most steps."""
    order = planned.assign(finished=planned["status"] == "finished").sort_values(["finished", "steps"], ascending=False)
    return planned.merge(order.drop_duplicates("latent_dim")[["cell"]])


class _Points(NamedTuple):
    """What a study's networks recorded, by rising step; `places` says where those of a metric and replicate stand."""

    step: np.ndarray
    value: np.ndarray
    places: dict[tuple[str, str], np.ndarray]

    def of(self, metric: str, replicate: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values, `(num_evaluations,)` each."""
        mine = self.places.get((metric, replicate), np.empty(0, int))
        return self.step[mine], self.value[mine]

    def first(self, metric: str, replicates: Iterable[str]) -> float | None:
        """The first value of the first of these replicates that has one."""
        values = (self.of(metric, name)[1] for name in replicates)
        return next((float(found[0]) for found in values if len(found)), None)


def _values(points: _Points, grid: pd.DataFrame, steps: dict[str, int]) -> dict[str, np.ndarray]:
    """Metrics of the replicates in `grid`, seeds by latent dimensions, at FRACTIONS of their runs."""

    def history(metric: str, replicate: str) -> np.ndarray:
        step, value = points.of(metric, replicate)
        if not len(step):
            return np.full(len(FRACTIONS), np.nan)
        index = np.searchsorted(step, FRACTIONS * steps[replicate] + 0.5) - 1
        return np.where(index >= 0, value[index], np.nan)

    return {
        metric: np.stack([[history(metric, name) for name in row] for row in grid.to_numpy()]).transpose(2, 0, 1)
        for metric in METRICS
    }


@once
def _points(tables: Tables) -> _Points:
    """METRICS and _LEVELS of all networks of a study."""
    recorded = tables.rows("results", ["replicate", "step", *_RECORDED])
    parts = [recorded.melt(["replicate", "step"], _RECORDED, "metric", "value")]
    single = _PROFILED | _LEVELS
    quantities = {"quantity": ["code_variance", *single]}
    profiles = tables.rows("profiles", ["replicate", "step", "quantity", "index", "value"], quantities)
    for quantity, index in single.items():
        rows = profiles[(profiles["quantity"] == quantity) & (profiles["index"] == index)]
        parts.append(rows.assign(metric=quantity)[["replicate", "step", "metric", "value"]])
    variances = profiles[profiles["quantity"] == "code_variance"]
    active = variances.assign(value=(variances["value"] > ACTIVE_THRESHOLD).astype(float))
    counts = active.groupby(["replicate", "step"], as_index=False)["value"].sum()
    parts.append(counts.assign(metric="active_units_0.1"))
    every = pd.concat([part for part in parts if len(part)], ignore_index=True).dropna()
    every = every.sort_values("step", kind="stable", ignore_index=True)
    places: dict[Any, Any] = every.groupby(["metric", "replicate"]).indices
    return _Points(every["step"].to_numpy(), every["value"].to_numpy(), places)
