"""Precision and Fréchet distance: of points drawn alike, of points far off, and of one image over and over."""

import math

import pytest
import torch

from tests.support.networks import collapsed, linear, random, tensors, untrained
from trainables.measurements import fidelity


@pytest.fixture(scope="module")
def digits(mnist):
    images, labels = tensors(mnist)
    cut = {"train": 4000, "test": 400}
    return {s: images[s][:n] for s, n in cut.items()}, {s: labels[s][:n] for s, n in cut.items()}


def precision(drawn, real):
    return fidelity.precision(drawn, real, fidelity.ball_radii(real))


def frechet(drawn, real):
    return fidelity.frechet(drawn, real, fidelity.principal_directions(real))


def test_ball_radii_are_the_distances_to_the_third_neighbour():
    assert fidelity.ball_radii(torch.tensor([[0.0], [1.0], [3.0], [7.0], [20.0]])).tolist() == [7, 6, 4, 7, 19]


def test_precision_of_the_same_points_is_1_and_of_far_ones_0():
    points = random(200, 5)
    assert precision(points, points) == 1.0
    assert precision(points + 100, points) == 0.0


def test_precision_of_a_square_of_which_the_real_points_fill_one_half_is_a_half():
    square, half = (torch.rand(1000, 2, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    half *= torch.tensor([0.5, 1.0])
    assert precision(half, square) > 0.9
    assert precision(square, half) == pytest.approx(0.5, abs=0.06)


def test_frechet_of_the_same_points_is_nought_and_of_moved_ones_the_squared_distance():
    points = random(500, 5)
    assert frechet(points, points) == pytest.approx(0, abs=1e-9)
    assert frechet(points + 2, points) == pytest.approx(20, rel=1e-6)


def test_frechet_of_wider_points_is_that_of_two_gaussians():
    """Along each axis it is the squared difference of the standard deviations."""
    points = random(500, 3)
    spread = points.var(0, correction=0).sum().item()
    assert frechet(3 * points - 2 * points.mean(0), points) == pytest.approx(4 * spread, rel=1e-5)


def test_frechet_of_one_point_over_and_over_is_the_spread_that_it_lacks():
    points = random(500, 3)
    same = points.mean(0).repeat(50, 1)
    assert frechet(same, points) == pytest.approx(points.var(0, correction=0).sum().item(), rel=1e-5)
    assert math.isfinite(frechet(same, same))


def test_fidelity_tells_digits_from_double_exposures_and_those_from_one_image(digits):
    found = {name: value for name, (value,) in fidelity.measure_fidelity(collapsed(digits)).profiles.items()}
    assert found["data_precision"] > found["double_precision"] + 0.2
    assert found["data_frechet"] < found["double_frechet"] / 2
    assert found["one_image_frechet"] == pytest.approx(found["sample_frechet"])
    assert found["one_image_frechet"] > 2 * found["double_frechet"]


def test_fidelity_half_way_between_pixels_is_that_of_double_exposures(digits):
    copies = linear(torch.eye(784), torch.eye(784), digits)
    profiles = fidelity.measure_fidelity(copies).profiles
    assert profiles["interpolation_precision"][0] == pytest.approx(profiles["double_precision"][0], abs=0.1)
    assert profiles["interpolation_frechet"][0] == pytest.approx(profiles["double_frechet"][0], rel=0.3)


def test_fidelity_on_another_dataset_than_mnist_is_not_measured(digits, small):
    assert fidelity.measure_fidelity(untrained(small(dataset="strokes-4"), digits)).profiles == {}
