"""Reads a network's metrics against the latent dimension and training, by seed, from the tables of one study.

A sweep holds fixed whatever is constant in its run. Free are the dataset, N, the number of steps and evaluations, and
the precision: see `_FREE`. Networks that differ in any other field are other sweeps. If the runs hold several, the one
with the default settings is read, or else the one with the most latent dimensions. Sweeps of two studies never mix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.figures.base import NotApplicableError
from study.table import Tables
from trainables.quantities import QUANTITIES
from trainables.schema import TrialConfig, applies

FRACTIONS = np.arange(1, 51) / 50
"""Shares of a run at which histories are read: the evaluations of the default config."""
NETWORKS: dict[str, dict[str, str]] = {
    "elu": {"model": "autoencoder", "activation": "elu"},
    "vae": {"model": "vae", "activation": "elu"},
    "linear": {"model": "autoencoder", "activation": "linear"},
}
"""Kinds of network by name, with the default settings of each: a plain auto-encoder, a variational, a linear one."""
WANTED = {"elu": "an auto-encoder", "vae": "a VAE", "linear": "a linear auto-encoder"}
"""The kinds of network as a reader writes them."""
LEAST_DIMS = 3
"""How many latent dimensions a curve must have."""
PAPERS = "mnist"
"""The data of the paper, whose hypothesis 10 < N < 100 speaks of no others."""
DATA = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "kmnist": "KMNIST"}
"""Data sets as a reader writes them; others by their name."""
KL_THRESHOLD = 0.01
"""Nats per image above which a latent's KL term counts it as active."""
ACTIVE_THRESHOLD = 0.1
"""The second threshold of active units; that of `test_active_units` is `trainables.metrics.ACTIVE`, 0.01."""
_FREE = frozenset("dataset latent_dim steps evaluations precision".split())
_RECORDED = ("test_nll", "test_neg_elbo", "test_active_units")
_PROFILED = {
    "neg_iw_bound": QUANTITIES["neg_iw_bound"].place("100 samples"),
    "recognition": 0,
    "recognition_originals": 0,
    "probe_linear": QUANTITIES["probe_linear"].place("55,000 labels"),
    "probe_knn": QUANTITIES["probe_knn"].place("55,000 labels"),
}
"""Profiles that are read as one number, and the index of that number."""
_COUNTED = {"active_units_0.1": ("code_variance", ACTIVE_THRESHOLD), "active_units_kl": ("kl_per_latent", KL_THRESHOLD)}
"""Counts of the latents whose value in a profile lies above a threshold."""
COUNTS = ("test_active_units", *_COUNTED)
"""The metrics of SWEPT that are counts."""
SWEPT = (*_RECORDED, *_COUNTED, *_PROFILED)
"""Metrics and quantities that a sweep has."""
_LEVELS = {"test_nll_floor": 0, "test_nll_mean_image": 0}


@dataclass(frozen=True)
class Sweep:
    """A network at several latent dimensions.

    Attributes:
        latent_dims: N, rising, `(num_dims,)`.
        steps: Training steps of each, `(num_dims,)`.
        seeds: Seeds that finished at every one of these N.
        missing: Latent dimensions of an unfinished study that are still to come.
        left_out: Seeds of the study that have not finished at every one of these N.
        beside: Runs that fewer seeds have finished, and which are therefore left out: other N, other budgets; as text.
        values: By SWEPT, `(num_fractions, num_seeds, num_dims)`: the last evaluation up to that share of the run;
            NaN where there is none.
        floor: Entropy floor of the test images, nats per image; None if it was not recorded.
        mean_image: The mean image's test NLL, likewise.
        settings: What differs from the default settings, as text; empty where nothing does.
        likelihood: The networks' own; that of `test_neg_elbo`, while `test_nll` is Eq. 1 of all networks.
    """

    latent_dims: np.ndarray
    steps: np.ndarray
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    left_out: tuple[int, ...]
    beside: tuple[str, ...]
    values: dict[str, np.ndarray]
    floor: float | None
    mean_image: float | None
    settings: str = ""
    likelihood: str = "bernoulli"

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


class Group(NamedTuple):
    """The replicates of networks that share all settings but N, steps, evaluations and precision.

    `settings`: what differs from the default settings, by field; `rows`: a row per replicate, finished or not, with the
    columns `replicate, cell, seed, status, latent_dim, steps`.
    """

    settings: dict[str, Any]
    rows: pd.DataFrame


class Networks:
    """The networks of one study, and what they recorded."""

    def __init__(self, tables: Tables):
        self._tables = tables

    def groups(self, dataset: str, network: str) -> list[Group]:
        """The sweeps of a kind of network on a dataset, a key of NETWORKS."""
        return self._groups.get((dataset, network), [])

    @cached_property
    def _groups(self) -> dict[tuple[str, str], list[Group]]:
        cells: dict[tuple[str, str, str], dict[str, TrialConfig]] = {}
        for cell, config in self._tables.configs.items():
            if config.task == "train":
                network = kind(config)
                key = (config.dataset, network, repr(settings_of(config, network)))
                cells.setdefault(key, {})[cell] = config
        ends = self._tables.ends
        found: dict[tuple[str, str], list[Group]] = {}
        for (dataset, network, _), configs in cells.items():
            rows = ends.loc[ends["cell"].isin(configs), ["replicate", "cell", "seed", "status"]]
            own = {name: [getattr(configs[cell], name) for cell in rows["cell"]] for name in ("latent_dim", "steps")}
            first = next(iter(configs.values()))
            found.setdefault((dataset, network), []).append(Group(settings_of(first, network), rows.assign(**own)))
        return found

    @cached_property
    def points(self) -> Points:
        """SWEPT and _LEVELS of all networks of the study."""
        tables = self._tables
        recorded = tables.rows("results", ["replicate", "step", *_RECORDED])
        parts = [recorded.melt(["replicate", "step"], _RECORDED, "metric", "value")]
        single = _PROFILED | _LEVELS
        quantities = {"quantity": [*single, *(quantity for quantity, _ in _COUNTED.values())]}
        profiles = tables.rows("profiles", ["replicate", "step", "quantity", "index", "value"], quantities)
        for quantity, index in single.items():
            rows = profiles[(profiles["quantity"] == quantity) & (profiles["index"] == index)]
            parts.append(rows.assign(metric=quantity)[["replicate", "step", "metric", "value"]])
        for metric, (quantity, threshold) in _COUNTED.items():
            latents = profiles[profiles["quantity"] == quantity]
            above = latents.assign(value=(latents["value"] > threshold).astype(float))
            counts = above.groupby(["replicate", "step"], as_index=False)["value"].sum()
            parts.append(counts.assign(metric=metric))
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
    missing: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many replicates it has."""
        return self.replicates.size


def sweep(
    studies: Sequence[Networks],
    dataset: str,
    network: str,
    *,
    largest: bool = False,
    settings: Mapping[str, Any] | None = None,
    steps: int | None = None,
    at: tuple[int, Collection[int]] | None = None,
) -> Sweep:
    """Reads a network's sweep over the latent dimension.

    Args:
        studies: The networks of any studies.
        dataset: A name in DATASETS.
        network: A key of NETWORKS.
        largest: Whether to read only the study's largest latent dimension, so that its seeds need no others.
        settings: The difference from the default settings; None takes the sweep that `_rank` puts first.
        steps: The length of training; None for any.
        at: A number of steps and the latent dimensions to read, as if the study had ended there.

    Raises:
        NotApplicableError: No study has such a network, or none of it has finished; its text says which.
    """
    plans = [
        (Group(group.settings, rows), study)
        for study in studies
        for group in study.groups(dataset, network)
        if settings is None or group.settings == settings
        if len(rows := group.rows if steps is None else group.rows[group.rows["steps"] == steps])
    ]
    if not plans:
        raise NotApplicableError(needs(dataset, network))
    several = [plan for plan in plans if plan[0].rows["latent_dim"].nunique() > 1]
    group, study = max(several or plans, key=lambda plan: _rank(plan[0]))
    planned = group.rows
    if at is not None:
        planned = planned[planned["latent_dim"].isin(list(at[1])) & (planned["steps"] >= at[0])]
    grid = _choose(_at_largest(planned) if largest else planned)
    if not grid.size:
        raise NotApplicableError(f"unfinished: {'study latent' if dataset == PAPERS else 'the run'} has none yet")
    text = ", ".join(f"{field} {_short(value)}" for field, value in group.settings.items())
    likelihood = group.settings.get("likelihood", "bernoulli")
    return replace(_read(study.points, grid, None if at is None else at[0]), settings=text, likelihood=likelihood)


def needs(dataset: str, network: str) -> str:
    """The remark on a dataset that has no sweep of a network: what to add."""
    if dataset == PAPERS:
        return "needs study latent"
    arm = ", ".join(f"{field}: {value}" for field, value in NETWORKS[network].items())
    return f"needs {WANTED[network]}: add the arm {{{arm}}} at {LEAST_DIMS} N or more"


def settings_of(config: TrialConfig, network: str) -> dict[str, Any]:
    """The fields of a network that differ from the default settings of its kind, those of _FREE left out."""
    own = NETWORKS[network]
    fields = applies({"task": "train", "model": config.model}) - _FREE - {"task"}
    usual = {field: TrialConfig.model_fields[field].default for field in fields} | own
    return {field: getattr(config, field) for field in sorted(fields) if getattr(config, field) != usual[field]}


def kind(config: TrialConfig) -> str:
    """The key of NETWORKS that a config belongs to."""
    if config.variational:
        return "vae"
    return "linear" if config.activation == "linear" else "elu"


def _short(value: object) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _rank(group: Group) -> tuple[bool, bool, bool, int, int]:
    """The place of a sweep; the largest is read: several N, the default settings, two seeds, most replicates and N."""
    grid = _choose(group.rows)
    dims = len(grid.replicates.columns) + len(grid.missing)
    return dims > 1, not group.settings, len(grid.replicates) > 1, grid.size, dims


def _at_largest(planned: pd.DataFrame) -> pd.DataFrame:
    """The rows of the largest latent dimension that at least half as many seeds have finished as any."""
    seeds = planned[planned["status"] == "finished"].groupby("latent_dim")["seed"].nunique()
    largest = seeds.index[seeds >= _least_seeds(seeds.max())].max() if len(seeds) else planned["latent_dim"].max()
    rows: pd.DataFrame = planned[planned["latent_dim"] == largest]
    return rows


def _least_seeds(most: int) -> float:
    """How many seeds a grid must have, where another has this number: half of them, and two if it can be."""
    return max(most / 2, min(most, 2))


def _choose(planned: pd.DataFrame) -> _Grid:
    """The widest grid of latent dimensions that at least half as many seeds have finished as any.

    Other N that some seed has finished are a pilot, once every seed of the grid has ended; until then they, and always
    those that none has finished, are missing.
    """
    chosen, others = _budgets(planned)
    finished = chosen[chosen["status"] == "finished"]
    reached: dict[int, frozenset[int]] = {}
    for seed, dim in zip(finished["seed"].tolist(), finished["latent_dim"].tolist(), strict=True):
        reached[seed] = reached.get(seed, frozenset()) | {dim}
    candidates = {one & other for one in reached.values() for other in reached.values()} - {frozenset()}
    seeds_of = {dims: sorted(seed for seed, own in reached.items() if dims <= own) for dims in candidates}
    least = _least_seeds(max(map(len, seeds_of.values()), default=0))
    dims = max(
        (dims for dims, seeds in seeds_of.items() if len(seeds) >= least),
        key=lambda dims: (len(dims), len(seeds_of[dims]), sorted(dims)),
        default=frozenset[int](),
    )
    seeds, inside = seeds_of.get(dims, []), chosen["latent_dim"].isin(dims)
    rows = finished[finished["latent_dim"].isin(dims) & finished["seed"].isin(seeds)]
    ended = not inside.any() or not chosen[inside]["status"].isin(("running", "pending")).any()
    further = chosen[~inside]
    pilots = set(further.loc[further["status"] == "finished", "latent_dim"]) if ended else set()
    return _Grid(
        replicates=rows.pivot(index="seed", columns="latent_dim", values="replicate"),
        steps=rows.pivot(index="seed", columns="latent_dim", values="steps"),
        missing=tuple(sorted({int(dim) for dim in set(further["latent_dim"]) - pilots})),
        left_out=tuple(sorted(set(chosen.loc[inside | ~chosen["latent_dim"].isin(pilots), "seed"]) - set(seeds))),
        beside=(*_counted(further[further["latent_dim"].isin(pilots)], "N = {latent_dim}"), *others),
    )


def _budgets(planned: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The cell of each latent dimension that most seeds have finished, the longest such, and the finished others."""
    order = planned.assign(finished=planned["status"] == "finished")
    cells = order.groupby(["latent_dim", "cell", "steps"])["finished"].sum().reset_index()
    cells = cells.sort_values(["finished", "steps"], ascending=False)
    chosen = planned["cell"].isin(cells.drop_duplicates("latent_dim")["cell"])
    return planned[chosen], _counted(planned[~chosen], "N = {latent_dim} at {steps:,} steps")


def _counted(rows: pd.DataFrame, name: str) -> tuple[str, ...]:
    """The finished rows as text by their name, with the number of their seeds."""
    finished = rows[rows["status"] == "finished"].sort_values(["latent_dim", "steps"])
    dims, steps = finished["latent_dim"].tolist(), finished["steps"].tolist()
    names = [name.format(latent_dim=dim, steps=length) for dim, length in zip(dims, steps, strict=True)]
    return tuple(f"{text} ({number} seed{'s' * (number != 1)})" for text, number in Counter(names).items())


def _read(points: Points, grid: _Grid, end: int | None = None) -> Sweep:
    """The sweep of a grid, read as if all of it had ended at a step, if one is given."""
    names, steps = grid.replicates.to_numpy(), grid.steps.to_numpy()
    if end is not None:
        steps = np.full_like(steps, end)

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
        beside=grid.beside,
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
