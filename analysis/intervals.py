"""Intervals over seeds: arrays in, numbers out. The unit is the training seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def t_interval(values: np.ndarray | Sequence[float], *, level: float = 0.95) -> tuple[float, float]:
    """t interval for the mean over seeds.

    Args:
        values: One number per seed, shape `(num_seeds,)`, in any unit.
        level: Coverage, in (0, 1).

    Returns:
        `(low, high)` in the unit of `values`.

    Raises:
        ValueError: Fewer than two seeds, a value that is not finite, or a level outside (0, 1).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise ValueError(f"`values` must be a vector of two seeds or more, but got shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"`values` must be finite, but got {array.tolist()}.")
    if not 0 < level < 1:
        raise ValueError(f"`0 < level < 1` must hold, but got {level=}.")
    half = stats.t.ppf((1 + level) / 2, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array))
    return float(array.mean() - half), float(array.mean() + half)
