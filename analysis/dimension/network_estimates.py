"""Estimates from trained networks, (a) to (c) and (f) of docs/science.md: on the mean over seeds and for each seed.

Each estimator reads the sweeps of one dataset and raises NotApplicableError where they do not allow the estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from typing import NamedTuple

import numpy as np

from analysis.dimension.curve_shapes import first_within, knee, saturation, still_gained
from analysis.dimension.sweeps import NETWORKS, Networks, Sweep, sweep
from analysis.figures.base import NotApplicableError

LEAST_DIMS = 3
"""How many latent dimensions a curve must have."""
LEAST_LATENTS = 100
"""How many latents a VAE must have for its active units to show that they are fewer than 100."""
NAT_MARGIN = 1.0
RECOGNITION_MARGIN = 0.01
LOWER_BOUND = "a lower bound"
"""How a block begins that leaves a verdict where the bound lies beyond the band already."""
_NEEDS = "needs study latent"
_MOST_NAMED = 4


@dataclass(frozen=True)
class SeedEstimates:
    """An estimate for each seed and on their mean, before its verdict.

    Attributes:
        value: On the mean over seeds; NaN where there is none.
        per_seed: The same for each seed alone, `(num_seeds,)`.
        steps: The training budget, as a reader writes it.
        history: On the mean over seeds at FRACTIONS of the run, `(num_fractions,)`, NaN where there is none; None if
            it cannot be read while training.
        blocks: Reasons why there can be no verdict, each a few words, a colon, and more.
        notes: Further remarks for the reader.
        logarithmic: Whether the interval over seeds is taken in log N.
        resolution: The step of a count; 0 for other numbers.
        between: The least and the most whole N that the grid allows, where `value` is interpolated: one more than the
            last N of the grid that falls short, and the first N that does not.
    """

    value: float
    per_seed: np.ndarray
    steps: str
    history: np.ndarray | None = None
    blocks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    logarithmic: bool = True
    resolution: float = 0.0
    between: tuple[int, int] | None = None


class Sweeps(NamedTuple):
    """Sweeps of one dataset by network, and the VAE at its largest N; a text says why one is absent."""

    by_network: dict[str, Sweep | str]
    largest: Sweep | str


class Estimator(NamedTuple):
    """An estimator: the name of its estimate, and the function that makes it (raises NotApplicableError)."""

    name: str
    measure: Callable[[Sweeps], SeedEstimates]
    headline: bool = False


def sweeps_of(studies: Sequence[Networks], dataset: str) -> Sweeps:
    """Reads all sweeps of a dataset."""

    def sweep_or_reason(network: str, *, largest: bool = False) -> Sweep | str:
        try:
            return sweep(studies, dataset, network, largest=largest)
        except NotApplicableError as reason:
            return str(reason)

    by_network = {network: sweep_or_reason(network) for network in NETWORKS}
    return Sweeps(by_network, sweep_or_reason("vae", largest=True))


def saturated(sweeps: Sweeps, *, network: str, metric: str = "test_nll", share: float | None = None) -> SeedEstimates:
    """(a) The smallest N within 1 nat of the best, or within a share of the best's excess over the entropy floor."""
    curves = _sweep(sweeps, network)
    floor = 0.0 if share is None else _floor(curves)

    def margin(values: np.ndarray) -> float:
        return NAT_MARGIN if share is None else share * (float(values.min()) - floor)

    dims, last = curves.latent_dims, curves.values[metric][-1].mean(0)
    blocks, notes = _bounds(curves, last, margin(last))
    if notes:
        notes += _on_shorter_grids(dims, lambda size: saturation(dims[:size], last[:size], margin(last[:size])))
    estimates = _measure(curves, metric, lambda row: saturation(dims, row, margin(row)), bounds=(blocks, notes))
    return replace(estimates, between=_between(dims, estimates.value))


def _on_shorter_grids(dims: np.ndarray, estimate: Callable[[int], float]) -> tuple[str, ...]:
    """The estimate, had the grid ended one, two or three N earlier; `estimate` takes the size of the grid."""
    sizes = range(max(len(dims) - 3, LEAST_DIMS), len(dims))
    ends, values = (
        ", ".join(f"{x:.3g}" for x in part) for part in (dims[[n - 1 for n in sizes]], map(estimate, sizes))
    )
    return (f"so this number depends on where the grid ends: {values} on grids up to N = {ends}",) if sizes else ()


def knee_of_excess(sweeps: Sweeps, *, equal_steps: bool = False) -> SeedEstimates:
    """(b) The knee of the log excess; if wanted, after as many steps at every N, where the budgets differ."""
    curves = _sweep(sweeps, "elu")
    floor = _floor(curves)

    def estimate(values: np.ndarray) -> float:
        return knee(curves.latent_dims, values - floor)

    if not equal_steps:
        return _measure(curves, "test_nll", estimate)
    steps, values = curves.at_equal_steps("test_nll")
    per_seed = np.array([estimate(row) for row in values])
    blocks = (*_absent(estimate(values.mean(0))), *_unfinished(curves))
    return SeedEstimates(estimate(values.mean(0)), per_seed, f"{steps:,}", None, blocks, _left_out(curves))


def active(sweeps: Sweeps, *, metric: str, least: int = LEAST_LATENTS) -> SeedEstimates:
    """(c) Active units of the VAE with the most latents, of which there must be a least number."""
    curves = sweeps.largest
    if isinstance(curves, str):
        raise NotApplicableError(curves)
    size = int(curves.latent_dims[-1])
    if size < least:
        raise NotApplicableError(_NEEDS)
    values = curves.values[metric][:, :, -1]
    if not np.isfinite(values[-1]).all():
        raise NotApplicableError("not recorded")
    blocks = (f"{LOWER_BOUND}: all {size} units are active",) if values[-1].mean() == size else ()
    notes = (f"of {size} latents", *_left_out(curves))
    value = float(values[-1].mean())
    history = values.mean(1)
    return SeedEstimates(value, values[-1], curves.budget, history, blocks, notes, logarithmic=False, resolution=1.0)


def recognised(sweeps: Sweeps, *, network: str) -> SeedEstimates:
    """(f) The smallest N whose reconstructions are recognised within 1 % of the originals."""
    curves = _measured_seeds(_sweep(sweeps, network), "recognition")
    lost = curves.values["recognition_originals"][-1] - curves.values["recognition"][-1]
    per_seed = np.array([first_within(curves.latent_dims, row, RECOGNITION_MARGIN) for row in lost])
    value = first_within(curves.latent_dims, lost.mean(0), RECOGNITION_MARGIN)
    above = () if np.isfinite(value) else (f"none: not within 1 % up to N = {curves.latent_dims[-1]}",)
    return SeedEstimates(value, per_seed, curves.budget, None, (*above, *_unfinished(curves)), _left_out(curves))


ESTIMATORS: dict[str, Estimator] = {
    "a": Estimator("test NLL within 1 nat of the best, ELU", partial(saturated, network="elu"), headline=True),
    "a 1 %": Estimator("within 1 % of the best's excess, ELU", partial(saturated, network="elu", share=0.01)),
    "a 5 %": Estimator("within 5 % of the best's excess, ELU", partial(saturated, network="elu", share=0.05)),
    "a linear": Estimator("test NLL within 1 nat, linear", partial(saturated, network="linear")),
    "a vae": Estimator("test NLL within 1 nat, VAE", partial(saturated, network="vae")),
    "a vae bound": Estimator(
        "negative ELBO within 1 nat, VAE", partial(saturated, network="vae", metric="test_neg_elbo")
    ),
    "b": Estimator("knee of the log excess, ELU", knee_of_excess),
    "b equal": Estimator("the same, as many steps at every N", partial(knee_of_excess, equal_steps=True)),
    "c": Estimator("active units, variance > 0.01", partial(active, metric="test_active_units"), headline=True),
    "c 0.1": Estimator("active units, variance > 0.1", partial(active, metric="active_units_0.1")),
    "f": Estimator("recognised within 1 %, ELU", partial(recognised, network="elu")),
    "f vae": Estimator("recognised within 1 %, VAE", partial(recognised, network="vae")),
    "f linear": Estimator("recognised within 1 %, linear", partial(recognised, network="linear")),
}
"""The estimators for the study `latent`, by key. The headline was chosen beforehand."""
CONTROL_ESTIMATORS: dict[str, Estimator] = {
    "a": ESTIMATORS["a"],
    "b": ESTIMATORS["b"],
    "c": Estimator(ESTIMATORS["c"].name, partial(active, metric="test_active_units", least=1)),
}
"""The estimators that are compared with datasets of known dimension, by key."""


def _sweep(sweeps: Sweeps, network: str) -> Sweep:
    curves = sweeps.by_network[network]
    if isinstance(curves, str):
        raise NotApplicableError(curves)
    if len(curves.latent_dims) < LEAST_DIMS:
        planned = len(curves.latent_dims) + len(curves.missing)
        raise NotApplicableError(
            _NEEDS if planned < LEAST_DIMS else f"unfinished: {len(curves.latent_dims)} of {planned} N"
        )
    return curves


def _measured_seeds(curves: Sweep, metric: str) -> Sweep:
    """The sweep of only the seeds that have been measured at every N."""
    complete = np.isfinite(curves.values[metric][-1]).all(1)
    if not complete.any():
        raise NotApplicableError(f"needs the measurement {metric}")
    seeds = tuple(compress(curves.seeds, complete))
    return replace(
        curves,
        seeds=seeds,
        left_out=tuple(sorted({*curves.left_out, *curves.seeds} - {*seeds})),
        values={name: values[:, complete] for name, values in curves.values.items()},
    )


def _floor(curves: Sweep) -> float:
    if curves.floor is None:
        raise NotApplicableError("no entropy floor was recorded")
    return curves.floor


def _measure(
    curves: Sweep,
    metric: str,
    estimate: Callable[[np.ndarray], float],
    *,
    bounds: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
) -> SeedEstimates:
    """An estimate from `(num_dims,)` values, on the mean over seeds, per seed, and against training."""
    final = curves.values[metric][-1]
    if not np.isfinite(final).all():
        raise NotApplicableError(f"`{metric}` is not recorded at every N")
    means = curves.values[metric].mean(1)
    history = np.array([estimate(row) if np.isfinite(row).all() else np.nan for row in means])
    value = estimate(final.mean(0))
    blocks = (*_absent(value), *bounds[0], *_unfinished(curves))
    per_seed = np.array([estimate(row) for row in final])
    return SeedEstimates(value, per_seed, curves.budget, history, blocks, (*bounds[1], *_left_out(curves)))


def _bounds(curves: Sweep, values: np.ndarray, margin: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Reasons without a verdict, and remarks, where the best or the first value lies at an end of the curve.

    A best at the last N alone does not block: on a flat end chance decides which N is the best. Still falling there by
    more than the margin, the curve has not saturated.
    """
    gained, last = still_gained(values), int(curves.latent_dims[-1])
    if gained > margin:
        return (f"{LOWER_BOUND}: still falls by {gained:.2g} nats at the last N = {last}",), ()
    if values[0] <= values.min() + margin and curves.latent_dims[0] > 1:
        return (f"an upper bound: the first N = {curves.latent_dims[0]} is within the margin",), ()
    if gained <= margin / 10:
        return (), ()
    return (), (f"the loss still falls by {gained:.2g} nats from N = {curves.latent_dims[-2]} to {last}",)


def _between(latent_dims: np.ndarray, value: float) -> tuple[int, int] | None:
    if not np.isfinite(value):
        return None
    enough = int(np.searchsorted(latent_dims, value - 1e-6))
    return int(latent_dims[enough - 1]) + 1 if enough else 1, int(latent_dims[enough])


def _absent(value: float) -> tuple[str, ...]:
    return () if np.isfinite(value) else ("no knee: the curve lies nowhere below its chord",)


def _unfinished(curves: Sweep) -> tuple[str, ...]:
    if not curves.missing:
        return ()
    named = f"N = {', '.join(map(str, curves.missing))}" if len(curves.missing) <= _MOST_NAMED else None
    return (f"unfinished: nothing at {named or f'{len(curves.missing)} of the N'}",)


def _left_out(curves: Sweep) -> tuple[str, ...]:
    names, runs = ", ".join(map(str, curves.left_out)), ", ".join(curves.beside)
    texts = (f"seed {names} left out: not finished, or not measured, at every N" if names else "",)
    return tuple(filter(None, (*texts, f"left out: {runs}" if runs else "")))
