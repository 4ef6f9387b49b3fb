"""Numbers known from outside: MNIST's loss floor, PCA, closed forms, and loss levels measured elsewhere."""

import math

import numpy as np
import pytest
import torch

from analysis.report import published
from trainables import intrinsic_dimension, losses, metrics
from trainables.batches import generator
from trainables.models import fit_pca
from trainables.pack import Pack
from trainables.schema import TrialConfig
from trainables.shape import Shape

PIXELS, RANK = 20, 5


@pytest.fixture(scope="module")
def all_train(mnist):
    return torch.tensor(np.concatenate([mnist.images["val"], mnist.images["train"]]))


@pytest.fixture(scope="module")
def test_images(mnist):
    return torch.tensor(mnist.images["test"])


@pytest.fixture(scope="module")
def pca(all_train):
    return fit_pca(all_train, 100)


def test_loss_floor_of_mnist(test_images, all_train):
    assert metrics.entropy_floor(test_images) == pytest.approx(45.5, abs=0.05)
    assert metrics.entropy_floor(all_train) == pytest.approx(45.8, abs=0.05)


def test_loss_of_the_mean_image(test_images, all_train):
    assert metrics.mean_image_nll(test_images, all_train) == pytest.approx(205.8, abs=0.05)


def test_pca_components_for_shares_of_variance(pca):
    share = (pca[1].cumsum(0) / pca[1].sum()).numpy()
    needed = [int(np.searchsorted(share, part) + 1) for part in (0.5, 0.8, 0.9, 0.95, 0.99)]
    assert needed == [11, 44, 87, 154, 331]


@pytest.mark.parametrize(
    ("k", "sse", "nll"),
    [
        (1, 47.6, None),
        (2, 43.6, None),
        (5, 34.9, 158),
        (10, 26.7, 133),
        (20, 18.5, 108),
        (30, 13.87, None),
        (50, 9.00, 80),
        (100, 4.40, 66),
    ],
)
def test_pca_reconstruction_of_test_images(pca, test_images, k, sse, nll):
    model, x = pca[0], test_images.float() / 255
    components = model.components[:k]
    decoded = (model.mean + (x - model.mean) @ components.T @ components).detach()
    unclipped = (decoded - x).square().sum(1).mean().item()
    assert unclipped == pytest.approx(sse, abs=max(0.06, 0.005 * sse))
    if nll is not None:
        assert losses.bernoulli_nll(decoded, x, "clipped").mean().item() == pytest.approx(nll, abs=0.6)


def test_pca_of_thirty_components_is_the_published_number(pca, test_images):
    model, x = pca[0], test_images.float() / 255
    components = model.components[:30]
    decoded = model.mean + (x - model.mean) @ components.T @ components
    assert round((decoded - x).square().sum(1).mean().item(), 2) == published.PCA_30


def test_twonn_of_the_zeros_is_the_published_number(mnist):
    zeros = np.concatenate([mnist.images[part][mnist.labels[part] == 0] for part in ("train", "val", "test")])
    assert len(zeros) == 6903
    points = torch.tensor(zeros.reshape(len(zeros), -1) / 255.0)
    distances = intrinsic_dimension.neighbour_distances(points, len(points))
    assert round(intrinsic_dimension.estimates(distances)["twonn"][0], 4) == published.TWONN_OF_ZEROS


@pytest.fixture(scope="module")
def low_rank():
    """500 points in 20 pixels, of rank 5 and noise, as uint8: PCA and probabilistic PCA know the answer."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((PIXELS, RANK)))[0]
    codes = rng.standard_normal((500, RANK)) * np.array([0.30, 0.24, 0.18, 0.14, 0.10])
    x = 0.5 + codes @ directions.T + 0.04 * rng.standard_normal((500, PIXELS))
    return torch.tensor((x.clip(0, 1) * 255).round().astype(np.uint8))


def train_linear(images, model, steps):
    """A linear network with a Gaussian likelihood, on all points at once, its learning rate falling to 0."""
    fields = {"output": "identity", "likelihood": "gaussian", "activation": "linear", "hidden_dims": ()}
    fields |= {"learning_rate": 0.02, "learning_rate_schedule": "cosine", "batch_size": 500}
    config = TrialConfig(model=model, steps=steps, latent_dim=RANK, l2=0.0, grad_clip=0.0, init="xavier", **fields)
    pack = Pack([config], [0], images, Shape(1, PIXELS))
    for _ in range(steps):
        pack.step()
    return config, pack.module(0)


def test_linear_autoencoder_on_squared_error_spans_the_pca_subspace(low_rank):
    _, model = train_linear(low_rank, "autoencoder", 1000)
    ours = torch.linalg.qr(model.decoder.layers[0].weight.detach())[0]
    theirs = fit_pca(low_rank, RANK)[0].components.detach().T
    cosines = torch.linalg.svdvals(ours.T @ theirs)
    assert cosines.square().mean().item() > 0.99


def test_linear_vae_reaches_and_never_exceeds_probabilistic_pca(low_rank):
    config, model = train_linear(low_rank, "vae", 3000)
    x = low_rank.double() / 255
    _, eigenvalues = fit_pca(low_rank, RANK)
    noise = eigenvalues[RANK:].mean()
    log_determinant = eigenvalues[:RANK].log().sum() + (PIXELS - RANK) * noise.log()
    exact = -0.5 * (PIXELS * math.log(2 * math.pi) + log_determinant + PIXELS).item()  # Tipping & Bishop 1999
    bounds = [
        metrics.importance_weighted_bound(model, x.float(), config, samples, generator(0, "z", samples)).double()
        for samples in (1, 10, 100)
    ]
    error = 2 * (bounds[0] - bounds[2]).std().item() / math.sqrt(len(x))  # of drawing z, the points being the same
    means = [bound.mean().item() for bound in bounds]
    assert means[0] < means[1] + error and means[1] < means[2] + error, "the bound rises with the samples"
    assert max(means) < exact + error, "and never exceeds the exact likelihood"
    assert means[2] > exact - 0.05, "which it reaches"
    assert means[0] > exact - 0.1, "and so does the lower bound that was maximised, but for the noise of its gradient"
    assert error < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "latent_dim", "nll", "kl"),
    [
        ("autoencoder", 2, 136.3, None),
        ("autoencoder", 10, 75.6, None),
        ("autoencoder", 20, 62.8, None),
        ("vae", 2, 141.0, 6.2),
        ("vae", 10, 84.6, 18.5),
        ("vae", 20, 77.1, 23.4),
    ],
)
def test_loss_levels_after_10_000_steps(all_train, test_images, model, latent_dim, nll, kl):
    config = TrialConfig(model=model, latent_dim=latent_dim, init="default", l2=0.0, grad_clip=0.0, steps=10_000)
    pack = Pack([config], [0], all_train)
    for _ in range(10_000):
        pack.step()
    noise = metrics.evaluation_noise(config, 0, "test", test_images)
    values = metrics.evaluate(pack.module(0), test_images, config, noise).values
    assert values["nll"] == pytest.approx(nll, rel=0.03)
    assert kl is None or values["kl"] == pytest.approx(kl, rel=0.06)
