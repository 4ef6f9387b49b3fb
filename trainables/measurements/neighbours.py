"""Nearest neighbours: the one search that probes, generation and the intrinsic dimension share."""

from __future__ import annotations

import torch
from scipy.spatial import KDTree
from torch import Tensor

from trainables.metrics import to_unit

TREE_DIMS = 8
"""The largest number of dimensions at which a k-d tree is faster than matrix products on a CPU."""


@torch.no_grad()
def nearest(points: Tensor, queries: Tensor, count: int, *, chunk: int = 500, tile: int = 2500) -> Tensor:
    """Finds the nearest points of each query by Euclidean distance.

    In more than TREE_DIMS dimensions it compares |b|^2 - 2ab, which rounds off small differences: a caller who needs
    them takes more neighbours, and their distances from the differences.

    Args:
        points: Floats, or uint8 grey images, `(n, d)`.
        queries: Floats `(m, d)`.
        count: How many neighbours of each query are found, up to n.
        chunk: How many queries are compared at once.
        tile: How many points each of them is compared with at once.

    Returns:
        Indices into `points`, int64 `(m, count)`, in no order.
    """
    if points.shape[1] <= TREE_DIMS and not points.is_cuda:
        _, index = KDTree(points.cpu().numpy()).query(queries.cpu().numpy(), range(1, count + 1))
        return torch.as_tensor(index, dtype=torch.int64)
    # Small results kept between large temporaries would pin the heap: 20 GB for 55,000 images.
    indices = torch.empty(len(queries), count, dtype=torch.int64, device=queries.device)
    for start in range(0, len(queries), chunk):
        part = queries[start : start + chunk]
        indices[start : start + chunk] = _nearest_by_tiles(points, part, count, tile)
    return indices


def _nearest_by_tiles(points: Tensor, queries: Tensor, count: int, tile: int) -> Tensor:
    best = torch.empty(len(queries), 0, dtype=queries.dtype, device=queries.device)
    index = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, len(points), tile):
        block = points[start : start + tile]
        block = block if block.is_floating_point() else to_unit(block)
        scores = torch.addmm(block.square().sum(1), queries, block.T, alpha=-2)  # less the query's own square
        near = scores.topk(min(count, len(block)), largest=False, sorted=False)
        best, index = torch.cat([best, near.values], 1), torch.cat([index, near.indices + start], 1)
        least = best.topk(min(count, best.shape[1]), largest=False, sorted=False)
        best, index = least.values, index.gather(1, least.indices)
    return index
