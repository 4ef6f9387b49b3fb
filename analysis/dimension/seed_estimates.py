"""An estimate for each seed and on their mean, and what blocks a verdict on it: the parts that all estimators share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, NamedTuple

import numpy as np

from analysis.dimension.curve_shapes import before_last_fifth, still_gained
from analysis.dimension.sweeps import FRACTIONS, LEAST_DIMS, NETWORKS, PAPERS, WANTED, Networks, Sweep, needs, sweep
from analysis.figures.base import NotApplicableError

OVERFITS = 0.25
"""A test loss that rises over the last fifth of training by more than this share of the margin is overfitted."""
LOWER_BOUND = "a lower bound"
"""The beginning of a block that leaves a verdict where the bound lies beyond the band already."""
NO_SPARE = "no latent to spare"
"""The beginning of a block where a VAE uses all its latents. That bounds nothing: training begins so."""
NO_GAIN = "no gain"
"""The beginning of the reason where a VAE describes an image no shorter than the mean image does."""
OVERFITTED = "overfits"
"""The beginning of a block where the test loss rises at the end of training: then no N is given."""
LEAST_LEARNED = 0.01
"""A sweep has learned something where its best N takes the test NLL further than this share of the way from the mean
image's to the entropy floor."""
UNLEARNED = "not clearly better than the mean image"
"""The beginning of the reason of a sweep that has learned nothing."""
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
        parts: The values by seed, `(num_seeds,)`, of each part of an estimate that is a range; `value` is their mean.
        margins: By multiple of the margin, the value at that margin, and by seed.
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
    parts: tuple[np.ndarray, ...] = ()
    margins: dict[float, tuple[float, np.ndarray]] = field(default_factory=dict)


class Sweeps(NamedTuple):
    """Sweeps of one dataset by network, and the VAE at its largest N; a text says why one is absent.

    `partial`: whether they were read as if the study had ended earlier.
    """

    dataset: str
    by_network: dict[str, Sweep | str]
    largest: Sweep | str
    partial: bool = False


def sweeps_of(
    studies: Sequence[Networks],
    dataset: str,
    *,
    settings: Mapping[str, Any] | None = None,
    steps: int | None = None,
    at: tuple[int, Collection[int]] | None = None,
) -> Sweeps:
    """Reads all sweeps of a dataset; `settings`, `steps` and `at` as in `analysis.dimension.sweeps.sweep`."""

    def sweep_or_reason(network: str, *, largest: bool = False) -> Sweep | str:
        try:
            return sweep(studies, dataset, network, largest=largest, settings=settings, steps=steps, at=at)
        except NotApplicableError as reason:
            return str(reason)

    by_network = {network: sweep_or_reason(network) for network in NETWORKS}
    return Sweeps(dataset, by_network, sweep_or_reason("vae", largest=True), at is not None)


def sweeps_any(sweeps: Sweeps) -> bool:
    """Whether any network was trained at several latent dimensions."""
    return any(isinstance(one, Sweep) and len(one.latent_dims) > 1 for one in sweeps.by_network.values())


def listed(dims: np.ndarray) -> str:
    """N as text: each of a few, the first and the last of many."""
    return ", ".join(map(str, dims)) if len(dims) <= LEAST_DIMS else f"{dims[0]} to {dims[-1]}"


def curves_of(sweeps: Sweeps, network: str) -> Sweep:
    """The sweep of a network over several latent dimensions that has learned; raises NotApplicableError."""
    curves = sweeps.by_network[network]
    if isinstance(curves, str):
        raise NotApplicableError(curves)
    if len(curves.latent_dims) < LEAST_DIMS:
        planned = len(curves.latent_dims) + len(curves.missing)
        if planned >= LEAST_DIMS:
            raise NotApplicableError(f"unfinished: {len(curves.latent_dims)} of {planned} N")
        if sweeps.dataset == PAPERS:
            raise NotApplicableError(needs(sweeps.dataset, network))
        have = listed(curves.latent_dims)
        raise NotApplicableError(f"too few N: needs {WANTED[network]} at {LEAST_DIMS} N or more, has N = {have}")
    if reason := unlearned(curves):
        raise NotApplicableError(reason)
    return curves


def unlearned(curves: Sweep) -> str:
    """The reason why a sweep tells no N, where its best N is not clearly better than the mean image; else empty."""
    best, level = float(curves.values["test_nll"][-1].mean(0).min()), curves.mean_image
    if level is None or not level - best <= LEAST_LEARNED * (level - (curves.floor or 0.0)):
        return ""
    return f"{UNLEARNED}: test NLL {best:,.1f} against {level:,.1f} nats"


def measured_seeds(curves: Sweep, metric: str) -> Sweep:
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


def floor_of(curves: Sweep) -> float:
    """The entropy floor of the test images; raises NotApplicableError."""
    if curves.floor is None:
        raise NotApplicableError("no entropy floor was recorded")
    return curves.floor


def measure(
    curves: Sweep,
    metric: str,
    estimate: Callable[[np.ndarray], float],
    *,
    bounds: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    margin: float | None = None,
    where: np.ndarray | None = None,
) -> SeedEstimates:
    """An estimate from `(num_dims,)` values, on the mean over seeds, per seed, and against training.

    With a `margin` it has none where the loss rises at the end of training, over the N of `where`, else from its own N.
    """
    final = final_values(curves, metric)
    means = curves.values[metric].mean(1)
    history = np.array([estimate(row) if np.isfinite(row).all() else np.nan for row in means])
    value = estimate(final.mean(0))
    inside = (curves.latent_dims >= value - 1e-9) if where is None else where
    rising = () if margin is None else overfits(curves, metric, inside, margin)
    blocks = (*absent(value), *bounds[0], *rising, *unfinished(curves))
    per_seed = np.array([estimate(row) for row in final])
    return SeedEstimates(value, per_seed, curves.budget, history, blocks, (*bounds[1], *left_out(curves)))


def final_values(curves: Sweep, metric: str) -> np.ndarray:
    """A metric at the end of training, `(num_seeds, num_dims)`."""
    final: np.ndarray = curves.values[metric][-1]
    if not np.isfinite(final).all():
        raise NotApplicableError(f"`{metric}` is not recorded at every N")
    return final


def overfits(curves: Sweep, metric: str, where: np.ndarray, margin: float) -> tuple[str, ...]:
    """A block where a test loss rises over the last fifth of training, averaged over the seeds and the N of `where`."""
    losses = curves.values[metric]
    rise = (losses[-1] - losses[before_last_fifth(FRACTIONS)])[:, where]
    if not rise.size or not np.isfinite(rise).all() or rise.mean() <= OVERFITS * margin:
        return ()
    return (f"{OVERFITTED}: the test loss rises by {rise.mean():.2g} nats over the last fifth of training",)


def end_bounds(curves: Sweep, values: np.ndarray, margin: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
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


def grid_between(latent_dims: np.ndarray, value: float) -> tuple[int, int] | None:
    """The least and the most whole N that the grid allows for an interpolated value; None without one."""
    if not np.isfinite(value):
        return None
    enough = int(np.searchsorted(latent_dims, value - 1e-6))
    return int(latent_dims[enough - 1]) + 1 if enough else 1, int(latent_dims[enough])


def absent(value: float) -> tuple[str, ...]:
    """A block where there is no value."""
    return () if np.isfinite(value) else ("no knee: the curve lies nowhere below its chord",)


def unfinished(curves: Sweep) -> tuple[str, ...]:
    """A block where a study has latent dimensions still to come."""
    if not curves.missing:
        return ()
    named = f"N = {', '.join(map(str, curves.missing))}" if len(curves.missing) <= _MOST_NAMED else None
    return (f"unfinished: nothing at {named or f'{len(curves.missing)} of the N'}",)


def left_out(curves: Sweep) -> tuple[str, ...]:
    """Remarks on settings that are not the defaults, and on what was left out."""
    names, runs = ", ".join(map(str, curves.left_out)), ", ".join(curves.beside)
    remarks = {
        f"with {curves.settings}": curves.settings,
        f"seed {names} left out: not finished, or not measured, at every N": names,
        f"left out: {runs}": runs,
    }
    return tuple(text for text, applies in remarks.items() if applies)
