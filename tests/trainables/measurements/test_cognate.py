"""Logistic PCA is fitted to data that it has drawn, and is never worse than any network that it contains."""

import pytest
import torch
from torch.nn import functional

from tests.support.networks import linear, pca, random, tensors
from trainables import metrics
from trainables.losses import eq_1
from trainables.measurements import cognate


@pytest.fixture(scope="module")
def data(tiny):
    return tensors(tiny)


def nll(codes, weight, bias, images):
    logits = codes @ weight.T + bias
    return functional.binary_cross_entropy_with_logits(logits, images, reduction="none").sum(1).mean().item()


def test_fit_of_images_that_a_linear_decoder_with_a_sigmoid_draws_reaches_their_floor():
    weight, bias, codes = random(30, 2, seed=2), random(30, seed=3), random(400, 2, seed=4)
    images = torch.sigmoid(codes @ weight.T + bias)
    floor = nll(codes, weight, bias, images)
    start = torch.linalg.svd(images - images.mean(0), full_matrices=False)[0][:, :2]
    fitted, offset = cognate.fit(images, start)
    best = torch.zeros(400, 2)
    for _ in range(cognate.NEWTON_STEPS):
        best = cognate.newton(fitted, offset, images, best)
    assert nll(best, fitted, offset, images) == pytest.approx(floor, rel=2e-3)
    assert fitted.shape == (30, 2) and offset.shape == (30,)


def test_newton_reaches_the_logistic_regression_and_stays_there():
    design, targets = random(200, 3, seed=5), torch.rand(4, 200, generator=torch.Generator().manual_seed(0))
    weights = torch.zeros(4, 3)
    for _ in range(10):
        weights = cognate.newton(design, torch.zeros(200), targets, weights)
    gradient = (torch.sigmoid(weights @ design.T) - targets) @ design
    assert gradient.abs().max() < 1e-3
    torch.testing.assert_close(cognate.newton(design, torch.zeros(200), targets, weights), weights, atol=1e-4, rtol=0)


def test_newton_never_makes_a_fit_worse():
    design = 30 * random(50, 3, seed=6)  # steep: whole Newton steps overshoot
    targets = (random(5, 50, seed=7) > 0).float()
    weights = 2 * random(5, 3, seed=8)
    for _ in range(5):
        new = cognate.newton(design, torch.zeros(50), targets, weights)
        before, after = (cognate._nll(w @ design.T, targets) for w in (weights, new))
        assert (after <= before).all()
        weights = new


def test_logistic_pca_is_better_than_the_best_linear_network_on_pcas_codes_and_worse_than_the_floor(data):
    (value,) = cognate.measure_logistic_pca(pca(3, data)).profiles["logistic_pca_nll"]
    closed = pca(3, data)
    images = data[0]["test"].float() / 255
    clipped = eq_1(closed.model(images).decoded, images, closed.config).mean().item()
    assert (
        metrics.entropy_floor(data[0]["test"])
        < value
        < min(clipped, metrics.mean_image_nll(*(data[0][s] for s in ("test", "train"))))
    )


def test_logistic_pca_of_a_trained_network_or_of_many_components_is_not_measured(data):
    assert cognate.measure_logistic_pca(linear(random(784, 3), random(3, 784), data)).profiles == {}
    assert cognate.measure_logistic_pca(pca(cognate.MOST_LATENTS + 1, data)).profiles == {}
