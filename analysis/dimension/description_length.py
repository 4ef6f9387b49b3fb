"""(L) The description length of an image against N: its plateau, and the smallest N that comes within a margin of it.

The description length is the negative ELBO at beta 1, the rate plus the distortion in nats per image, without the cost
of the model itself. A further latent lowers it only if it saves more distortion than it costs rate.

All of this was chosen after the tables of MNIST had been seen: docs/science.md.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MARGIN = 1.0
"""Nats per image: the margin on MNIST, and of (a) on any data."""
MARGIN_SHARE = 1 / 108.2
"""The margin on other data, as a share of the distance from the mean image to the plateau: 1 nat is that on MNIST."""
MARGINS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Multiples of the margin at which N is printed."""
SCANNED = tuple(sorted({*MARGINS, *np.geomspace(0.125, 8.0, 385).round(4).tolist()}))
"""Multiples of the margin among which a verdict may turn."""
FLAT_FROM = 20
"""The N from which the curve of MNIST is flat."""
WINDOW, WIDTH = 3, 1.5
"""A plateau has at least three neighbouring N, the last of them at least one and a half times the first."""


class Plateau(NamedTuple):
    """The level at which a curve settles.

    Attributes:
        where: Which N it is the mean of, `(num_dims,)`.
        spread: The sd of the seed means over these N, nats per image; of one N, the sd of its seeds.
        margin: The distance from the level within which N is enough, nats per image.
        reason: Why this is no plateau, as a block of an estimate; empty where it is one.
    """

    where: np.ndarray
    spread: float
    margin: float
    reason: str = ""

    def level(self, values: np.ndarray) -> float:
        """The level of a curve `(num_dims,)`, such as one seed's."""
        return float(values[self.where].mean())


def accepted_loss(best: float, mean_image: float | None) -> float:
    """The loss above the best that counts as little, in nats per image.

    It is 1 nat; of images whose mean is less than half as far from the best as MNIST's, MARGIN_SHARE of that distance.

    Args:
        best: The least test loss, nats per image.
        mean_image: The test NLL of the mean image, likewise; None if it is not known.
    """
    share = MARGIN if mean_image is None else MARGIN_SHARE * (mean_image - best)
    return share if share < MARGIN / 2 else MARGIN


def papers_plateau(latent_dims: np.ndarray, values: np.ndarray) -> Plateau:
    """The plateau of MNIST: the mean over the grid's N from FLAT_FROM on.

    Args:
        latent_dims: N, rising, `(num_dims,)`.
        values: The description length by seed and N, `(num_seeds, num_dims)`.
    """
    where, means = latent_dims >= FLAT_FROM, values.mean(0)
    if where.sum() < 2:
        return _best(means, MARGIN, f"plateau not reached: needs two N from {FLAT_FROM} on")
    return _judged(Plateau(where, float(means[where].std(ddof=1)), MARGIN))


def plateau(latent_dims: np.ndarray, values: np.ndarray, mean_image: float) -> Plateau:
    """The plateau of other data: the lowest one that the curve has.

    Either neighbouring N (WINDOW, WIDTH) whose seed means differ by no more than the seeds' spread, or than half the
    margin; or the least value with the neighbours that lie within such a difference of it, if the curve lies higher at
    every larger N, as it does where each further latent costs more than it saves. No plateau lies above the least
    value by more than such a difference.

    Args:
        latent_dims: N, rising, `(num_dims,)`.
        values: The description length by seed and N, `(num_seeds, num_dims)`.
        mean_image: The test NLL of the mean image, nats per image.

    Returns:
        The plateau. Where there is none, the least value, with a `reason`.
    """
    means = values.mean(0)
    variance = values.var(0, ddof=1) if len(values) > 1 else np.zeros_like(means)
    least, lowest = int(np.argmin(means)), float(means.min())

    def margin(level: float) -> float:
        return max(MARGIN_SHARE * (mean_image - level), 0.0)

    def alike(places: slice) -> float:
        """The difference within which the seed means of these N count as equal, nats per image."""
        return max(float(np.sqrt(variance[places].mean())), margin(float(means[places].mean())) / 2)

    def mean_of(places: slice) -> Plateau:
        """The plateau of these N; the spread of one N alone is that of its seeds."""
        where = np.zeros(len(means), bool)
        where[places] = True
        spread = means[where].std(ddof=1) if where.sum() > 1 else np.sqrt(variance[where][0])
        return Plateau(where, float(spread), margin(float(means[places].mean())))

    candidates: list[Plateau] = []
    for start, first in enumerate(latent_dims):
        end = max(start + WINDOW, int(np.searchsorted(latent_dims, WIDTH * first)) + 1)
        if end > len(latent_dims):
            break
        window = slice(start, end)
        if np.ptp(means[window]) <= alike(window) and means[window].mean() <= lowest + alike(window):
            candidates.append(mean_of(window))
    higher = np.flatnonzero(means > lowest + alike(slice(least, None)))
    before, after = higher[higher < least], higher[higher > least]
    if len(after) and after[0] + len(after) == len(means):
        candidates.append(mean_of(slice(before[-1] + 1 if len(before) else 0, after[0])))
    if not candidates:
        return _best(
            means, margin(lowest), f"plateau not reached: the curve is nowhere flat up to N = {latent_dims[-1]}"
        )
    return _judged(min(candidates, key=lambda found: found.level(means)))


def _best(means: np.ndarray, margin: float, reason: str) -> Plateau:
    """The least value alone."""
    return Plateau(np.arange(len(means)) == np.argmin(means), 0.0, margin, reason)


def _judged(found: Plateau) -> Plateau:
    """The plateau, with a reason where its own spread exceeds half the margin."""
    if found.spread <= found.margin / 2:
        return found
    return found._replace(reason=f"uneven plateau: its spread, {found.spread:.2g} nats, exceeds half the margin")
