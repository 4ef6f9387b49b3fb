"""A network's metrics against the latent dimension and training, by seed, read from the tables of one study.

The network has the reference setting: every field of its config but the free ones has its default. If several studies
hold such networks, the one with the most latent dimensions is read, so that budgets are not mixed across studies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.figures.base import NotApplicableError
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
"""Profiles that are read as one number, and at which index (2: the bound with 100 importance samples)."""
SWEPT = (*_RECORDED, "active_units_0.1", *_PROFILED)
"""Metrics and quantities that a sweep has."""
_LEVELS = {"test_nll_floor": 0, "test_nll_mean_image": 0}


@dataclass(frozen=True)
class Sweep:
    """A network at several latent dimensions.

    Attributes:
        latent_dims: N, rising, `(num_dims,)`.
        steps: Training steps of each, `(num_dims,)`.
        seeds: Seeds that finished at every one of these N.
        missing: Latent dimensions of the study at which these seeds have not finished.
        left_out: Seeds of the study that have not finished at every one of these N.
        values: By SWEPT, `(num_fractions, num_seeds, num_dims)`: the last evaluation up to that share of the run;
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


class Networks:
    """The networks of one study that have the reference setting, and what they recorded."""

    def __init__(self, tables: Tables):
        self._tables = tables

    def planned(self, dataset: str, network: str) -> pd.DataFrame:
        """A row per replicate of a network on a dataset, finished or not.

        Columns: `replicate, cell, seed, status, dataset, latent_dim, steps`.
        """
        rows = self._reference[network]
        return rows[rows["dataset"] == dataset]

    @cached_property
    def _reference(self) -> dict[str, pd.DataFrame]:
        return {network: self._having(own) for network, own in NETWORKS.items()}

    def _having(self, own: dict[str, str]) -> pd.DataFrame:
        fields = applies({"task": "train"} | own) - _FREE
        expected = {field: TrialConfig.model_fields[field].default for field in fields} | own
        configs = {
            cell: config
            for cell, config in self._tables.configs.items()
            if all(getattr(config, field) == value for field, value in expected.items())
        }
        ends = self._tables.ends
        rows = ends.loc[ends["cell"].isin(configs), ["replicate", "cell", "seed", "status"]]
        own_fields = ("dataset", "latent_dim", "steps")
        return rows.assign(**{name: [getattr(configs[cell], name) for cell in rows["cell"]] for name in own_fields})

    @cached_property
    def points(self) -> Points:
        """SWEPT and _LEVELS of all networks of the study."""
        tables = self._tables
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
        rows = pd.concat([part for part in parts if len(part)], ignore_index=True).dropna()
        rows = rows.sort_values("step", kind="stable", ignore_index=True)
        places: dict[Any, Any] = rows.groupby(["metric", "replicate"]).indices
        return Points(rows["step"].to_numpy(), rows["value"].to_numpy(), places)


class Points(NamedTuple):
    """Recorded values of a study's networks, by rising step; `places` has the rows of a metric and replicate."""

    step: np.ndarray
    value: np.ndarray
    places: dict[tuple[str, str], np.ndarray]

    def of(self, metric: str, replicate: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values, `(num_evaluations,)` each."""
        rows = self.places.get((metric, replicate), np.empty(0, int))
        return self.step[rows], self.value[rows]

    def first(self, metric: str, replicates: Iterable[str]) -> float | None:
        """The first value of the first of these replicates that has one."""
        values = (self.of(metric, name)[1] for name in replicates)
        return next((float(recorded[0]) for recorded in values if len(recorded)), None)

    def history(self, metric: str, replicate: str, steps: int) -> np.ndarray:
        """The last value up to each of FRACTIONS of a run of this length, `(num_fractions,)`; NaN without one."""
        step, value = self.of(metric, replicate)
        if not len(step):
            return np.full(len(FRACTIONS), np.nan)
        index = np.searchsorted(step, FRACTIONS * steps + 0.5) - 1
        return np.where(index >= 0, value[index], np.nan)


class _Grid(NamedTuple):
    """The finished replicates of a sweep: `replicates` and `steps` are frames of seeds by latent dimensions."""

    replicates: pd.DataFrame
    steps: pd.DataFrame
    missing: tuple[int, ...]
    left_out: tuple[int, ...]


def sweep(studies: Sequence[Networks], dataset: str, network: str, *, largest: bool = False) -> Sweep:
    """Reads a network's sweep over the latent dimension.

    Args:
        studies: The networks of any studies.
        dataset: A name in DATASETS.
        network: A key of NETWORKS.
        largest: Whether to read the study's largest latent dimension alone, so that its seeds need no others.

    Raises:
        NotApplicableError: No study has such a network, or none of it has finished; its text says which.
    """
    plans = [(study.planned(dataset, network), study) for study in studies]
    planned, study = max(plans, key=lambda plan: _breadth(plan[0]), default=(pd.DataFrame(), None))
    if study is None or not len(planned):
        raise NotApplicableError("needs study latent")
    if largest:
        planned = planned[planned["latent_dim"] == planned["latent_dim"].max()]
    return _read(study.points, _choose(planned))


def _breadth(planned: pd.DataFrame) -> tuple[int, int]:
    """How many latent dimensions there are, and at how many something has finished."""
    finished = planned[planned["status"] == "finished"]
    return planned["latent_dim"].nunique(), finished["latent_dim"].nunique()


def _choose(planned: pd.DataFrame) -> _Grid:
    """The grid with the most latent dimensions that a seed finished, and all seeds that finished it."""
    chosen = _longest(planned)
    finished = chosen[chosen["status"] == "finished"]
    if not len(finished):
        raise NotApplicableError("unfinished: study latent has none yet")
    by_seed = finished.groupby("seed")["latent_dim"].agg(set)
    dims = max(by_seed, key=len)
    seeds = set(by_seed.index[[dims <= reached for reached in by_seed]].tolist())
    rows = finished[finished["latent_dim"].isin(dims) & finished["seed"].isin(seeds)]
    return _Grid(
        replicates=rows.pivot(index="seed", columns="latent_dim", values="replicate"),
        steps=rows.pivot(index="seed", columns="latent_dim", values="steps"),
        missing=tuple(sorted({int(dim) for dim in chosen["latent_dim"]} - dims)),
        left_out=tuple(sorted({int(seed) for seed in chosen["seed"]} - seeds)),
    )


def _longest(planned: pd.DataFrame) -> pd.DataFrame:
    """The cell of each latent dimension that has a finished replicate, and the most steps."""
    order = planned.assign(finished=planned["status"] == "finished").sort_values(["finished", "steps"], ascending=False)
    return planned.merge(order.drop_duplicates("latent_dim")[["cell"]])


def _read(points: Points, grid: _Grid) -> Sweep:
    names, steps = grid.replicates.to_numpy(), grid.steps.to_numpy()

    def values(metric: str) -> np.ndarray:
        rows = [
            [points.history(metric, name, length) for name, length in zip(*row, strict=True)]
            for row in zip(names, steps, strict=True)
        ]
        return np.stack(rows).transpose(2, 0, 1)

    return Sweep(
        latent_dims=grid.replicates.columns.to_numpy(),
        steps=steps[0],
        seeds=tuple(grid.replicates.index.tolist()),
        missing=grid.missing,
        left_out=grid.left_out,
        values={metric: values(metric) for metric in SWEPT},
        floor=points.first("test_nll_floor", names.flat),
        mean_image=points.first("test_nll_mean_image", names.flat),
    )


def pca(runs: Sequence[Tables], dataset: str) -> tuple[pd.Series, np.ndarray | None]:
    """PCA's test NLL by latent dimension, nats per image, and all eigenvalues of the train images, falling; None."""
    nll: dict[int, float] = {}
    spectrum = None
    for tables in runs:
        ends = tables.ends
        rows = ends[(ends["config/task"] == "pca") & (ends["config/dataset"] == dataset)]
        rows = rows[rows["status"] == "finished"]
        nll |= dict(zip(rows["config/latent_dim"].astype(int), rows["test_nll"].astype(float), strict=True))
        if spectrum is None and len(rows):
            where: dict[str, Any] = {"replicate": rows["replicate"].iloc[:1], "quantity": ["spectrum"]}
            eigenvalues = tables.rows("profiles", ["index", "value"], where).sort_values("index")["value"].to_numpy()
            spectrum = eigenvalues if len(eigenvalues) else None
    return pd.Series(nll, dtype="float64").sort_index(), spectrum
