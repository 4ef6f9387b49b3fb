"""Estimates from trained networks, (L), (U), (a) to (c), (f) of docs/science.md: on the mean over seeds, and by seed.

Each estimator reads the sweeps of one dataset and raises NotApplicableError where they do not allow the estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress
from typing import Any, NamedTuple

import numpy as np

from analysis.dimension.curve_shapes import LAST_FIFTH, first_within, knee, saturation, still_gained
from analysis.dimension.description_length import MARGINS, SCANNED, Plateau, papers_plateau, plateau
from analysis.dimension.loss_law import FIRST, LAST, LEAST_FITTED, LossLaw, loss_law
from analysis.dimension.sweeps import FRACTIONS, LEAST_DIMS, NETWORKS, PAPERS, WANTED, Networks, Sweep, needs, sweep
from analysis.figures.base import NotApplicableError

LEAST_LATENTS = 100
"""How many latents a VAE of the paper's data must have for its active units to show that they are fewer than 100."""
ROOM = 0.8
"""A VAE has room to spare where at most this share of its latents is active: N >= 32 on MNIST."""
NAT_MARGIN = 1.0
OVERFITS = 0.25
"""A test loss that rises over the last fifth of training by more than this share of the margin is overfitted."""
RECOGNITION_MARGIN = 0.01
LOWER_BOUND = "a lower bound"
"""How a block begins that leaves a verdict where the bound lies beyond the band already."""
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


class Estimator(NamedTuple):
    """An estimator: the name of its estimate, and the function that makes it (raises NotApplicableError).

    `headline`: whether it is one of the answer's rows; `beforehand`: whether it was fixed before any run.
    """

    name: str
    measure: Callable[[Sweeps], SeedEstimates]
    headline: bool = False
    beforehand: bool = False


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


def description_length(sweeps: Sweeps, *, metric: str = "test_neg_elbo") -> SeedEstimates:
    """(L) The smallest N whose description length lies within the margin of the plateau.

    Each seed has a plateau of its own, over the same N. `metric` may be another bound on the same length.
    """
    curves = _sweep(sweeps, "vae")
    if metric != "test_neg_elbo":
        curves = _measured_seeds(curves, metric)
    final = _final(curves, metric)
    dims, settled = curves.latent_dims, _plateau(sweeps.dataset, curves, final)

    def within(row: np.ndarray, share: float = 1.0) -> float:
        return first_within(dims, row, settled.level(row) + share * settled.margin)

    found = _measure(curves, metric, within, margin=settled.margin, where=settled.where)
    within_first = found.value == dims[0] > 1
    first = (f"an upper bound: the first N = {dims[0]} is within the margin",) if within_first else ()
    levels = f"the plateau, over N = {_listed(dims[settled.where])}, is {settled.level(final.mean(0)):.1f} nats"
    return replace(
        found,
        history=found.history if metric == "test_neg_elbo" else None,
        blocks=(*filter(None, (settled.reason,)), *first, *found.blocks),
        notes=(f"{levels}; the margin is {settled.margin:.2g}", *found.notes),
        between=_between(dims, found.value),
        margins=_at_margins(within, final, sweeps.dataset),
    )


def _at_margins(
    within: Callable[[np.ndarray, float], float], final: np.ndarray, dataset: str
) -> dict[float, tuple[float, np.ndarray]]:
    """By multiple of the margin, N on the mean over seeds, and by seed; `within` gives N of a curve at a multiple."""
    shares = SCANNED if dataset == PAPERS else MARGINS
    return {share: (within(final.mean(0), share), np.array([within(row, share) for row in final])) for share in shares}


def plateau_of(sweeps: Sweeps) -> Plateau:
    """The plateau of the VAE's description length; raises NotApplicableError."""
    curves = _sweep(sweeps, "vae")
    return _plateau(sweeps.dataset, curves, _final(curves, "test_neg_elbo"))


def _plateau(dataset: str, curves: Sweep, final: np.ndarray) -> Plateau:
    if dataset == PAPERS:
        return papers_plateau(curves.latent_dims, final)
    if curves.mean_image is None:
        raise NotApplicableError("no test NLL of the mean image was recorded")
    return plateau(curves.latent_dims, final, curves.mean_image)


def spare_units(sweeps: Sweeps, *, metric: str = "test_active_units") -> SeedEstimates:
    """(U) Active units of the VAEs that have room to spare, a range over their N."""
    curves = _sweep(sweeps, "vae")
    counts, dims = _final(curves, metric), curves.latent_dims
    room = counts.mean(0) <= ROOM * dims
    full = () if room.any() else (f"{LOWER_BOUND}: over {ROOM:.0%} of the latents are active at every N",)
    room = room if room.any() else dims == dims[-1]
    chosen = counts[:, room]
    return SeedEstimates(
        value=float(chosen.mean()),
        per_seed=chosen.mean(1),
        steps=curves.budget,
        history=curves.values[metric][:, :, room].mean((1, 2)),
        blocks=(*full, *_overfits(curves, "test_neg_elbo", room, NAT_MARGIN), *_unfinished(curves)),
        notes=(f"over N = {_listed(dims[room])}", *_left_out(curves)),
        logarithmic=False,
        resolution=1.0,
        parts=tuple(chosen.T),
    )


def _listed(dims: np.ndarray) -> str:
    """N as text: each of a few, the first and the last of many."""
    return ", ".join(map(str, dims)) if len(dims) <= LEAST_DIMS else f"{dims[0]} to {dims[-1]}"


def saturated(sweeps: Sweeps, *, network: str, metric: str = "test_nll", share: float | None = None) -> SeedEstimates:
    """(a) The smallest N within 1 nat of the best, or within a share of the best's excess over the entropy floor."""
    curves = _sweep(sweeps, network)
    floor = 0.0 if share is None else _floor(curves)

    def margin(values: np.ndarray) -> float:
        return NAT_MARGIN if share is None else share * (float(values.min()) - floor)

    def within(row: np.ndarray, multiple: float = 1.0) -> float:
        return saturation(dims, row, multiple * margin(row))

    dims, last = curves.latent_dims, curves.values[metric][-1].mean(0)
    blocks, notes = _bounds(curves, last, margin(last))
    if notes:
        notes += _on_shorter_grids(dims, lambda size: saturation(dims[:size], last[:size], margin(last[:size])))
    estimates = _measure(curves, metric, within, bounds=(blocks, notes), margin=NAT_MARGIN)
    shown = network == "elu" and share is None
    margins = _at_margins(within, _final(curves, metric), sweeps.dataset) if shown else {}
    return replace(estimates, between=_between(dims, estimates.value), margins=margins)


def _on_shorter_grids(dims: np.ndarray, estimate: Callable[[int], float]) -> tuple[str, ...]:
    """The estimate, had the grid ended one, two or three N earlier; `estimate` takes the size of the grid."""
    sizes = range(max(len(dims) - 3, LEAST_DIMS), len(dims))
    ends, values = (
        ", ".join(f"{x:.3g}" for x in part) for part in (dims[[n - 1 for n in sizes]], map(estimate, sizes))
    )
    return (f"so this number depends on where the grid ends: {values} on grids up to N = {ends}",) if sizes else ()


def law_of_loss(sweeps: Sweeps) -> LossLaw:
    """The law of the plain auto-encoder's loss; on other data than the paper's, of the N above that of (L)."""
    curves = _sweep(sweeps, "elu")
    excess = _final(curves, "test_nll") - _floor(curves)
    first, last = FIRST, LAST
    if sweeps.dataset != PAPERS:
        bend = description_length(sweeps).value
        larger = curves.latent_dims[curves.latent_dims >= bend]
        if len(larger) <= LEAST_FITTED:
            raise NotApplicableError(f"too few N: the law needs {LEAST_FITTED + 1} N from N = {bend:.3g} on")
        first, last = int(larger[0]), int(larger[max(LEAST_FITTED - 1, len(larger) - 3)])
    found = loss_law(curves.latent_dims, excess, first=first, last=last)
    if isinstance(found, str):
        raise NotApplicableError(found)
    return found


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


def active(sweeps: Sweeps, *, metric: str) -> SeedEstimates:
    """(c) Active units of the VAE with the most latents; on the paper's data it must have LEAST_LATENTS."""
    curves = sweeps.largest
    if isinstance(curves, str):
        raise NotApplicableError(curves)
    size = int(curves.latent_dims[-1])
    if sweeps.dataset == PAPERS and size < LEAST_LATENTS and not sweeps.partial:
        raise NotApplicableError(needs(sweeps.dataset, "vae"))
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
    "L": Estimator("description length within the margin of its plateau, VAE", description_length, headline=True),
    "L bound": Estimator(
        "the same by the importance-weighted bound", partial(description_length, metric="neg_iw_bound")
    ),
    "L best": Estimator(
        "the same within 1 nat of the best N (first edition)",
        partial(saturated, network="vae", metric="test_neg_elbo"),
    ),
    "U": Estimator("active units of VAEs with room to spare, variance > 0.01", spare_units, headline=True),
    "U kl": Estimator("the same, KL > 0.01 nats", partial(spare_units, metric="active_units_kl")),
    "a": Estimator("test NLL within 1 nat of the best, ELU", partial(saturated, network="elu"), beforehand=True),
    "a 1 %": Estimator("within 1 % of the best's excess, ELU", partial(saturated, network="elu", share=0.01)),
    "a 5 %": Estimator("within 5 % of the best's excess, ELU", partial(saturated, network="elu", share=0.05)),
    "a linear": Estimator("test NLL within 1 nat, linear", partial(saturated, network="linear")),
    "a vae": Estimator("test NLL within 1 nat, VAE", partial(saturated, network="vae")),
    "b": Estimator("knee of the log excess, ELU", knee_of_excess),
    "b equal": Estimator("the same, as many steps at every N", partial(knee_of_excess, equal_steps=True)),
    "c": Estimator("active units, variance > 0.01", partial(active, metric="test_active_units"), beforehand=True),
    "c 0.1": Estimator("active units, variance > 0.1", partial(active, metric="active_units_0.1")),
    "f": Estimator("recognised within 1 %, ELU", partial(recognised, network="elu")),
    "f vae": Estimator("recognised within 1 %, VAE", partial(recognised, network="vae")),
    "f linear": Estimator("recognised within 1 %, linear", partial(recognised, network="linear")),
}
"""The estimators for a sweep over N. (a) and (c) were fixed beforehand; (L) and (U) after seeing MNIST's tables."""
CONTROL_ESTIMATORS = {key: ESTIMATORS[key] for key in ("L", "U", "a", "b", "c")}
"""The estimators that are compared with datasets of known dimension, by key."""


def _sweep(sweeps: Sweeps, network: str) -> Sweep:
    curves = sweeps.by_network[network]
    if isinstance(curves, str):
        raise NotApplicableError(curves)
    if len(curves.latent_dims) < LEAST_DIMS:
        planned = len(curves.latent_dims) + len(curves.missing)
        if planned >= LEAST_DIMS:
            raise NotApplicableError(f"unfinished: {len(curves.latent_dims)} of {planned} N")
        if sweeps.dataset == PAPERS:
            raise NotApplicableError(needs(sweeps.dataset, network))
        have = _listed(curves.latent_dims)
        raise NotApplicableError(f"too few N: needs {WANTED[network]} at {LEAST_DIMS} N or more, has N = {have}")
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
    margin: float | None = None,
    where: np.ndarray | None = None,
) -> SeedEstimates:
    """An estimate from `(num_dims,)` values, on the mean over seeds, per seed, and against training.

    With a `margin` it has none where the loss rises at the end of training, over the N of `where`, else from its own N.
    """
    final = _final(curves, metric)
    means = curves.values[metric].mean(1)
    history = np.array([estimate(row) if np.isfinite(row).all() else np.nan for row in means])
    value = estimate(final.mean(0))
    inside = (curves.latent_dims >= value - 1e-9) if where is None else where
    rising = () if margin is None else _overfits(curves, metric, inside, margin)
    blocks = (*_absent(value), *bounds[0], *rising, *_unfinished(curves))
    per_seed = np.array([estimate(row) for row in final])
    return SeedEstimates(value, per_seed, curves.budget, history, blocks, (*bounds[1], *_left_out(curves)))


def _final(curves: Sweep, metric: str) -> np.ndarray:
    """A metric at the end of training, `(num_seeds, num_dims)`."""
    final: np.ndarray = curves.values[metric][-1]
    if not np.isfinite(final).all():
        raise NotApplicableError(f"`{metric}` is not recorded at every N")
    return final


def _overfits(curves: Sweep, metric: str, where: np.ndarray, margin: float) -> tuple[str, ...]:
    """A block where a test loss rises over the last fifth of training, averaged over the seeds and the N of `where`."""
    start = int(np.flatnonzero(FRACTIONS <= LAST_FIFTH + 1e-9)[-1])
    rise = (curves.values[metric][-1] - curves.values[metric][start])[:, where]
    if not rise.size or not np.isfinite(rise).all() or rise.mean() <= OVERFITS * margin:
        return ()
    return (f"overfits: the test loss rises by {rise.mean():.2g} nats over the last fifth of training",)


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
    """Remarks on settings that are not the defaults, and on what was left out."""
    names, runs = ", ".join(map(str, curves.left_out)), ", ".join(curves.beside)
    return tuple(
        filter(
            None,
            (
                f"with {curves.settings}" if curves.settings else "",
                f"seed {names} left out: not finished, or not measured, at every N" if names else "",
                f"left out: {runs}" if runs else "",
            ),
        )
    )
