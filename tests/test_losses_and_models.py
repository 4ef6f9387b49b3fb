"""Losses against closed forms and by hand; models by their shapes, counts and initial weights."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.decomposition import PCA
from torch.distributions import Normal, kl_divergence

from trainables import losses, metrics
from trainables.models import build, fit_pca
from trainables.pack import generator
from trainables.schema import TrialConfig

unit = st.floats(0, 1, width=32)


def test_bernoulli_nll_by_hand():
    x, mean = torch.tensor([[0.0, 1.0, 0.25]]), torch.tensor([[0.5, 0.8, 0.25]])
    expected = -(math.log(0.5) + math.log(0.8) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert losses.bernoulli_nll(mean, x, "clipped").item() == pytest.approx(expected, rel=1e-6)
    assert losses.bernoulli_nll(torch.logit(mean), x, "sigmoid").item() == pytest.approx(expected, rel=1e-6)


def test_bernoulli_nll_clipped_wrong_pixel_costs_the_clip():
    nll = losses.bernoulli_nll(torch.tensor([[-3.0]]), torch.tensor([[1.0]]), "clipped")
    assert nll.item() == pytest.approx(-math.log(1e-7), rel=1e-6)


@given(x=unit, mean=st.floats(0.015625, 0.984375, width=32))
def test_bernoulli_nll_is_never_below_the_entropy_of_the_image(x, mean):
    image = torch.tensor([[x]])
    floor = losses.bernoulli_nll(image, image, "clipped").item()
    assert losses.bernoulli_nll(torch.tensor([[mean]]), image, "clipped").item() >= floor - 1e-5


def test_gaussian_nll_equals_scipy():
    rng = np.random.default_rng(0)
    x, mean = rng.random((2, 3, 7)).astype(np.float32)
    ours = losses.gaussian_nll(torch.tensor(mean), torch.tensor(x), torch.tensor(-0.7))
    np.testing.assert_allclose(ours, -stats.norm(mean, math.exp(-0.7)).logpdf(x).sum(1), rtol=1e-5)


def test_gaussian_kl_equals_the_closed_form_and_monte_carlo():
    mu, log_sigma = torch.tensor([[0.3, -1.2, 0.0]]), torch.tensor([[-0.5, 0.2, 0.0]])
    ours = losses.gaussian_kl(mu, log_sigma)
    torch.testing.assert_close(ours, kl_divergence(Normal(mu, log_sigma.exp()), Normal(0.0, 1.0)))
    q, p = Normal(mu, log_sigma.exp()), Normal(torch.zeros(3), torch.ones(3))
    torch.manual_seed(0)
    z = q.sample((200_000,))
    estimate = (q.log_prob(z) - p.log_prob(z)).sum(-1)
    standard_error = estimate.std().item() / math.sqrt(200_000)
    assert ours.sum().item() == pytest.approx(estimate.mean().item(), abs=4 * standard_error)


@given(mu=st.floats(-5, 5), log_sigma=st.floats(-3, 3))
def test_gaussian_kl_is_not_negative(mu, log_sigma):
    assert losses.gaussian_kl(torch.tensor([mu]), torch.tensor([log_sigma])).item() >= -1e-5


@pytest.mark.parametrize(("model", "count"), [("autoencoder", 1_291_789), ("vae", 1_294_294)])
def test_build_has_the_papers_parameter_count(model, count):
    network = build(TrialConfig(model=model), generator(0, "init"))
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize(
    ("init", "sd"), [("he", (2 / 784) ** 0.5), ("xavier", (2 / 1284) ** 0.5), ("default", 784**-0.5 / 3**0.5)]
)
def test_build_draws_weights_of_the_inits_spread(init, sd):
    layer = build(TrialConfig(init=init), generator(0, "init")).encoder.layers[0]
    assert layer.weight.std().item() == pytest.approx(sd, rel=0.01)
    assert bool(layer.bias.any()) == (init == "default")


def test_build_of_pca_is_refused():
    with pytest.raises(ValueError, match="`task` must be 'train'"):
        build(TrialConfig(task="pca"), generator(0, "init"))


def test_vae_without_noise_decodes_the_mean():
    network = build(TrialConfig(model="vae", hidden_dims=(8,)), generator(0, "init"))
    x = torch.rand(3, 784, generator=generator(0, "x"))
    out = network(x)
    torch.testing.assert_close(out.decoded, network.decoder(out.mu))
    assert not torch.equal(out.decoded, network(x, torch.ones(3, 5)).decoded)


def test_fit_pca_equals_scikit_learn(tiny):
    images = tiny.images["train"]
    ours, eigenvalues = fit_pca(torch.tensor(images), 4)
    theirs = PCA(4, svd_solver="full").fit(images / 255)
    overlap = np.abs(np.sum(ours.components.detach().numpy() * theirs.components_, axis=1))
    np.testing.assert_allclose(overlap, 1, atol=1e-5)
    np.testing.assert_allclose(eigenvalues[:4], theirs.explained_variance_ * 599 / 600, rtol=1e-6)


def test_fit_pca_of_more_components_than_pixels_is_refused(tiny):
    with pytest.raises(ValueError, match="`latent_dim <= 784`"):
        fit_pca(torch.tensor(tiny.images["train"]), 785)


def test_evaluate_autoencoder_has_no_posterior_and_one_nll(tiny, small):
    network = build(small(), generator(0, "init"))
    values = metrics.evaluate(network, torch.tensor(tiny.images["test"]), small(), 0, "test").values
    assert values["kl"] is values["neg_elbo"] is values["active_units"] is None
    assert values["nll"] == values["nll_mean"] == values["nll_model"]


def test_evaluate_vae_sums_up(tiny, small):
    config = small(model="vae")
    network = build(config, generator(0, "init"))
    found = metrics.evaluate(network, torch.tensor(tiny.images["test"]), config, 0, "test")
    values = found.values
    assert values["neg_elbo"] == pytest.approx(values["nll_model"] + values["kl"])
    assert values["kl"] == pytest.approx(found.kl_per_latent.sum().item())
    assert values["active_units"] == (found.code_variance > 0.01).sum()
    assert found.nll.mean().item() == pytest.approx(values["nll"])


def test_evaluate_constant_network_has_no_pixel_variance(tiny, small):
    network = build(small(), generator(0, "init"))
    torch.nn.init.zeros_(network.decoder.layers[-1].weight)
    values = metrics.evaluate(network, torch.tensor(tiny.images["test"]), small(), 0, "test").values
    assert values["pixel_variance"] == pytest.approx(0, abs=1e-9)


def test_by_group_means_each_group():
    values, groups = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1, 1, 3])
    assert metrics.by_group(values, groups) == [1.5, 6.0]


def test_importance_weighted_bound_without_posterior_is_refused(small):
    network = build(small(), generator(0, "init"))
    with pytest.raises(ValueError, match="must have a posterior"):
        metrics.importance_weighted_bound(network, torch.rand(2, 784), small(), 2, generator(0, "z"))
