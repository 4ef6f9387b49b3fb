"""Nearest neighbours: equal to all pairwise distances, in few and in many dimensions, in every cut of the search."""

import pytest
import torch

from trainables.measurements import neighbours
from trainables.measurements.generation import nearest_distances
from trainables.measurements.neighbours import nearest


def drawn(*shape):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dims", [1, 3, neighbours.TREE_DIMS, 20])
@pytest.mark.parametrize(("chunk", "tile"), [(500, 2500), (7, 13), (100, 1000)])
def test_nearest_is_that_of_all_distances_however_the_search_is_cut(dims, chunk, tile):
    points, queries = drawn(300, dims), drawn(40, dims) + 0.1
    expected = torch.cdist(queries, points).topk(5, largest=False).indices.sort(1).values
    assert torch.equal(nearest(points, queries, 5, chunk=chunk, tile=tile).sort(1).values, expected)


@pytest.mark.parametrize("dims", [2, 20])
def test_nearest_as_many_as_there_are_points_gives_all(dims):
    assert nearest(drawn(9, dims), drawn(3, dims), 9, tile=4).sort(1).values.tolist() == [list(range(9))] * 3


def test_nearest_of_a_point_among_the_points_is_itself():
    points = drawn(50, 12)
    assert nearest(points, points, 1)[:, 0].tolist() == list(range(50))


def test_nearest_distances_are_exact():
    train = torch.randint(0, 256, (6000, 30), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images = torch.cat([train[[5, 5999]] / 255, torch.rand(20, 30)])
    expected = torch.cdist(images.double(), train.double() / 255).square().min(1).values
    distances = nearest_distances(images, train)
    assert distances[:2].tolist() == [0, 0]
    torch.testing.assert_close(distances.double(), expected, rtol=1e-5, atol=1e-9)
