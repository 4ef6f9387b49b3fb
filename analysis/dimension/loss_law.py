"""The law by which a plain auto-encoder's loss falls with N: excess(N) = c + a N^-b, in nats per image.

A power law has no N at which it stops falling. As far as the loss follows one, a plain auto-encoder is answered by the
law and its tolerance curve, N(m): the N from which all further latents together gain m nats. Two other laws are fitted
beside it.

All of this was chosen after the tables of MNIST had been seen: docs/science.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from analysis.dimension.curve_shapes import MOST_MOVED
from analysis.intervals import t_interval

FIRST, LAST = 20, 100
"""The least and the largest N to which the law is fitted on MNIST; it predicts the larger ones."""
NO_FALL = "the loss does not fall"
"""The beginning of the reason where a loss has reached its limit before the law begins."""
LEAST_FITTED = 4
"""The least number of N to which a law of three numbers is fitted."""
TOLERANCES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Nats per image at which the tolerance curve is printed."""
ACCEPTED = (4.0, 2.0, 1.0)
"""The values of TOLERANCES at which the answer gives N."""
MOST_SPREAD = 10.0
"""The largest ratio of the upper to the lower end of N(m)'s interval at which N(m) counts as known. It was chosen after
the tables of Fashion-MNIST had been seen, whose 2,000 steps gave 412 to 13,580,290 for 4 nats."""
UNKNOWN = f"not known to a factor of {MOST_SPREAD:g}"
"""Begins the reason of a law whose N have wider intervals than MOST_SPREAD allows."""
LEAST_FALL = 1e-6
"""The least fall over the N that are fitted, nats per image; a smaller one is the rounding of equal losses."""
_SEARCHED = 400
"""Number of values of a law's shape that are tried before the best is refined."""


class Fit(NamedTuple):
    """A law `c + a f(N)`, the shape of f, and the largest error over the N that it was fitted to, in nats per image."""

    c: float
    a: float
    shape: float
    residual: float


class Law(NamedTuple):
    """A family of laws: f of N and its shape, and the least and the largest shape that are tried."""

    curve: Callable[[np.ndarray, float], np.ndarray]
    shapes: tuple[float, float]


LAWS = {
    "power law": Law(lambda dims, shape: dims**-shape, (0.05, 6.0)),
    "exponential": Law(lambda dims, shape: np.exp(-dims / shape), (2.0, 2000.0)),
    "logarithm": Law(lambda dims, _: -np.log(dims), (1.0, 1.0)),
}
"""The law by name: c + a N^-b, c + a exp(-N / s), c - a log N."""


@dataclass(frozen=True)
class LossLaw:
    """The power law of a network's excess loss, what it predicts, and the other laws beside it.

    Attributes:
        fit: On the mean over seeds.
        c: The asymptote above the entropy floor, nats per image, with the ends of its interval over seeds.
        b: The exponent, likewise.
        fitted: The N that the law was fitted to.
        predicted: By N, what the law predicts, and what was measured: the excess, nats per image.
        errors: By law, the largest error on the N that were fitted, and on those that were predicted.
        by_range: By range of N, as text, the power law that is fitted to the mean over it.
        tolerance: By m in nats per image: N(m) with the ends of its interval: that over seeds, and over `by_range`.
        moved: By m, the change of N(m) over the last fifth of training, as a share of it; NaN where it is not known.
    """

    fit: Fit
    c: tuple[float, float, float]
    b: tuple[float, float, float]
    fitted: tuple[int, ...]
    predicted: dict[int, tuple[float, float]]
    errors: dict[str, tuple[float, float]]
    by_range: dict[str, Fit]
    tolerance: dict[float, tuple[float, float, float]]
    moved: Mapping[float, float]

    def converged(self, margin: float) -> bool:
        """Whether N(m) has settled: the last fifth of training moved it by at most MOST_MOVED."""
        return self.moved[margin] <= MOST_MOVED

    def known(self, margin: float) -> bool:
        """Whether N(m) is known: it has no interval, or one whose upper end is at most MOST_SPREAD times the lower."""
        _, low, high = self.tolerance[margin]
        return not high > MOST_SPREAD * low

    @property
    def exponents(self) -> list[float]:
        """The exponents over all ranges of N."""
        return [fit.shape for fit in self.by_range.values()]

    @property
    def holds(self) -> bool:
        """Whether the power law predicts the larger N better than the other laws do."""
        return min(self.errors, key=lambda law: self.errors[law][1]) == "power law"


def fit_law(name: str, latent_dims: np.ndarray, excess: np.ndarray) -> Fit:
    """Fits a law by least squares.

    Args:
        name: A key of LAWS.
        latent_dims: N, `(num_dims,)`.
        excess: The loss above the entropy floor, `(num_dims,)`, nats per image.
    """
    curve, (low, high) = LAWS[name]
    dims = latent_dims.astype(float)

    def linear(shape: float) -> tuple[np.ndarray, np.ndarray]:
        design = np.stack([np.ones_like(dims), curve(dims, shape)], 1)
        numbers, *_ = np.linalg.lstsq(design, excess, rcond=None)
        return numbers, design @ numbers - excess

    def squares(log_shape: float) -> float:
        return float(np.square(linear(float(np.exp(log_shape)))[1]).sum())

    shape = low
    if high > low:
        tried = np.linspace(np.log(low), np.log(high), _SEARCHED)
        best = int(np.argmin([squares(one) for one in tried]))
        bounds = tried[max(best - 1, 0)], tried[min(best + 1, _SEARCHED - 1)]
        shape = float(np.exp(minimize_scalar(squares, bounds=bounds, method="bounded").x))
    (c, a), residual = linear(shape)
    return Fit(float(c), float(a), shape, float(np.abs(residual).max()))


def predict(name: str, fit: Fit, latent_dims: np.ndarray) -> np.ndarray:
    """The excess that a fitted law gives at N, `(num_dims,)`, nats per image."""
    return fit.c + fit.a * LAWS[name].curve(latent_dims.astype(float), fit.shape)


def tolerated(fit: Fit, margin: float) -> float:
    """N(m) of a power law: the N from which all further latents together gain `margin` nats; NaN if there is none."""
    return float((fit.a / margin) ** (1 / fit.shape)) if fit.a > 0 else float("nan")


def loss_law(
    latent_dims: np.ndarray, excess: np.ndarray, earlier: np.ndarray, *, first: int = FIRST, last: int = LAST
) -> LossLaw | str:
    """Fits the law to N from `first` to `last`, and compares what it predicts for the larger N.

    Args:
        latent_dims: N, rising, `(num_dims,)`.
        excess: The loss above the entropy floor by seed, `(num_seeds, num_dims)`, nats per image.
        earlier: Its mean over seeds at four fifths of training, `(num_dims,)`; NaN where it is not known.
        first: The least N that the law is fitted to.
        last: The largest one.

    Returns:
        The law, or the reason why these N allow none.
    """
    inside, beyond = (latent_dims >= first) & (latent_dims <= last), latent_dims > last
    if inside.sum() < LEAST_FITTED or not beyond.any():
        return f"needs {LEAST_FITTED} N from {first} to {last} and one beyond"
    dims, mean = latent_dims[inside], excess.mean(0)
    fits = {name: fit_law(name, dims, mean[inside]) for name in LAWS}
    fit = fits["power law"]
    seeds = [fit_law("power law", dims, row[inside]) for row in excess]
    if not _falls(fit, dims):
        return f"{NO_FALL} from N = {first} on"
    if flat := sum(not _falls(one, dims) for one in seeds):
        return f"{NO_FALL} from N = {first} on in {flat} of {len(seeds)} seeds"
    errors = {
        name: (one.residual, float(np.abs(predict(name, one, latent_dims[beyond]) - mean[beyond]).max()))
        for name, one in fits.items()
    }
    by_range = _by_range(latent_dims, mean, first)
    told = predict("power law", fit, latent_dims[beyond])
    before = fit_law("power law", dims, earlier[inside]) if np.isfinite(earlier[inside]).all() else None
    return LossLaw(
        fit=fit,
        c=(fit.c, *_interval([one.c for one in seeds])),
        b=(fit.shape, *_interval([one.shape for one in seeds])),
        fitted=tuple(map(int, dims)),
        predicted={
            int(n): (float(value), float(measured))
            for n, value, measured in zip(latent_dims[beyond], told, mean[beyond], strict=True)
        },
        errors=errors,
        by_range=by_range,
        tolerance={m: (tolerated(fit, m), *_tolerance_interval(seeds, by_range.values(), m)) for m in TOLERANCES},
        moved={m: _moved(before, fit, m) for m in TOLERANCES},
    )


def _falls(fit: Fit, dims: np.ndarray) -> bool:
    """Whether a power law falls by LEAST_FALL or more from the first to the last of `dims`, `(num_dims,)`."""
    first, last = predict("power law", fit, dims[[0, -1]])
    return bool(first - last >= LEAST_FALL)


def _moved(before: Fit | None, fit: Fit, margin: float) -> float:
    """The change of N(m) from an earlier law to this one, as a share of the latter."""
    if before is None:
        return float("nan")
    return abs(tolerated(fit, margin) - tolerated(before, margin)) / tolerated(fit, margin)


def _tolerance_interval(seeds: Sequence[Fit], by_range: Iterable[Fit], margin: float) -> tuple[float, float]:
    """The hull of N(m)'s interval over seeds and its values over ranges of N; NaN with one seed."""
    low, high = _interval([tolerated(one, margin) for one in seeds], logarithmic=True)
    others = [value for one in by_range if np.isfinite(value := tolerated(one, margin))]
    return min([low, *others]) if np.isfinite(low) else low, max([high, *others]) if np.isfinite(high) else high


def _by_range(latent_dims: np.ndarray, mean: np.ndarray, first: int) -> dict[str, Fit]:
    """The power law by the range of N that is fitted, as far as a range holds enough of them."""
    found = {}
    for start in latent_dims[latent_dims >= first]:
        for end in latent_dims[latent_dims > start]:
            inside = (latent_dims >= start) & (latent_dims <= end)
            if inside.sum() >= LEAST_FITTED:
                found[f"{start} to {end}"] = fit_law("power law", latent_dims[inside], mean[inside])
    return found


def _interval(values: list[float], *, logarithmic: bool = False) -> tuple[float, float]:
    """The t interval over seeds; NaN with one seed, or where a seed has no value."""
    array = np.array(values)
    if len(array) < 2 or not np.isfinite(array).all():
        return float("nan"), float("nan")
    if not logarithmic:
        return t_interval(array)
    with np.errstate(over="ignore"):  # the seeds differ so much that the upper end is no number: infinite
        low, high = np.exp(t_interval(np.log(array)))
    return float(low), float(high)
