"""What is measured of latent spaces and decoders, where the answer is known, and where a network has none to give."""

import math

import pytest
import torch
from torch.nn import functional

from tests.support.networks import LINEAR, collapsed, linear, pca, random, subject, tensors, untrained
from trainables import metrics
from trainables.batches import generator
from trainables.measurements import latent_space, surface
from trainables.models import Output, PrincipalComponents, build, fit_pca
from trainables.schema import TrialConfig
from trainables.shape import Shape


@pytest.fixture(scope="module")
def data(tiny):
    return tensors(tiny)


# Bound


@pytest.fixture
def gaussian_vae():
    """Makes a linear VAE on 20 pixels whose posteriors are exact but for the factor `widened`, and log p(x)."""
    axes = torch.linalg.qr(random(20, 2))[0] * torch.tensor([0.3, 0.2])
    images = ((0.5 + random(50, 2) @ axes.T + 0.1 * random(50, 20)).clamp(0, 1) * 255).round().to(torch.uint8)
    config = TrialConfig(model="vae", latent_dim=2, **LINEAR)
    precision = axes.square().sum(0) / 0.01 + 1  # of the posterior; its covariance is diagonal as the axes are

    def make(widened):
        model = build(config, generator(0, "init"), Shape(1, 20))
        with torch.no_grad():
            model.decoder.layers[0].weight.copy_(axes)
            model.decoder.layers[0].bias.fill_(0.5)
            model.mu.weight.copy_(axes.T / 0.01 / precision[:, None])
            model.mu.bias.copy_(-(model.mu.weight * 0.5).sum(1))
            model.log_sigma.weight.zero_()
            model.log_sigma.bias.copy_(-0.5 * precision.log() + math.log(widened))
            model.log_scale.fill_(math.log(0.1))
        return subject(model, config, ({"test": images}, {}))

    covariance = axes.double() @ axes.double().T + 0.01 * torch.eye(20)
    exact = torch.distributions.MultivariateNormal(torch.full((20,), 0.5).double(), covariance)
    return make, exact.log_prob(images.double() / 255).mean().item()


def test_bound_of_exact_posteriors_is_the_likelihood_with_any_number_of_samples(gaussian_vae):
    make, exact = gaussian_vae
    assert latent_space.measure_bound(make(1.0)).profiles["neg_iw_bound"] == pytest.approx([-exact] * 3, abs=1e-3)


def test_bound_of_inexact_posteriors_rises_towards_the_likelihood_and_stays_below(gaussian_vae):
    make, exact = gaussian_vae
    one, ten, hundred = latent_space.measure_bound(make(1.5)).profiles["neg_iw_bound"]
    assert -exact < hundred < ten < one
    assert one > -exact + 0.2 and hundred < -exact + 0.05


def test_bound_without_a_posterior_is_not_measured(data, small):
    assert latent_space.measure_bound(untrained(small(), data)).profiles == {}


# Jacobian


def test_jacobian_of_a_linear_decoder_is_its_matrix(data):
    columns = torch.linalg.qr(random(784, 3))[0] * torch.tensor([1.0, 4.0, 2.0])
    network = linear(columns, random(3, 784), data)
    assert latent_space.measure_jacobian(network).profiles == {"jacobian_rank": [3, 3, 3]}
    values = latent_space.singular_values(network, network.codes(network.images["test"][:2]))
    torch.testing.assert_close(values, torch.tensor([[4.0, 2.0, 1.0]] * 2, dtype=torch.float64), rtol=1e-5, atol=0)


def test_jacobian_counts_the_rank_and_not_the_latents(data):
    of_rank_3 = random(784, 3) @ random(3, 5)
    profiles = latent_space.measure_jacobian(linear(of_rank_3, random(5, 784), data)).profiles
    assert profiles["jacobian_rank"] == [3, 3, 3]


def test_jacobian_leaves_out_what_is_below_one_percent(data):
    columns = torch.linalg.qr(random(784, 3))[0] * torch.tensor([1.0, 0.011, 0.009])
    assert latent_space.measure_jacobian(linear(columns, random(3, 784), data)).profiles["jacobian_rank"] == [2, 2, 2]


@pytest.mark.parametrize("model", ["autoencoder", "vae"])
def test_jacobian_agrees_with_reverse_differentiation_of_the_mean_image(data, small, model):
    network = untrained(small(model=model), ({"test": data[0]["test"][:1]}, {}))
    codes = network.codes(network.images["test"])
    expected = torch.linalg.svdvals(torch.func.jacrev(lambda z: torch.sigmoid(network.model.decoder(z)))(codes[0]))
    torch.testing.assert_close(latent_space.singular_values(network, codes)[0], expected.double(), rtol=1e-4, atol=0)


def test_jacobian_of_pixels_that_are_clipped_is_nought(data):
    of_rank_2 = torch.cat([random(784, 1), torch.zeros(784, 1)], 1)
    of_rank_2[783, 1] = 1.0
    dark = linear(of_rank_2, random(2, 784) / 1000, data, bias=0.5, output="clipped", likelihood="bernoulli")
    assert latent_space.measure_jacobian(dark).profiles["jacobian_rank"] == [2, 2, 2]
    with torch.no_grad():
        dark.model.decoder.layers[0].bias[783] = 9.0
    assert latent_space.measure_jacobian(dark).profiles["jacobian_rank"] == [1, 1, 1]


def test_jacobian_of_a_collapsed_network_has_no_rank(data):
    profiles = latent_space.measure_jacobian(collapsed(data)).profiles
    assert profiles == {"jacobian_rank": [0, 0, 0]}


def test_jacobian_of_one_latent_has_rank_one(data, small):
    profiles = latent_space.measure_jacobian(untrained(small(latent_dim=1), data)).profiles
    assert profiles == {"jacobian_rank": [1, 1, 1]}


def test_jacobian_of_more_latents_than_pixels_has_a_singular_value_for_each_latent():
    images = {"test": torch.randint(0, 256, (7, 20)).to(torch.uint8)}
    network = linear(random(20, 30), random(30, 20), (images, {}))
    assert latent_space.measure_jacobian(network).profiles["jacobian_rank"] == [20, 20, 20]
    values = latent_space.singular_values(network, network.codes(images["test"]))
    assert values.shape == (7, 30) and (values[:, 20:] == 0).all()


# Subspace


def test_subspace_of_pca_is_pca(data):
    profiles = latent_space.measure_subspace(pca(4, data)).profiles
    assert profiles["principal_cos2"] == pytest.approx([1] * 4, abs=1e-5)
    assert min(profiles["image_cos2"]) > 0.99  # its images are clipped to [0, 1], so that they leave the plane a little
    assert profiles["canonical_cos2"] == pytest.approx([1] * 4, abs=1e-5)
    assert profiles["decoder_cosine"] == pytest.approx([0], abs=1e-5)
    assert profiles["variance_rank"] == [1]


def test_subspace_of_pca_in_a_skewed_basis_is_the_same_with_other_columns(data):
    basis = fit_pca(data[0]["train"], 4)[0].components.detach()
    skew = torch.eye(4) + torch.ones(4, 4)
    skewed = linear((skew @ basis).T, torch.linalg.inv(skew).T @ basis, data, output="sigmoid")
    profiles = latent_space.measure_subspace(skewed).profiles
    assert profiles["principal_cos2"] == pytest.approx([1] * 4, abs=1e-5)
    assert profiles["decoder_cosine"] == pytest.approx([6 / 7], abs=1e-5)  # of (2, 1, 1, 1) and (1, 2, 1, 1)


def test_subspace_of_pca_in_reversed_order_is_ranked_backwards(data):
    basis = fit_pca(data[0]["train"], 4)[0].components.detach().flip(0)
    assert latent_space.measure_subspace(linear(basis.T, basis, data)).profiles["variance_rank"] == [-1]


def test_subspace_of_an_untrained_network_is_far_from_that_of_pca(data, small):
    profiles = latent_space.measure_subspace(untrained(small(activation="linear", output="clipped"), data)).profiles
    assert profiles["principal_cos2"] == sorted(profiles["principal_cos2"], reverse=True)
    assert max(profiles["principal_cos2"]) < 0.2


def test_subspace_of_codes_that_mix_pcas_is_that_of_pca_and_of_codes_that_lack_one_it_has_a_nought(data):
    basis = fit_pca(data[0]["train"], 4)[0].components.detach()
    mixed = linear(basis.T, (torch.eye(4) + torch.ones(4, 4)) @ basis, data)
    assert latent_space.measure_subspace(mixed).profiles["canonical_cos2"] == pytest.approx([1] * 4, abs=1e-4)
    halved = linear(basis.T, torch.cat([basis[:2], torch.zeros(2, 784)]), data)
    profiles = latent_space.measure_subspace(halved).profiles
    for name in ("canonical_cos2", "image_cos2"):
        assert profiles[name] == pytest.approx([1, 1, 0, 0], abs=1e-4)


def test_subspace_of_images_is_in_grey_and_that_of_columns_in_logits(data):
    """Logits that spread far bend the images off the columns, while the codes stay PCA's."""
    basis = fit_pca(data[0]["train"], 4)[0].components.detach()
    bent = linear(3 * basis.T, basis, data, output="sigmoid", bias=-2.0)
    profiles = latent_space.measure_subspace(bent).profiles
    assert profiles["principal_cos2"] == pytest.approx([1] * 4, abs=1e-4)
    assert profiles["canonical_cos2"] == pytest.approx([1] * 4, abs=1e-4)
    assert min(profiles["image_cos2"]) < 0.95


def test_subspace_of_a_decoder_that_lacks_directions_counts_them_as_orthogonal(data):
    basis = fit_pca(data[0]["train"], 3)[0].components.detach()
    lacking = linear(torch.stack([basis[0], basis[0], torch.zeros(784)], 1), basis, data)
    profiles = latent_space.measure_subspace(lacking).profiles
    assert profiles["principal_cos2"] == pytest.approx([1, 0, 0], abs=1e-5)
    assert profiles["decoder_cosine"] == pytest.approx([1])


def test_subspace_of_a_collapsed_network_has_no_columns_to_compare(data):
    profiles = latent_space.measure_subspace(collapsed(data)).profiles
    assert profiles == {name: [0, 0, 0] for name in ("principal_cos2", "image_cos2", "canonical_cos2")}


def test_subspace_of_one_latent_has_no_order(data):
    assert set(latent_space.measure_subspace(pca(1, data)).profiles) == {
        "principal_cos2",
        "image_cos2",
        "canonical_cos2",
    }


@pytest.mark.parametrize("fields", [{}, {"model": "vae"}, {"activation": "linear", "latent_dim": 785}])
def test_subspace_of_a_curved_or_too_wide_decoder_is_not_measured(data, small, fields):
    assert latent_space.measure_subspace(untrained(small(**fields), data)).profiles == {}


# Aggregate posterior


def posteriors(data, small, means, sigma):
    """A VAE whose posterior of the i-th test image is N(means[i], sigma^2), `(n, 3)`, whatever the image."""
    network = untrained(small(model="vae"), data)
    count = len(data[0]["test"])

    def forward(x, noise=None):
        start = forward.place
        forward.place += len(x)
        return Output(x, means[start : start + len(x)], torch.full_like(means[: len(x)], math.log(sigma)))

    forward.place = 0
    assert len(means) == count
    network.model.forward = forward
    return network


def test_aggregate_of_posteriors_that_are_the_prior_is_nought(data, small, monkeypatch):
    monkeypatch.setattr(latent_space.Subject, "is_finite", lambda _: True)
    network = posteriors(data, small, torch.zeros(300, 3), 1.0)
    assert latent_space.measure_aggregate(network).profiles["aggregate_kl"] == pytest.approx([0] * 3, abs=1e-6)


def test_aggregate_of_normal_means_is_the_kl_of_the_wider_normal(data, small, monkeypatch):
    """KL(N(0, v) || N(0, 1)) = (v - 1 - log v) / 2, with v = 4 + 0.25."""
    monkeypatch.setattr(latent_space.Subject, "is_finite", lambda _: True)
    quantiles = torch.special.ndtri((torch.arange(300) + 0.5) / 300)
    means = 2 * torch.stack([quantiles[torch.randperm(300)] for _ in range(3)], 1)
    found = latent_space.measure_aggregate(posteriors(data, small, means, 0.5)).profiles["aggregate_kl"]
    assert found == pytest.approx([(4.25 - 1 - math.log(4.25)) / 2] * 3, rel=0.15)


def test_aggregate_without_a_posterior_is_not_measured(data, small):
    assert latent_space.measure_aggregate(untrained(small(), data)).profiles == {}


# Projection and denoising


def test_project_finds_images_that_the_decoder_can_draw(data):
    decoder = torch.linalg.qr(random(784, 3))[0]
    network = linear(decoder, decoder.T + 0.2 * random(3, 784), data)  # an encoder that is somewhat off
    encoded, best = surface.project(network, random(100, 3) @ decoder.T)
    assert encoded.mean() > 0.1
    assert best.max() < 1e-4


def test_project_of_pca_finds_nothing_nearer_than_the_projection(data):
    images = data[0]["test"][:20] / 255
    model = pca(5, data)
    identity = linear(model.model.components.detach().T, model.model.components.detach(), data)
    encoded, best = surface.project(identity, images)
    torch.testing.assert_close(best, encoded, rtol=1e-4, atol=0)


@pytest.mark.parametrize("fields", [{}, {"model": "vae"}, {"latent_dim": 1}, {"output": "clipped"}])
def test_projection_is_never_farther_than_the_code(data, small, fields):
    network = untrained(small(**fields), data)
    encoded, best = surface.project(network, data[0]["test"][:20] / 255)
    assert (best <= encoded).all() and best.mean() < encoded.mean()


def test_projection_of_a_collapsed_network_stays(data, monkeypatch):
    monkeypatch.setattr(surface, "STEPS", 3)
    encoded, best = surface.measure_projection(collapsed(data)).profiles["projection_sse"]
    assert encoded == best == pytest.approx((data[0]["test"] / 255 - 0.5).square().sum(1).mean().item(), rel=1e-5)


def test_denoising_by_a_network_that_copies_is_the_noisy_image(data):
    copies = linear(torch.eye(784), torch.eye(784), data)
    denoised, noisy = surface.measure_denoising(copies).profiles["denoising_nll"]
    assert denoised == pytest.approx(noisy, rel=1e-6)
    assert noisy > 4 * metrics.entropy_floor(data[0]["test"])


def test_denoising_noise_is_clipped_and_of_sd_one_half():
    grey = torch.full((2000, 784), 128, dtype=torch.uint8)
    copies = linear(torch.eye(784), torch.eye(784), ({"test": grey}, {}))
    noisy = (128 / 255 + 0.5 * random(2000, 784)).clamp(1e-7, 1 - 1e-7).double()
    expected = functional.binary_cross_entropy(noisy, grey.double() / 255).item() * 784
    assert surface.measure_denoising(copies).profiles["denoising_nll"][1] == pytest.approx(expected, rel=0.01)


def test_denoising_by_a_constant_image_does_not_depend_on_the_noise(data):
    mean = data[0]["train"].float().mean(0) / 255
    constant = subject(PrincipalComponents(mean, torch.zeros(2, 784)), TrialConfig(task="pca", latent_dim=2), data)
    denoised, noisy = surface.measure_denoising(constant).profiles["denoising_nll"]
    assert denoised == pytest.approx(metrics.mean_image_nll(data[0]["test"], data[0]["train"]), rel=1e-5)
    assert denoised < noisy
