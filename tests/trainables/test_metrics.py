"""What is measured: on models whose right answer is known, on constant ones and on degenerate images."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trainables import metrics
from trainables.batches import generator, shown_images
from trainables.losses import bernoulli_nll, continuous_bernoulli_mean, continuous_bernoulli_nll
from trainables.measurements import latent_space, surface
from trainables.measurements.subject import Subject
from trainables.models import Output, build, fit_pca
from trainables.registry import CURVES, MEASUREMENTS
from trainables.schema import COLLAPSED_PIXEL_VARIANCE, METRICS, TrialConfig
from trainables.shape import MNIST

PIXELS = MNIST.pixels
SmallConfig = Callable[..., TrialConfig]
VAE = TrialConfig(model="vae", latent_dim=3)
AUTOENCODER = TrialConfig(output="clipped")


class Fixed(nn.Module):
    """A model with given answers: `decode` of its code, `code` of an image, `log_sigma` of its posterior."""

    def __init__(
        self,
        decode: Callable[[Tensor], Tensor],
        code: Callable[[Tensor], Tensor],
        log_sigma: Tensor | None = None,
    ):
        super().__init__()
        self.decoder, self.code, self.log_sigma = decode, code, log_sigma

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Output:
        code = self.code(x)
        return Output(self.decoder(code), code, None if self.log_sigma is None else self.log_sigma.expand_as(code))


@pytest.fixture
def images() -> Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (450, PIXELS), generator=draws).to(torch.uint8)  # two full chunks and a part


def evaluate(model: nn.Module, images: Tensor, config: TrialConfig, seed: int, split: str) -> metrics.Evaluation:
    return metrics.evaluate(model, images, config, metrics.evaluation_noise(config, seed, split, images))


def constant(code: Tensor) -> Tensor:
    return torch.full((len(code), PIXELS), 0.5)


def test_evaluate_keys_are_the_split_metrics(images: Tensor, small: SmallConfig) -> None:
    config = small(model="vae")
    values = evaluate(build(config, generator(0, "init")), images, config, 0, "test").values
    assert {f"test_{name}" for name in values} == {name for name in METRICS if name.startswith("test_")}


def test_evaluate_perfect_model_reaches_the_floor_with_no_error(images: Tensor) -> None:
    values = evaluate(Fixed(lambda z: z, lambda x: x), images, AUTOENCODER, 0, "test").values
    assert values["nll"] == pytest.approx(metrics.entropy_floor(images), rel=1e-5)
    assert values["sse"] == pytest.approx(0, abs=1e-6)


def test_evaluate_constant_model_has_collapsed(images: Tensor) -> None:
    values = evaluate(Fixed(constant, lambda x: x[:, :3]), images, AUTOENCODER, 0, "test").values
    assert values["pixel_variance"] is not None
    assert values["pixel_variance"] < COLLAPSED_PIXEL_VARIANCE / 100
    assert values["nll"] == pytest.approx(PIXELS * math.log(2), rel=1e-5)
    assert values["sse"] == pytest.approx((images / 255 - 0.5).square().sum(1).mean().item(), rel=1e-5)


def test_evaluate_pixel_variance_of_a_perfect_model_is_that_of_the_images(images: Tensor) -> None:
    values = evaluate(Fixed(lambda z: z, lambda x: x), images, AUTOENCODER, 0, "test").values
    expected = (images.double() / 255).var(0, correction=0).mean().item()
    assert values["pixel_variance"] == pytest.approx(expected, rel=1e-4)
    assert expected > COLLAPSED_PIXEL_VARIANCE


@pytest.mark.parametrize(("spread", "expected"), [([1.0, 0.5, 0.001], 2), ([0.0, 0.0, 0.0], 0), ([1.0, 1.0, 1.0], 3)])
def test_evaluate_active_units_counts_means_that_move(images: Tensor, spread: list[float], expected: int) -> None:
    model = Fixed(constant, lambda x: x[:, :3] * torch.tensor(spread) + 2, torch.zeros(3))  # grey has variance 0.08
    evaluation = evaluate(model, images, VAE, 0, "test")
    assert evaluation.values["active_units"] == expected
    variance = (images[:, :3].double() / 255 * torch.tensor(spread)).var(0, correction=0)
    torch.testing.assert_close(evaluation.code_variance, variance, rtol=1e-3, atol=1e-5)


def test_evaluate_posterior_equal_to_the_prior_has_no_kl(images: Tensor) -> None:
    model = Fixed(constant, lambda x: torch.zeros(len(x), 3), torch.zeros(3))
    evaluation = evaluate(model, images, VAE, 0, "test")
    assert evaluation.values["kl"] == 0
    assert evaluation.values["neg_elbo"] == evaluation.values["nll_model"]
    assert evaluation.kl_per_latent.tolist() == [0, 0, 0]


def test_evaluate_kl_is_summed_over_latents_and_averaged_over_images(images: Tensor) -> None:
    model = Fixed(constant, lambda x: torch.ones(len(x), 3) * torch.tensor([1.0, 0, 2]), torch.tensor([0.0, -1, 0]))
    evaluation = evaluate(model, images, VAE, 0, "test")
    expected = [0.5, 0.5 * (math.exp(-2) - 1) + 1, 2.0]
    assert evaluation.kl_per_latent.tolist() == pytest.approx(expected, rel=1e-5)
    assert evaluation.values["kl"] == pytest.approx(sum(expected), rel=1e-5)
    assert evaluation.values["neg_elbo"] == pytest.approx(
        (evaluation.values["nll_model"] or 0) + sum(expected), rel=1e-5
    )


def test_evaluate_autoencoder_has_no_kl_and_one_nll(images: Tensor, small: SmallConfig) -> None:
    evaluation = evaluate(build(small(), generator(0, "init")), images, small(), 0, "test")
    values = evaluation.values
    assert values["kl"] is values["neg_elbo"] is values["active_units"] is None
    assert values["nll"] == values["nll_mean"] == values["nll_model"]
    assert evaluation.kl_per_latent.shape == (0,)
    assert evaluation.code_variance.shape == (3,)


def test_evaluate_pca_has_no_kl_and_one_nll(images: Tensor) -> None:
    model, _ = fit_pca(images, 3)
    values = evaluate(model, images, TrialConfig(task="pca", latent_dim=3), 0, "test").values
    assert values["kl"] is values["neg_elbo"] is values["active_units"] is None
    assert values["nll"] == values["nll_mean"] == values["nll_model"]


def test_evaluate_vae_noise_depends_on_seed_and_split_and_on_nothing_else(images: Tensor, small: SmallConfig) -> None:
    config = small(model="vae")
    model = build(config, generator(0, "init"))

    def nll(seed: int, split: str) -> tuple[float | None, float | None]:
        values = evaluate(model, images, config, seed, split).values
        return values["nll"], values["nll_mean"]

    assert nll(0, "test") == nll(0, "test")
    assert len({nll(0, "test")[0], nll(1, "test")[0], nll(0, "val")[0]}) == 3
    assert len({nll(0, "test")[1], nll(1, "test")[1], nll(0, "val")[1]}) == 1


def test_evaluate_vae_nll_is_at_one_sampled_z(images: Tensor) -> None:
    config = TrialConfig(model="vae", latent_dim=PIXELS)
    sigma = torch.full((PIXELS,), -1.0)
    model = Fixed(lambda z: z, lambda x: torch.zeros_like(x), sigma)
    evaluation = evaluate(model, images, config, 5, "val")
    z = sigma.exp() * torch.randn(450, PIXELS, generator=generator(5, "evaluate/val"))
    torch.testing.assert_close(evaluation.nll, bernoulli_nll(z, images / 255, "sigmoid").double())
    assert evaluation.values["nll_mean"] == pytest.approx(PIXELS * math.log(2), rel=1e-5)


def test_evaluate_gaussian_likelihood_reports_eq_1_beside_its_own(images: Tensor, small: SmallConfig) -> None:
    config = small(likelihood="gaussian", output="identity")
    model = build(config, generator(0, "init"))
    values = evaluate(model, images, config, 0, "test").values
    assert values["nll_model"] == pytest.approx(
        0.5 * (values["sse"] or 0) + 0.5 * PIXELS * math.log(2 * math.pi), rel=1e-5
    )
    decoded = model(images / 255).decoded
    assert values["nll"] == pytest.approx(bernoulli_nll(decoded, images / 255, "clipped").mean().item(), rel=1e-5)


def test_evaluate_continuous_bernoulli_compares_its_mean_and_reports_its_own_nll(images: Tensor) -> None:
    config = TrialConfig(likelihood="continuous_bernoulli")
    model, x = Fixed(lambda z: z, lambda x: 6 * x - 3), images / 255
    values = evaluate(model, images, config, 0, "test").values
    mean = continuous_bernoulli_mean(6 * x - 3)
    assert values["nll"] == values["nll_mean"]
    assert values["nll"] == pytest.approx(bernoulli_nll(mean, x, "clipped").mean().item(), rel=1e-5)
    assert values["sse"] == pytest.approx((mean - x).square().sum(1).mean().item(), rel=1e-5)
    assert values["pixel_variance"] == pytest.approx(mean.double().var(0, correction=0).mean().item(), rel=1e-3)
    assert values["nll_model"] == pytest.approx(continuous_bernoulli_nll(6 * x - 3, x).mean().item(), rel=1e-4)
    assert torch.equal(metrics.reconstruct(model, images, config), metrics.to_grey(mean))


def test_evaluate_binarised_encodes_the_draws_and_compares_with_grey_and_with_them(images: Tensor) -> None:
    config = TrialConfig(model="vae", input="binarised", latent_dim=PIXELS)
    shown = shown_images(config, 0, "test", images)
    model = Fixed(lambda z: z, lambda x: 6 * x - 3, torch.full((PIXELS,), -50.0))
    noise = metrics.evaluation_noise(config, 0, "test", images)
    evaluation = metrics.evaluate(model, images, config, noise, shown)
    values, decoded = evaluation.values, 6 * (shown / 255) - 3
    for name in ("nll", "nll_mean"):
        expected = bernoulli_nll(decoded, images / 255, "sigmoid").mean().item()
        assert values[name] == pytest.approx(expected, rel=1e-5)
    assert values["sse"] == pytest.approx((decoded.sigmoid() - images / 255).square().sum(1).mean().item(), rel=1e-5)
    own = bernoulli_nll(decoded, shown / 255, "sigmoid").mean().item()
    assert values["nll_model"] == pytest.approx(own, rel=1e-5)
    assert values["neg_elbo"] == pytest.approx(own + (values["kl"] or 0), rel=1e-5)
    assert own < (values["nll"] or 0) / 2


def test_evaluate_binarised_black_and_white_images_are_as_if_grey(images: Tensor, small: SmallConfig) -> None:
    binary, model = (images > 127).to(torch.uint8) * 255, build(small(), generator(0, "init"))
    config = small(input="binarised")
    shown = shown_images(config, 0, "test", binary)
    assert torch.equal(shown, binary)
    found = metrics.evaluate(model, binary, config, torch.empty(450, 0), shown).values
    assert found == evaluate(model, binary, small(), 0, "test").values


def test_evaluate_binarised_without_its_draws_is_refused(images: Tensor, small: SmallConfig) -> None:
    config = small(input="binarised")
    with pytest.raises(ValueError, match="`shown` must be given where `input` is binarised, but got None"):
        evaluate(build(config, generator(0, "init")), images, config, 0, "test")


def test_shown_images_are_the_images_unless_binarised(images: Tensor) -> None:
    for config in (TrialConfig(), TrialConfig(task="pca"), TrialConfig(input_noise=0.5)):
        assert shown_images(config, 0, "test", images) is images


def test_shown_images_binarised_are_bernoulli_samples_fixed_by_seed_and_split() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).repeat(6000, 1)  # over more than one chunk
    config = TrialConfig(input="binarised")
    shown = shown_images(config, 0, "test", ramp)
    assert shown.dtype == torch.uint8 and shown.unique().tolist() == [0, 255]
    greys = ramp[0] / 255
    assert ((shown / 255).mean(0) - greys).abs().max() < 5 * 0.5 / math.sqrt(6000)
    assert not shown[:, 0].any() and shown[:, 255].all()
    assert torch.equal(shown, shown_images(config, 0, "test", ramp))
    assert not torch.equal(shown, shown_images(config, 1, "test", ramp))
    assert not torch.equal(shown, shown_images(config, 0, "val", ramp))


class Watched(nn.Module):
    """A network that keeps what it is shown."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.decoder = network, network.decoder
        self.fed: list[Tensor] = []

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Output:
        self.fed.append(x)
        return self.network(x, noise)


ELSEWHERE = {"denoising", "factors", "logistic_pca"}
"""Measurements that need noisy input, drawn images or PCA."""


@pytest.mark.parametrize("name", sorted(set(MEASUREMENTS) - ELSEWHERE) + list(CURVES))
def test_measurement_of_a_binarised_network_shows_it_black_and_white_alone(
    images: Tensor, small: SmallConfig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(surface, "STEPS", 2)
    monkeypatch.setattr(latent_space, "BOUND_SAMPLES", (1,))
    config = small(input="binarised", model="autoencoder" if name == "subspace" else "vae", hidden_dims=())
    network = Watched(build(config, generator(0, "init")))
    labels = torch.arange(len(images)) % 10
    splits = ("train", "test")
    subject = Subject(network, config, 0, dict.fromkeys(splits, images), dict.fromkeys(splits, labels))
    path = (MEASUREMENTS | CURVES)[name]
    measured = pkgutil.resolve_name(path)(subject)
    assert measured.profiles or measured.images
    assert torch.cat(network.fed).unique().tolist() == [0, 1]


def test_evaluate_does_not_depend_on_what_is_in_a_chunk(images: Tensor, small: SmallConfig) -> None:
    model = build(small(), generator(0, "init"))
    whole = evaluate(model, images, small(), 0, "test").nll
    single = torch.cat([evaluate(model, images[i : i + 1], small(), 0, "test").nll for i in (0, 199, 449)])
    torch.testing.assert_close(single, whole[[0, 199, 449]], rtol=1e-5, atol=1e-4)


def test_entropy_floor_of_black_and_white_images_is_near_zero() -> None:
    binary = torch.tensor([[0, 255] * 392], dtype=torch.uint8)
    assert metrics.entropy_floor(binary) == pytest.approx(0, abs=2e-3)  # 784 times the clip of 1e-7, and its rounding


def test_entropy_floor_of_grey_images_by_hand() -> None:
    grey = torch.full((6_000, PIXELS), 51, dtype=torch.uint8)  # 0.2, over more than one chunk
    expected = -PIXELS * (0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    assert metrics.entropy_floor(grey) == pytest.approx(expected, rel=1e-5)


def test_mean_image_nll_by_hand() -> None:
    train = torch.tensor([[0] * PIXELS, [255] * PIXELS], dtype=torch.uint8)
    assert metrics.mean_image_nll(train[:1], train) == pytest.approx(PIXELS * math.log(2), rel=1e-5)


def test_mean_image_nll_of_one_repeated_image_is_its_floor(images: Tensor) -> None:
    train = images[:1].expand(10, -1)
    assert metrics.mean_image_nll(train, train) == pytest.approx(metrics.entropy_floor(train), rel=1e-5)


def test_mean_image_nll_is_the_best_constant_answer(images: Tensor) -> None:
    best = metrics.mean_image_nll(images, images)
    for shift in (-5, 5):
        moved = (images.int() + shift).clamp(0, 255).to(torch.uint8)
        assert metrics.mean_image_nll(images, moved) > best


def test_to_unit_is_the_grey_value_over_255_and_leaves_the_images_alone() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(metrics.to_unit(images), torch.tensor([0.0, 0.2, 1.0]))
    floats = torch.tensor([255.0])
    assert metrics.to_unit(floats).tolist() == [1.0] and floats.tolist() == [255.0]


def test_to_grey_clips_and_rounds() -> None:
    mean = torch.tensor([-1.0, 0.0, 0.5, 0.999, 1.0, 3.0])
    grey = metrics.to_grey(mean)
    assert grey.dtype == torch.uint8
    assert grey.tolist() == [0, 0, 128, 255, 255, 255]


def test_reconstruct_perfect_model_returns_the_images(images: Tensor) -> None:
    assert torch.equal(metrics.reconstruct(Fixed(lambda z: z, lambda x: x), images, AUTOENCODER), images)


def test_importance_weighted_bound_without_posterior_is_refused(small):
    config = small()
    with pytest.raises(ValueError, match="must have a posterior"):
        metrics.importance_weighted_bound(
            build(config, generator(0, "init")), torch.rand(2, 784), config, 2, generator(0, "z")
        )
