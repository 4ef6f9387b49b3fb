"""The networks: their sizes, their initialisation, where the activation goes; and PCA against scikit-learn's."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from tests.support.ours import OUR_ACTIVATIONS, OUR_MODELS
from trainables.batches import generator
from trainables.models import (
    Autoencoder,
    Output,
    Perceptron,
    PrincipalComponents,
    VariationalAutoencoder,
    build,
    check,
    fit_pca,
    identity,
    restore,
)
from trainables.registry import MODELS, ModelEntry
from trainables.schema import TrialConfig
from trainables.shape import MNIST, Shape

PIXELS = MNIST.pixels
SmallConfig = Callable[..., TrialConfig]


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("model", "expected"), [("autoencoder", 1_291_789), ("vae", 1_294_294)])
def test_build_of_the_paper_has_its_number_of_parameters(model: str, expected: int) -> None:
    assert num_parameters(build(TrialConfig(model=model), generator(0, "init"))) == expected


@pytest.mark.parametrize("model", OUR_MODELS)
def test_build_same_generator_gives_same_weights_and_another_differs(model: str, small: SmallConfig) -> None:
    def weights(seed: int) -> torch.Tensor:
        return nn.utils.parameters_to_vector(build(small(model=model), generator(seed, "init")).parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize(
    ("init", "sd"),
    [
        ("he", lambda i, o: math.sqrt(2 / i)),
        ("xavier", lambda i, o: math.sqrt(2 / (i + o))),
        ("default", lambda i, o: 1 / math.sqrt(3 * i)),
    ],
)
@pytest.mark.parametrize("model", OUR_MODELS)
def test_build_init_gives_every_layer_its_spread(model: str, init: str, sd: Callable[[int, int], float]) -> None:
    built = build(TrialConfig(model=model, init=init, latent_dim=50), generator(0, "init"))  # type: ignore[arg-type]
    layers = [layer for layer in built.modules() if isinstance(layer, nn.Linear)]
    assert len(layers) == (6 if model == "autoencoder" else 7)
    for layer in layers:
        weight = layer.weight.detach()
        expected = sd(layer.in_features, layer.out_features)
        assert weight.std().item() == pytest.approx(expected, rel=0.03)
        assert abs(weight.mean().item()) < 5 * expected / math.sqrt(weight.numel())
        if init == "default":
            assert weight.abs().max().item() <= 1 / math.sqrt(layer.in_features)
            assert layer.bias.detach().std().item() == pytest.approx(expected, rel=0.3)
        else:
            assert not layer.bias.any()


def test_build_default_init_has_the_distribution_of_torchs_own(small: SmallConfig) -> None:
    ours = build(small(init="default", hidden_dims=(200,)), generator(0, "init")).encoder.layers[0]  # type: ignore[union-attr, index]
    torch.manual_seed(0)
    theirs = nn.Linear(PIXELS, 200)
    for mine, reference in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):  # type: ignore[union-attr]
        quantiles = [torch.quantile(t.detach().reshape(-1), torch.linspace(0, 1, 5)) for t in (mine, reference)]  # type: ignore[union-attr]
        torch.testing.assert_close(quantiles[0], quantiles[1], rtol=0, atol=0.012)


def test_build_pca_config_raises() -> None:
    with pytest.raises(ValueError, match="`task` must be 'train' to build a network, but got 'pca'"):
        build(TrialConfig(task="pca"), generator(0, "init"))


def test_perceptron_activation_is_between_layers_and_after_the_last_if_wanted() -> None:
    x = torch.randn(4, 3)
    between = Perceptron([3, 5, 2], torch.relu)
    first, last = between.layers
    torch.testing.assert_close(between(x), last(torch.relu(first(x))))
    after = Perceptron([3, 5, 2], torch.relu, activate_last=True)
    after.load_state_dict(between.state_dict())
    torch.testing.assert_close(after(x), torch.relu(between(x)))


def test_perceptron_without_layers_is_the_identity() -> None:
    x = torch.randn(2, 3)
    assert torch.equal(Perceptron([3], torch.relu, activate_last=True)(x), x)


@pytest.mark.parametrize("activation", OUR_ACTIVATIONS)
@pytest.mark.parametrize("model", OUR_MODELS)
def test_model_forward_has_the_shapes_it_says(model: str, activation: str, small: SmallConfig) -> None:
    config = small(model=model, activation=activation, latent_dim=4)
    built, x = build(config, generator(0, "init")), torch.rand(7, PIXELS)
    out = built(x, torch.randn(7, 4))
    assert out.decoded.shape == (7, PIXELS)
    assert out.mu.shape == (7, 4)
    assert out.log_scale is None
    assert (out.log_sigma is not None) == config.variational
    if out.log_sigma is not None:
        assert out.log_sigma.shape == (7, 4)
    assert torch.equal(built.decoder(out.mu), built(x).decoded)  # type: ignore[operator]


@pytest.mark.parametrize("model", OUR_MODELS)
def test_model_without_hidden_layers_is_linear(model: str, small: SmallConfig) -> None:
    built = build(small(model=model, hidden_dims=(), activation="relu"), generator(0, "init"))
    x, y = torch.rand(2, 3, PIXELS)
    middle = built((x + y) / 2).decoded
    torch.testing.assert_close(middle, (built(x).decoded + built(y).decoded) / 2, rtol=1e-4, atol=1e-5)


def test_autoencoder_linear_activation_is_affine_and_elu_is_not(small: SmallConfig) -> None:
    x, y = torch.rand(2, 3, PIXELS)
    gaps = []
    for activation in ("linear", "elu"):
        built = build(small(activation=activation), generator(0, "init"))
        gaps.append((built((x + y) / 2).decoded - (built(x).decoded + built(y).decoded) / 2).abs().max().item())
    assert gaps[0] < 1e-4
    assert gaps[1] > 1e-2


def test_autoencoder_code_is_linear_in_the_last_hidden_layer(small: SmallConfig) -> None:
    built = build(small(activation="relu"), generator(0, "init"))
    assert isinstance(built, Autoencoder)
    assert (built(torch.rand(50, PIXELS)).mu < 0).any()


def test_vae_noise_moves_z_by_sigma_and_none_of_it_gives_the_mean(small: SmallConfig) -> None:
    built = build(small(model="vae"), generator(0, "init"))
    assert isinstance(built, VariationalAutoencoder)
    x, noise = torch.rand(5, PIXELS), torch.randn(5, 3)
    at_mean, sampled = built(x), built(x, noise)
    assert at_mean.log_sigma is not None
    z = at_mean.mu + at_mean.log_sigma.exp() * noise
    torch.testing.assert_close(sampled.decoded, built.decoder(z))
    assert torch.equal(built(x, torch.zeros(5, 3)).decoded, at_mean.decoded)


def test_vae_spherical_posterior_shares_one_sigma(small: SmallConfig) -> None:
    log_sigma = build(small(model="vae", posterior="spherical"), generator(0, "init"))(torch.rand(5, PIXELS)).log_sigma
    assert log_sigma.shape == (5, 3)
    assert torch.equal(log_sigma, log_sigma[:, :1].expand(5, 3))


@pytest.mark.parametrize("model", OUR_MODELS)
def test_model_gaussian_likelihood_learns_one_scale(model: str, small: SmallConfig) -> None:
    built = build(small(model=model, likelihood="gaussian", output="identity"), generator(0, "init"))
    plain = build(small(model=model), generator(0, "init"))
    assert num_parameters(built) == num_parameters(plain) + 1
    assert built(torch.rand(2, PIXELS)).log_scale.item() == 0


def test_model_continuous_bernoulli_likelihood_has_no_parameter_more(small: SmallConfig) -> None:
    built = build(small(likelihood="continuous_bernoulli"), generator(0, "init"))
    assert num_parameters(built) == num_parameters(build(small(), generator(0, "init")))


def test_identity_returns_its_input() -> None:
    x = torch.randn(3)
    assert identity(x) is x


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """1,500 noisy images about a plane of twenty dimensions, uint8."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(1_500, 20)) * np.linspace(30, 8, 20) @ np.linalg.qr(rng.normal(size=(784, 20)))[0].T
    return torch.tensor((128 + 3 * signal + rng.normal(size=signal.shape)).clip(0, 255).astype(np.uint8))


def test_fit_pca_equals_scikit_learn(images: torch.Tensor) -> None:
    model, spectrum = fit_pca(images, 8, chunk=400)
    x = images.double().numpy() / 255
    reference = PCA(n_components=8, svd_solver="full").fit(x)
    n = len(x)
    np.testing.assert_allclose(spectrum[:8], reference.explained_variance_ * (n - 1) / n, rtol=1e-8)
    np.testing.assert_allclose(model.mean.detach(), reference.mean_, atol=1e-6)
    cosines = (model.components.detach().numpy() * reference.components_).sum(1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-4)
    decoded = model(images.float() / 255).decoded.detach()
    np.testing.assert_allclose(decoded, reference.inverse_transform(reference.transform(x)), atol=1e-4)


def test_fit_pca_components_are_orthonormal_with_falling_variance_and_a_fixed_sign(images: torch.Tensor) -> None:
    model, spectrum = fit_pca(images, 8)
    components = model.components.detach()
    torch.testing.assert_close(components @ components.T, torch.eye(8), rtol=0, atol=1e-5)
    assert spectrum.shape == (PIXELS,)
    assert (spectrum.diff() <= 1e-9).all()
    assert (components.gather(1, components.abs().argmax(1, keepdim=True)) > 0).all()


def test_fit_pca_all_components_reconstruct_exactly(images: torch.Tensor) -> None:
    model, _ = fit_pca(images, PIXELS)
    x = images[:20].float() / 255
    torch.testing.assert_close(model(x).decoded, x, rtol=0, atol=1e-4)


def test_fit_pca_more_components_than_pixels_raises(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="`latent_dim <= 784` must hold for PCA, but got latent_dim=785"):
        fit_pca(images, 785)


def test_fit_pca_of_few_large_images_equals_that_of_the_covariance(images: torch.Tensor, monkeypatch) -> None:
    few = images[:40]
    usual, spectrum = fit_pca(few, 8)
    monkeypatch.setattr("trainables.models.WIDE", 700)
    monkeypatch.setattr("trainables.shape.WIDE", 700)
    wide, eigenvalues = fit_pca(few, 8, chunk=100)
    torch.testing.assert_close(eigenvalues, spectrum[:40], rtol=0, atol=1e-9)
    torch.testing.assert_close(wide.mean, usual.mean)
    torch.testing.assert_close(wide.components, usual.components, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="`latent_dim <= 39` must hold for PCA, but got latent_dim=40"):
        fit_pca(few, 40)


@pytest.mark.parametrize("shape", [Shape(1, 1), Shape(5, 4, 3)], ids=str)
@pytest.mark.parametrize("model", OUR_MODELS)
def test_build_for_images_of_another_shape_maps_all_their_values(model: str, shape: Shape, small: SmallConfig) -> None:
    check(small(model=model), shape)
    built = build(small(model=model), generator(0, "init"), shape)
    assert built(torch.rand(3, shape.pixels)).decoded.shape == (3, shape.pixels)


def test_fit_pca_of_one_repeated_image_has_no_variance() -> None:
    image = torch.arange(PIXELS).remainder(256).to(torch.uint8).expand(50, -1)
    model, spectrum = fit_pca(image, 3)
    assert isinstance(model, PrincipalComponents)
    assert spectrum.abs().max() < 1e-9
    torch.testing.assert_close(model(image.float() / 255).decoded, image.float() / 255, rtol=0, atol=1e-6)


class Drawn(Autoencoder):
    """A model of one's own, with a parameter that no `init` reaches and a buffer."""

    def __init__(self, config: TrialConfig, shape: Shape = MNIST):
        super().__init__(config, shape)
        self.shift = nn.Parameter(torch.randn(config.width))
        self.register_buffer("scale", torch.full((), 2.0))


class Dropping(Drawn):
    def forward(self, x: torch.Tensor, noise: torch.Tensor | None = None) -> Output:
        return super().forward(nn.functional.dropout(x), noise)


class Normalising(Drawn):
    def forward(self, x: torch.Tensor, noise: torch.Tensor | None = None) -> Output:
        return super().forward(x - x.mean(0), noise)


class DecodingOtherwise(Drawn):
    def forward(self, x: torch.Tensor, noise: torch.Tensor | None = None) -> Output:
        out = super().forward(x, noise)
        return out._replace(decoded=out.decoded + 1)


class OfTensors(Drawn):
    def forward(self, x: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:  # type: ignore[override]
        return super().forward(x, noise).decoded


class Narrow(Drawn):
    def forward(self, x: torch.Tensor, noise: torch.Tensor | None = None) -> Output:
        out = super().forward(x, noise)
        return out._replace(mu=out.mu[:, :1])


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, small: SmallConfig) -> Callable[..., TrialConfig]:
    def config(kind: type[nn.Module], *, variational: bool = False, **fields: object) -> TrialConfig:
        monkeypatch.setitem(MODELS, "own", ModelEntry(f"{kind.__module__}:{kind.__name__}", variational))
        return small(model="own", **fields)

    return config


@pytest.mark.parametrize("model", OUR_MODELS)
@pytest.mark.parametrize("fields", [{}, {"likelihood": "gaussian", "output": "identity"}, {"activation": "linear"}])
def test_check_accepts_every_model_of_ours(model: str, fields: dict[str, str], small: SmallConfig) -> None:
    check(small(model=model, **fields))
    if model == "vae":
        check(small(model=model, posterior="spherical", **fields))


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (Dropping, ValueError, "`decoder.mu.` must be what|`forward` must give an image the same alone"),
        (Normalising, ValueError, "`forward` must give an image the same alone as among others, but they differ"),
        (DecodingOtherwise, ValueError, r"`decoder\(mu\)` must be what .* but they differ by up to 1"),
        (Narrow, ValueError, r"`Output` must have the shapes .*'mu': \(4, 3\).* but got .*'mu': \(4, 1\)"),
        (OfTensors, AttributeError, "no attribute 'decoded'"),
        (nn.Linear, TypeError, "int"),
    ],
)
def test_check_refuses_a_model_of_another_form(own, kind, error, message) -> None:
    with pytest.raises(error, match=message):
        check(own(kind))


def test_check_refuses_a_variational_model_without_a_posterior(own) -> None:
    check(own(Drawn))
    with pytest.raises(ValueError, match=r"'log_sigma': \(4, 3\).* but got .*'log_sigma': None"):
        check(own(Drawn, variational=True))


def test_build_draws_a_models_own_parameters_by_the_seed_and_leaves_torchs_generator(own) -> None:
    config, before = own(Drawn), torch.get_rng_state()
    first, same, other = (build(config, generator(seed, "init")).get_parameter("shift") for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_restore_keeps_buffers_as_they_are_made_and_refuses_other_parameters(own) -> None:
    config = own(Drawn)
    weights = {name: p.detach().numpy() + 1 for name, p in build(config, generator(0, "init")).named_parameters()}
    restored = restore(config, weights)
    assert restored.get_buffer("scale") == 2
    assert {name: p.tolist() for name, p in restored.named_parameters()} == {n: w.tolist() for n, w in weights.items()}
    with pytest.raises(ValueError, match="`weights` must be the model's parameters"):
        restore(config, {name: value for name, value in weights.items() if name != "shift"})


class FromPixels(Autoencoder):
    def __init__(self, config: TrialConfig, pixels: int):
        super().__init__(config, Shape(1, pixels))


def test_model_that_takes_pixels_gets_their_number(own) -> None:
    config = own(FromPixels)
    check(config, Shape(4, 5, 3))
    shapes = [parameter.shape for parameter in build(config, torch.Generator(), Shape(4, 5, 3)).parameters()]
    assert shapes[0][1] == shapes[-1][0] == 60
