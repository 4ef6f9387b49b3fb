"""The dimension of points: known where it is known, equal to scikit-dimension's, MNIST's as measured before."""

import resource

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from skdim.id import GRIDE, MLE, TwoNN
from torch import Tensor

from trainables.datasets import Dataset
from trainables.intrinsic_dimension import CUBE_DIMS, MAX_TIES, NEIGHBOURS, estimate, estimates, neighbour_distances
from trainables.strokes import render

NAMES = ("mle", "mle_mean", "gride")


def cube(dim: int, n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def one_class(factors: int, n: int, digit: int = 3) -> Tensor:
    """Strokes of one digit as floats, so that their dimension is exactly `factors`."""
    drawn = np.random.default_rng(factors).uniform(-1, 1, (n, factors)).astype(np.float32)
    return torch.from_numpy(render(np.full(n, digit), drawn)).flatten(1)


def measure(points: Tensor) -> dict[str, list[float]]:
    return estimates(neighbour_distances(points, len(points)))


def subsample(mnist: Dataset, n: int, seed: int = 0) -> Tensor:
    rows = torch.randperm(len(mnist.images["train"]), generator=torch.Generator().manual_seed(seed))[:n]
    return torch.from_numpy(mnist.images["train"].copy())[rows].float() / 255


@pytest.mark.parametrize("points", [cube(1, 1500), cube(6, 1500), one_class(2, 1500)], ids=["line", "cube", "strokes"])
def test_neighbour_distances_near_and_far_are_exact(points: Tensor) -> None:
    exact = np.sort(cdist(points[:100], points))[:, 1:101]  # by differences, in float64
    np.testing.assert_allclose(neighbour_distances(points, 100), exact, rtol=1e-6)


def test_neighbour_distances_some_queries_are_the_first_rows_of_all() -> None:
    points = cube(3, 1300)
    np.testing.assert_array_equal(neighbour_distances(points, 700), neighbour_distances(points, 1300)[:700])


def test_estimates_each_neighbourhood_equal_scikit_dimension() -> None:
    points = cube(5, 400)
    ours = measure(points)
    for index, k in enumerate(NEIGHBOURS):
        x = points.numpy()
        theirs = (
            MLE().fit(x, n_neighbors=k).dimension_,
            MLE(unbiased=True).fit(x, n_neighbors=k, comb="mean").dimension_,
            GRIDE(n1=k // 2, n2=k).fit(x).dimension_,
        )
        assert [ours[name][index] for name in NAMES] == pytest.approx(theirs, rel=1e-9)
    assert ours["twonn"] == [pytest.approx(TwoNN().fit(points.numpy()).dimension_, rel=1e-9)]
    assert all(len(set(ours[name])) == len(NEIGHBOURS) for name in NAMES)  # another k, another answer


def test_estimates_pooled_mle_is_the_closed_form() -> None:
    distances = np.sort(np.random.default_rng(0).uniform(1, 2, (50, 100)))
    logs = np.log(distances[:, 19:20] / distances[:, :19])
    assert estimates(distances)["mle"][2] == pytest.approx(50 * 19 / logs.sum())


def test_estimates_flat_cubes_read_low_as_known() -> None:
    dims, expected = (2, 4, 8, 16, 32), (2.0, 4.0, 7.2, 12.7, 22.7)  # they read low: docs/science.md
    found = [measure(cube(dim, 4000)) for dim in dims]
    assert [each["twonn"][0] for each in found] == pytest.approx(expected, rel=0.06)  # its standard error is 1.7 %
    for name in NAMES:
        assert found[0][name] == pytest.approx([2.0] * 5, rel=0.06)
        assert np.diff(found[-1][name]).max() < 0  # the wider the neighbourhood, the nearer the borders


def test_estimates_points_in_another_space_keep_their_dimension() -> None:
    flat = cube(3, 1000)
    turned = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64)).Q[:3]
    for name, values in measure(5 + 7 * flat @ turned).items():
        assert values == pytest.approx(measure(flat)[name], rel=1e-9)


@pytest.mark.parametrize("factors", [2, 4, 8, 16])
def test_estimates_strokes_read_between_the_flat_cube_and_the_truth(factors: int) -> None:
    strokes, flat = measure(one_class(factors, 1000)), measure(cube(factors, 1000))
    for name in NAMES:
        low, high = 0.95 * np.array(flat[name]), 1.05 * factors  # 5 % for the sample
        assert (strokes[name] > low).all() and max(strokes[name]) < high
    assert 0.9 * flat["twonn"][0] < strokes["twonn"][0] < 1.1 * factors  # from two neighbours only


def test_estimate_profiles_are_as_documented_and_seed_moves_only_the_cubes() -> None:
    points = cube(2, 300)
    first, other = estimate(points, 0), estimate(points, 1)
    assert first == estimate(points, 0)
    assert first["dimension_points"] == first["cube_points"] == [300]
    assert first["dimension_neighbours"] == list(NEIGHBOURS)
    assert first["cube_dims"] == list(CUBE_DIMS)
    per_cube = {f"cube_{name}_{k}" for name in NAMES for k in NEIGHBOURS} | {"cube_twonn"}
    assert {key for key in first if key.startswith("cube_")} == per_cube | {"cube_dims", "cube_points"}
    for key, values in first.items():
        assert all(isinstance(value, float) for value in values)
        assert (values != other[key]) == (key in per_cube)
    assert all(len(first[key]) == len(CUBE_DIMS) for key in per_cube)
    assert [len(first[f"dimension_{name}"]) for name in (*NAMES, "twonn")] == [5, 5, 5, 1]
    # Cube 2 of 300 points is what the data is; and a correction needs estimates that rise with the dimension.
    assert first["cube_mle_20"][1] == pytest.approx(first["dimension_mle"][2], rel=0.1)
    assert np.diff(first["cube_mle_20"]).min() > 0


def test_estimate_duplicates_count_once() -> None:
    points = cube(3, 150)
    assert estimate(points.repeat(3, 1), 0) == estimate(points, 0)


TIED = {
    "lattice": torch.cartesian_prod(*2 * [torch.arange(45.0)]),
    "line": torch.arange(300.0)[:, None],
    "two grey levels": (cube(30, 400) > 0.5).float(),
    "equidistant": torch.eye(150),
}


@pytest.mark.parametrize("points", TIED.values(), ids=TIED.keys())
def test_estimate_of_points_that_tie_says_so_and_gives_no_number(
    points: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    profiles = estimate(points, 0)
    for name in (*NAMES, "twonn"):
        assert np.isnan(profiles[f"dimension_{name}"]).all()
    assert min(profiles["ties"]) > MAX_TIES and "of the distances to nearest neighbours are equal" in caplog.text


def test_estimate_with_few_ties_is_given(caplog: pytest.LogCaptureFixture) -> None:
    points = cube(2, 2000)
    points[:4] = 5 + torch.tensor([[0.0, 0], [0, 0.01], [0.01, 0], [0.01, 0.01]])
    profiles = estimate(points, 0)
    assert 0 < profiles["ties"][0] < MAX_TIES and not caplog.text
    assert profiles["dimension_twonn"] == [pytest.approx(2, rel=0.1)]


@pytest.mark.parametrize("num", [1, 5])
def test_estimate_fewer_points_than_the_least_neighbours_raises(num: int) -> None:
    with pytest.raises(ValueError, match=rf"`different points > 5` must hold, but got {num} of them"):
        estimate(cube(2, num), 0)


@pytest.mark.parametrize(("num", "scales"), [(6, 1), (50, 3), (51, 4), (100, 4), (101, 5)])
def test_estimate_of_few_points_has_the_scales_that_they_allow(num: int, scales: int) -> None:
    profiles = estimate(cube(2, num), 0)
    for name in NAMES:
        assert np.isfinite(profiles[f"dimension_{name}"]).tolist() == [True] * scales + [False] * (5 - scales)
    assert np.isfinite(profiles["dimension_twonn"]).all() and profiles["cube_points"] == [num]
    assert len(profiles["ties"]) == 6 and not any(profiles["ties"])


def test_estimate_constant_points_raise() -> None:
    with pytest.raises(ValueError, match="`different points > 5` must hold, but got 1 of them"):
        estimate(torch.ones(200, 5), 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_estimate_not_finite_raises(bad: float) -> None:
    points = cube(2, 200)
    points[7, 1] = bad
    with pytest.raises(ValueError, match="`points` must be finite, but got 1 values"):
        estimate(points, 0)


def test_estimates_mnist_subsample_is_as_known(mnist: Dataset) -> None:
    found = measure(subsample(mnist, 1000))
    assert found["mle"][2] == pytest.approx(10.7, abs=0.5)  # k = 20


@pytest.mark.slow
def test_estimates_mnist_digits_are_as_known(mnist: Dataset) -> None:
    labels = torch.from_numpy(mnist.labels["train"].copy())
    images = torch.from_numpy(mnist.images["train"].copy())
    for digit, expected in ((1, 9.7), (8, 15.5)):
        assert measure(images[labels == digit].float() / 255)["mle"][2] == pytest.approx(expected, abs=0.3)


@pytest.mark.slow
def test_estimate_whole_mnist_is_as_known(mnist: Dataset) -> None:
    points = subsample(mnist, 55_000)
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
    found = estimate(points, 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before < 2 * 1024**2
    assert found["dimension_points"] == found["cube_points"] == [55_000]
    assert found["dimension_mle"][2] == pytest.approx(13.4, abs=0.3)
    assert found["dimension_twonn"][0] == pytest.approx(14.8, abs=0.3)  # it rises: 13.6 of 4,000
    wide = points.double()
    for row, near in enumerate(neighbour_distances(points, 20)):
        exact = (wide - wide[row]).square().sum(1).sqrt().sort().values[1:101]
        np.testing.assert_allclose(near, exact, rtol=1e-6)
