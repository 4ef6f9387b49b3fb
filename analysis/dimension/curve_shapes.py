"""The N at which a curve over the latent dimension saturates or has its knee, and whether it still moves."""

from __future__ import annotations

import math

import numpy as np

LAST_FIFTH = 0.8
"""Share of the run at which its last fifth begins."""
MOST_MOVED = 0.05
"""An estimate that moved by a larger share of its value in the last fifth of training has not converged."""

_ROUNDING = 1e-9


def rounded_up(latent_dim: float) -> int:
    """Rounds an interpolated N up: with fewer latents a network lies beyond the threshold."""
    return math.ceil(latent_dim - _ROUNDING)


def first_within(latent_dims: np.ndarray, values: np.ndarray, threshold: float) -> float:
    """Finds the smallest N whose value is at or below a threshold, interpolated linearly in log N.

    Args:
        latent_dims: N, rising, `(num_dims,)`.
        values: The smaller the better, `(num_dims,)`, in the unit of `threshold`.
        threshold: The value that is enough.

    Returns:
        N, not whole in general; the first N where its value is within already; NaN where none is.
    """
    within = np.flatnonzero(values <= threshold)
    if not len(within):
        return float("nan")
    first = int(within[0])
    if first == 0:
        return float(latent_dims[0])
    start, end = np.log(latent_dims[first - 1 : first + 1])
    before, after = values[first - 1 : first + 1]
    return float(np.exp(start + (end - start) * (before - threshold) / (before - after)))


def saturation(latent_dims: np.ndarray, values: np.ndarray, margin: float) -> float:
    """The smallest latent dimension whose value is within a margin of the smallest value; see `first_within`."""
    return first_within(latent_dims, values, float(np.min(values)) + margin)


def still_gained(values: np.ndarray) -> float:
    """The gain of the last latent dimension over the one before, if the last is the best; else 0."""
    return float(values[-2] - values[-1]) if len(values) > 1 and np.argmin(values) == len(values) - 1 else 0.0


def knee(latent_dims: np.ndarray, excess: np.ndarray) -> float:
    """The knee of a falling curve: where log excess lies farthest below its chord over log N (Kneedle, Satopaa 2011).

    Both axes are scaled to [0, 1] between the curve's ends. Between the latent dimensions the distance is taken as the
    parabola through the farthest one and its neighbours, where Kneedle has a spline.

    Args:
        latent_dims: N, rising, shape `(num_dims,)`.
        excess: NLL above the entropy floor, same shape, nats per image.

    Returns:
        N, not whole in general; NaN with fewer than three N, an excess that is not above 0, an end that is no lower
        than the start, or a curve that lies nowhere below its chord.
    """
    if len(latent_dims) < 3 or not (excess > 0).all() or excess[-1] >= excess[0]:
        return float("nan")
    x, y = np.log(latent_dims), np.log(excess)
    x_scaled, y_scaled = (x - x[0]) / (x[-1] - x[0]), (y - y[-1]) / (y[0] - y[-1])
    distance = (1 - x_scaled) - y_scaled
    farthest = int(np.argmax(distance))  # not an end where it is above 0: there it is 0
    if distance[farthest] <= _ROUNDING:
        return float("nan")
    near = slice(farthest - 1, farthest + 2)
    curvature, slope, _ = np.polyfit(x[near] - x[farthest], distance[near], 2)
    return float(np.exp(x[farthest] - (slope / (2 * curvature) if curvature < 0 else 0.0)))


def before_last_fifth(fractions: np.ndarray) -> int:
    """The index of the share of the run at which its last fifth begins; the shares rise to 1, `(num_fractions,)`."""
    return int(np.flatnonzero(fractions <= LAST_FIFTH + 1e-9)[-1])


def moved(history: np.ndarray, fractions: np.ndarray) -> float:
    """The change of an estimate over the last fifth of training, as a share of its last value, 0 or more.

    NaN where the estimate is not known at one of the two ends. `history`: the estimate at shares of the run,
    `(num_fractions,)`, NaN where it has no value; `fractions`: these shares, rising to 1, same shape.
    """
    start = history[before_last_fifth(fractions)]
    if start == history[-1]:
        return 0.0
    with np.errstate(divide="ignore"):  # a last value of 0: infinite
        return float(abs(history[-1] - start) / abs(history[-1]))


def bias_corrected(raw: float, cube_dims: np.ndarray, cube_estimates: np.ndarray) -> float:
    """The dimension of flat cubes for which an estimator returns this raw value; NaN beyond the last cube.

    Linear between the cubes, and from (0, 0) to the first. Where noise makes a larger cube's estimate smaller, the
    largest so far holds. `cube_dims`: the cubes' dimensions, rising, `(num_cubes,)`; `cube_estimates`: the estimate for
    each, with the data's number of points and neighbours.
    """
    estimates = np.maximum.accumulate(np.concatenate([[0.0], cube_estimates]))
    if not 0 <= raw <= estimates[-1]:
        return float("nan")
    return float(np.interp(raw, estimates, np.concatenate([[0.0], cube_dims])))
