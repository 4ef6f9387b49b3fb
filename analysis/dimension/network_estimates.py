"""Estimates from trained networks, (L), (U), (a) to (c), (f) of docs/science.md: on the mean over seeds, and by seed.

Each estimator reads the sweeps of one dataset and raises NotApplicableError where they do not allow the estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from analysis.dimension.curve_shapes import before_last_fifth, first_within, knee, saturation
from analysis.dimension.description_length import (
    MARGIN,
    MARGINS,
    SCANNED,
    Plateau,
    accepted_loss,
    papers_plateau,
    plateau,
)
from analysis.dimension.loss_law import ACCEPTED, FIRST, LAST, LEAST_FITTED, MOST_SPREAD, UNKNOWN, LossLaw, loss_law
from analysis.dimension.seed_estimates import (
    NO_GAIN,
    NO_SPARE,
    SeedEstimates,
    Sweeps,
    absent,
    curves_of,
    end_bounds,
    final_values,
    floor_of,
    grid_between,
    left_out,
    listed,
    measure,
    measured_seeds,
    overfits,
    unfinished,
    unlearned,
)
from analysis.dimension.sweeps import FRACTIONS, LEAST_DIMS, PAPERS, Sweep, needs
from analysis.figures.base import NotApplicableError
from analysis.formats import figures

LEAST_LATENTS = 100
"""How many latents a VAE of the paper's data must have for its active units to show that they are fewer than 100."""
ROOM = 0.8
"""A VAE has room to spare where at most this share of its latents is active: N >= 32 on MNIST."""
RECOGNITION_MARGIN = 0.01
OTHER_PLATEAU = "L rule"
"""The key of (L) by the other rule for the plateau: of MNIST by that of other data, of these by MNIST's."""


class Estimator(NamedTuple):
    """An estimator: the name of its estimate, and the function that makes it (raises NotApplicableError).

    `headline`: whether it is one of the answer's rows; `beforehand`: whether it was fixed before any run.
    """

    name: str
    measure: Callable[[Sweeps], SeedEstimates]
    headline: bool = False
    beforehand: bool = False


def description_length(sweeps: Sweeps, *, metric: str = "test_neg_elbo", other_plateau: bool = False) -> SeedEstimates:
    """(L) The smallest N whose description length lies within the margin of the plateau.

    Each seed has a plateau of its own, over the same N. `metric` may be another bound on the same length. Such a bound
    is measured at the end alone: whether the networks have settled is seen in their ELBO. With `other_plateau`, MNIST
    has the plateau that other data have, and these have MNIST's.
    """
    curves = curves_of(sweeps, "vae")
    papers = (sweeps.dataset == PAPERS) != other_plateau
    if metric == "test_neg_elbo":
        return _length(papers, curves, metric)
    curves = measured_seeds(curves, metric)
    settling = _length(papers, curves, "test_neg_elbo").history
    return replace(_length(papers, curves, metric), history=settling)


def _length(papers: bool, curves: Sweep, metric: str) -> SeedEstimates:
    final = final_values(curves, metric)
    dims, settled = curves.latent_dims, _plateau(papers, curves, final)
    level = settled.level(final.mean(0))
    if not settled.margin:
        shortest = f"the description length, {level:.1f} nats, is not below the mean image's {curves.mean_image:.1f}"
        raise NotApplicableError(f"{NO_GAIN}: {shortest}")

    def within(row: np.ndarray, share: float = 1.0) -> float:
        return first_within(dims, row, settled.level(row) + share * settled.margin)

    found = measure(curves, metric, within, margin=settled.margin, where=settled.where)
    within_first = found.value == dims[0] > 1
    first = (f"an upper bound: the first N = {dims[0]} is within the margin",) if within_first else ()
    levels = f"the plateau, over N = {listed(dims[settled.where])}, is {level:.1f} nats"
    return replace(
        found,
        blocks=(*filter(None, (settled.reason,)), *first, *found.blocks),
        notes=(f"{levels}; the margin is {settled.margin:.2g}", *found.notes),
        between=grid_between(dims, found.value),
        margins=_at_margins(within, final, papers),
    )


def _at_margins(
    within: Callable[[np.ndarray, float], float], final: np.ndarray, papers: bool
) -> dict[float, tuple[float, np.ndarray]]:
    """The N on the mean over seeds and by seed, by multiple of the margin; `within` gives a curve's N at a multiple."""
    shares = SCANNED if papers else MARGINS
    return {share: (within(final.mean(0), share), np.array([within(row, share) for row in final])) for share in shares}


def plateau_of(sweeps: Sweeps) -> Plateau:
    """The plateau of the VAE's description length; raises NotApplicableError."""
    curves = curves_of(sweeps, "vae")
    return _plateau(sweeps.dataset == PAPERS, curves, final_values(curves, "test_neg_elbo"))


def _plateau(papers: bool, curves: Sweep, final: np.ndarray) -> Plateau:
    if papers:
        return papers_plateau(curves.latent_dims, final)
    if curves.mean_image is None:
        raise NotApplicableError("no test NLL of the mean image was recorded")
    if curves.likelihood != "bernoulli":
        needed = "needs a VAE with the Bernoulli likelihood, which the mean image's loss has"
        raise NotApplicableError(f"{needed}; this one has the {curves.likelihood.replace('_', ' ')} one")
    return plateau(curves.latent_dims, final, curves.mean_image)


def spare_units(sweeps: Sweeps, *, metric: str = "test_active_units") -> SeedEstimates:
    """(U) Active units of the VAEs that have room to spare, a range over their N."""
    curves = curves_of(sweeps, "vae")
    counts, dims = final_values(curves, metric), curves.latent_dims
    room = counts.mean(0) <= ROOM * dims
    full = () if room.any() else (f"{NO_SPARE}: over {100 * ROOM:.0f} % of the latents are active at every N",)
    room = room if room.any() else dims == dims[-1]
    chosen = counts[:, room]
    final = final_values(curves, "test_neg_elbo")
    known = curves.mean_image is not None and curves.likelihood == "bernoulli"
    margin = (known and _plateau(sweeps.dataset == PAPERS, curves, final).margin) or MARGIN
    return SeedEstimates(
        value=float(chosen.mean()),
        per_seed=chosen.mean(1),
        steps=curves.budget,
        history=curves.values[metric][:, :, room].mean((1, 2)),
        blocks=(*full, *overfits(curves, "test_neg_elbo", room, margin), *unfinished(curves)),
        notes=(f"over N = {listed(dims[room])}", *left_out(curves)),
        logarithmic=False,
        resolution=1.0,
        parts=tuple(chosen.T),
    )


def saturated(sweeps: Sweeps, *, network: str, metric: str = "test_nll", share: float | None = None) -> SeedEstimates:
    """(a) The smallest N within 1 nat of the best, or within a share of the best's excess over the entropy floor."""
    curves = curves_of(sweeps, network)
    floor = 0.0 if share is None else floor_of(curves)

    def margin(values: np.ndarray) -> float:
        return MARGIN if share is None else share * (float(values.min()) - floor)

    def within(row: np.ndarray, multiple: float = 1.0) -> float:
        return saturation(dims, row, multiple * margin(row))

    dims, last = curves.latent_dims, curves.values[metric][-1].mean(0)
    blocks, notes = end_bounds(curves, last, margin(last))
    if notes:
        notes += _on_shorter_grids(dims, lambda size: saturation(dims[:size], last[:size], margin(last[:size])))
    estimates = measure(curves, metric, within, bounds=(blocks, notes), margin=MARGIN)
    shown = network == "elu" and share is None
    margins = _at_margins(within, final_values(curves, metric), sweeps.dataset == PAPERS) if shown else {}
    return replace(estimates, between=grid_between(dims, estimates.value), margins=margins)


def _on_shorter_grids(dims: np.ndarray, estimate: Callable[[int], float]) -> tuple[str, ...]:
    """The estimate, had the grid ended one, two or three N earlier; `estimate` takes the size of the grid."""
    sizes = range(max(len(dims) - 3, LEAST_DIMS), len(dims))
    ends, values = (
        ", ".join(f"{x:.3g}" for x in part) for part in (dims[[n - 1 for n in sizes]], map(estimate, sizes))
    )
    return (f"so this number depends on where the grid ends: {values} on grids up to N = {ends}",) if sizes else ()


def law_of_loss(sweeps: Sweeps) -> LossLaw:
    """The law of the plain auto-encoder's loss, from which N follows; raises NotApplicableError where no N is known."""
    found = fitted_law(sweeps)
    if not any(found.converged(m) for m in ACCEPTED):
        share = found.moved[ACCEPTED[0]]
        change = "is not known to have settled"
        if np.isfinite(share):
            change = f"moved by {100 * share:.0f} %" if share < MOST_SPREAD else f"moved more than {MOST_SPREAD:g}-fold"
        reason = f"its N for {ACCEPTED[0]:g} nats {change} over the last fifth of training"
        raise NotApplicableError(f"not converged: {reason}")
    if not any(found.known(m) for m in ACCEPTED):
        _, low, high = found.tolerance[ACCEPTED[0]]
        between = f"between {figures(low)} and {figures(high)}"
        raise NotApplicableError(f"{UNKNOWN}: its N for {ACCEPTED[0]:g} nats lies {between}")
    return found


def fitted_law(sweeps: Sweeps) -> LossLaw:
    """The law of the plain auto-encoder's loss; on other data than the paper's, of the N above that of (L).

    Raises:
        NotApplicableError: There are too few N, the loss does not fall, or it rises at the end of training.
    """
    curves = curves_of(sweeps, "elu")
    excess = final_values(curves, "test_nll") - floor_of(curves)
    earlier = curves.values["test_nll"][before_last_fifth(FRACTIONS)].mean(0) - floor_of(curves)
    first, last = FIRST, LAST
    if sweeps.dataset != PAPERS:
        bend = description_length(sweeps).value
        larger = curves.latent_dims[curves.latent_dims >= bend]
        if len(larger) <= LEAST_FITTED:
            raise NotApplicableError(f"too few N: the law needs {LEAST_FITTED + 1} N from N = {bend:.3g} on")
        first, last = int(larger[0]), int(larger[max(LEAST_FITTED - 1, len(larger) - 3)])
    if rising := rising_from(curves, first):
        raise NotApplicableError(rising)
    found = loss_law(curves.latent_dims, excess, earlier, first=first, last=last)
    if isinstance(found, str):
        raise NotApplicableError(found)
    return found


def rising_from(curves: Sweep, first: float) -> str:
    """The block of an auto-encoder that overfits at the N from `first` on; empty where it does not."""
    margin = accepted_loss(float(curves.values["test_nll"][-1].mean(0).min()), curves.mean_image)
    return "".join(overfits(curves, "test_nll", curves.latent_dims >= first - 1e-9, margin))


def knee_of_excess(sweeps: Sweeps, *, equal_steps: bool = False) -> SeedEstimates:
    """(b) The knee of the log excess; if wanted, after as many steps at every N, where the budgets differ."""
    curves = curves_of(sweeps, "elu")
    floor = floor_of(curves)

    def estimate(values: np.ndarray) -> float:
        return knee(curves.latent_dims, values - floor)

    if not equal_steps:
        return measure(curves, "test_nll", estimate, margin=MARGIN)
    steps, values = curves.at_equal_steps("test_nll")
    per_seed = np.array([estimate(row) for row in values])
    blocks = (*absent(estimate(values.mean(0))), *unfinished(curves))
    return SeedEstimates(estimate(values.mean(0)), per_seed, f"{steps:,}", None, blocks, left_out(curves))


def active(sweeps: Sweeps, *, metric: str) -> SeedEstimates:
    """(c) Active units of the VAE with the most latents; on the paper's data it must have LEAST_LATENTS."""
    curves = sweeps.largest
    if isinstance(curves, str):
        raise NotApplicableError(curves)
    if reason := unlearned(curves):
        raise NotApplicableError(reason)
    size = int(curves.latent_dims[-1])
    if sweeps.dataset == PAPERS and size < LEAST_LATENTS and not sweeps.partial:
        raise NotApplicableError(needs(sweeps.dataset, "vae"))
    values = curves.values[metric][:, :, -1]
    if not np.isfinite(values[-1]).all():
        raise NotApplicableError("not recorded")
    full = (f"{NO_SPARE}: all {size} units are active",) if values[-1].mean() == size else ()
    blocks = (*full, *overfits(curves, "test_neg_elbo", curves.latent_dims == size, MARGIN))
    notes = (f"of {size} latents", *left_out(curves))
    value = float(values[-1].mean())
    history = values.mean(1)
    return SeedEstimates(value, values[-1], curves.budget, history, blocks, notes, logarithmic=False, resolution=1.0)


def recognised(sweeps: Sweeps, *, network: str) -> SeedEstimates:
    """(f) The smallest N whose reconstructions are recognised within 1 % of the originals."""
    curves = measured_seeds(curves_of(sweeps, network), "recognition")
    lost = curves.values["recognition_originals"][-1] - curves.values["recognition"][-1]
    per_seed = np.array([first_within(curves.latent_dims, row, RECOGNITION_MARGIN) for row in lost])
    value = first_within(curves.latent_dims, lost.mean(0), RECOGNITION_MARGIN)
    above = () if np.isfinite(value) else (f"none: not within 1 % up to N = {curves.latent_dims[-1]}",)
    return SeedEstimates(value, per_seed, curves.budget, None, (*above, *unfinished(curves)), left_out(curves))


ESTIMATORS: dict[str, Estimator] = {
    "L": Estimator("description length within the margin of its plateau, VAE", description_length, headline=True),
    "L bound": Estimator(
        "the same by the importance-weighted bound", partial(description_length, metric="neg_iw_bound")
    ),
    OTHER_PLATEAU: Estimator(
        "the same by the other rule for the plateau", partial(description_length, other_plateau=True)
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
CONTROL_ESTIMATORS = {key: ESTIMATORS[key] for key in ("L", OTHER_PLATEAU, "U", "a", "b", "c")}
"""The estimators that are compared with datasets of known dimension, by key."""
