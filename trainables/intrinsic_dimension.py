"""Intrinsic dimension of a cloud of points, by estimators that read only the distances to each point's neighbours.

The neighbours are searched for once, exactly, and shared by every estimator at every scale. All estimators read too low
in many dimensions, where most points of a cube lie near its faces. Each is therefore applied to flat uniform cubes of
known dimension, `CUBE_DIMS`, too, with as many points. `analysis.dimension.intrinsic_estimates` corrects the bias: the
corrected value is the dimension of the cube for which the estimator returns the data's value, interpolated linearly.
Beyond the last cube there is none. On curved surfaces the correction overshoots: on strokes with k factors, k mostly
lies between the raw and the corrected value.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from trainables.batches import generator
from trainables.measurements.neighbours import nearest
from trainables.metrics import to_unit

if TYPE_CHECKING:
    from trainables.schema import TrialConfig

_LOG = logging.getLogger(__name__)
NEIGHBOURS = (5, 10, 20, 50, 100)
"""Neighbourhood sizes k, the scales of the estimates; of k points or fewer there is none at k."""
CUBE_DIMS = (1, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48)
CUBE_QUERIES = 10_000
"""How many of a cube's points neighbours are searched for, always among all of them.

The number of points sets the bias; this limit only its noise.
"""
MAX_TIES = 0.01
"""An estimate is given up to this share of equal distances; MNIST has none, images of few grey levels a third."""
EXTRA = 16
"""How many more neighbours than needed are searched for, since the search rounds distances."""


def subsample(config: TrialConfig, seed: int, images: Tensor, labels: Tensor | None) -> Tensor:
    """Draws the points of a trial: `sample_size` training images of a class or of all, floats in [0, 1].

    `images`: uint8 `(n, pixels)`; `labels`: `(n,)`, None if the images have none. Raises ValueError if there are fewer
    images, or no labels to tell a class by.
    """
    if config.digit is not None and labels is None:
        raise ValueError(f"`digit` must be left out where images have no labels, but got {config.digit}.")
    pool = images if config.digit is None else images[labels == config.digit]
    size = config.sample_size or 0
    if size > len(pool):
        raise ValueError(f"`sample_size <= {len(pool)}` (the images there are) must hold, but got {size}.")
    chosen = torch.randperm(len(pool), generator=generator(seed, "subsample"))[:size]
    return to_unit(pool[chosen.to(pool.device)])


def estimate(points: Tensor, seed: int) -> dict[str, list[float]]:
    """Estimates the intrinsic dimension of points, and beside it that of flat uniform cubes of the same size.

    Args:
        points: Finite floats, `(n, d)`; of equal points one counts. Images in [0, 1].
        seed: Of the cubes' points; the data is taken as it is.

    Returns:
        Profiles, see `trainables.quantities`: `dimension_*` of the different points, `cube_*` of as many points of each
        cube.

    Raises:
        ValueError: A value is not finite; not more different points than the least of NEIGHBOURS.
    """
    if not points.isfinite().all():
        raise ValueError(f"`points` must be finite, but got {int((~points.isfinite()).sum())} values that are not.")
    distinct = points.unique(dim=0)
    size, queries = len(distinct), min(len(distinct), CUBE_QUERIES)
    distances = neighbour_distances(distinct, size)
    shares = [ties(distances, k) for k in (2, *NEIGHBOURS)]
    if max(shares) > MAX_TIES:
        share = 100 * max(shares)
        _LOG.warning("%.0f %% of the distances to nearest neighbours are equal: such scales give no estimate.", share)
    cubes = [estimates(neighbour_distances(_cube(dim, size, seed, points.device), queries)) for dim in CUBE_DIMS]
    profiles = {
        "dimension_points": [float(size)],
        "dimension_neighbours": [float(k) for k in NEIGHBOURS],
        "cube_points": [float(size)],
        "cube_dims": [float(dim) for dim in CUBE_DIMS],
        "ties": shares,
    }
    for name, values in estimates(distances).items():
        profiles[f"dimension_{name}"] = values
        suffixes = [f"_{k}" for k in NEIGHBOURS] if len(values) > 1 else [""]
        for index, suffix in enumerate(suffixes):
            profiles[f"cube_{name}{suffix}"] = [cube[name][index] for cube in cubes]
    return profiles


def neighbour_distances(points: Tensor, queries: int) -> np.ndarray:
    """Distances of points to the nearest neighbours that estimators need, themselves left out.

    The search rounds distances, so it takes EXTRA more neighbours; their distances are then taken from the differences,
    summed in float64.

    Args:
        points: Different points, floats `(n, d)`, on the device to search on.
        queries: How many points, the first, neighbours are searched for, always among all points.

    Returns:
        `(queries, k)`, float64, rising along each row; k is the largest of NEIGHBOURS, or all other points if they are
        fewer.

    Raises:
        ValueError: There are not more points than the least of NEIGHBOURS.
    """
    if len(points) <= min(NEIGHBOURS):
        raise ValueError(f"`different points > {min(NEIGHBOURS)}` must hold, but got {len(points)} of them.")
    num = min(max(NEIGHBOURS), len(points) - 1)
    centred = points - points.mean(0)
    near = nearest(centred, centred[:queries], min(num + EXTRA, len(points) - 1) + 1, tile=len(points))
    distances = torch.empty(near.shape, dtype=torch.float64, device=points.device)
    for row, point, neighbours in zip(distances, points, near, strict=False):  # all at once would fit no cache
        torch.linalg.vector_norm(points[neighbours] - point, dim=1, dtype=torch.float64, out=row)
    return distances.sort(1).values[:, 1 : num + 1].cpu().numpy()  # the first is the point's own, 0


def estimates(distances: np.ndarray) -> dict[str, list[float]]:
    """The estimates from the distances to the nearest neighbours.

    Args:
        distances: `(n, k)`, positive, rising along each row: see `neighbour_distances`.

    Returns:
        By estimator, unbiased in a flat space without borders. For each of NEIGHBOURS: mle (Levina & Bickel 2004,
        pooled as by MacKay & Ghahramani 2005: n (k - 1) over all points' sums of log ratios), mle_mean (the mean of
        the points' own estimates, k - 2 over the sum), gride (Denti et al. 2022, from the distances k // 2 and k); of
        one value: twonn (Facco et al. 2017, by their line through the 90 % least ratios). NaN where there are
        fewer neighbours, or more than MAX_TIES of the distances that an estimate reads are equal: on a lattice,
        say, TwoNN gives millions.
    """
    from skdim.id import MLE, TwoNN  # seconds to import, and needed for this task only

    mle, mle_mean, gride = ([float("nan")] * len(NEIGHBOURS) for _ in range(3))
    for index, k in enumerate(NEIGHBOURS):
        if k > distances.shape[1] or ties(distances, k) > MAX_TIES:
            continue
        near = distances[distances[:, k // 2 - 1] < distances[:, k - 1], :k]  # a point with equal ones tells nothing
        fit = MLE().fit(near, precomputed_knn_arrays=(near, None), n_neighbors=1)  # 1: not read where these are given
        mle[index] = float(fit.dimension_)
        mle_mean[index] = float(fit.dimension_pw_.mean() * (k - 2) / (k - 1))
        gride[index] = _gride(near, k // 2, k)
    tied = ties(distances, 2) > MAX_TIES
    twonn = float("nan") if tied else float(TwoNN(dist=True).fit(distances[:, :2]).dimension_)
    return {"mle": mle, "mle_mean": mle_mean, "gride": gride, "twonn": [twonn]}


def ties(distances: np.ndarray, k: int) -> float:
    """The share of equal ones among successive distances to the k nearest neighbours, or all, over all points."""
    near = distances[:, :k]
    return float((near[:, 1:] == near[:, :-1]).mean())


def _gride(distances: np.ndarray, near: int, far: int) -> float:
    """Denti et al. 2022, Eq. 13: the most likely dimension, given each point's `near`-th and `far`-th distance.

    scikit-dimension's GRIDE takes no distances; this one is tested equal to it.
    """
    log_ratio = np.log(distances[:, far - 1] / distances[:, near - 1])

    def score(dimension: float) -> float:  # of the likelihood, concave; n - 1 for n removes the bias of order 1 / n
        between = (log_ratio / -np.expm1(-dimension * log_ratio)).sum()
        return float((len(log_ratio) - 1) / dimension + (far - near - 1) * between - (far - 1) * log_ratio.sum())

    high = 1.0
    while score(high) > 0:
        high *= 2
    return float(brentq(score, 1e-6, high))


def _cube(dim: int, size: int, seed: int, device: torch.device) -> Tensor:
    """Uniform points `(size, dim)` in [0, 1]; float64, for on a line they come close."""
    return torch.rand(size, dim, dtype=torch.float64, generator=generator(seed, "cube", dim)).to(device)
