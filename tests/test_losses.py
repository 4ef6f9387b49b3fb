"""Losses in nats per image: against hand-worked values, torch.distributions, and what must hold for any input."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from trainables.losses import CLIP, bernoulli_nll, gaussian_kl, gaussian_nll, head, model_nll, objective
from trainables.models import Output
from trainables.schema import TrialConfig

greys = st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4)
logits = st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4)


def entropy(x: Tensor) -> Tensor:
    return -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).sum(-1)


def test_bernoulli_nll_two_pixels_by_hand() -> None:
    x, mean = torch.tensor([[1.0, 0.25]]), torch.tensor([[0.5, 0.8]])
    expected = -math.log(0.5) - 0.25 * math.log(0.8) - 0.75 * math.log(0.2)
    assert bernoulli_nll(mean, x, "clipped").item() == pytest.approx(expected, rel=1e-6)
    assert bernoulli_nll(torch.logit(mean), x, "sigmoid").item() == pytest.approx(expected, rel=1e-6)


def test_bernoulli_nll_of_binary_pixels_is_the_bernoulli_log_probability() -> None:
    decoded, x = torch.randn(3, 784), torch.rand(3, 784).round()
    expected = -Bernoulli(logits=decoded).log_prob(x).sum(-1)
    torch.testing.assert_close(bernoulli_nll(decoded, x, "sigmoid"), expected)


def test_bernoulli_nll_sigmoid_and_clipped_heads_agree_on_the_same_mean() -> None:
    decoded, x = torch.randn(3, 784), torch.rand(3, 784)
    on_mean = bernoulli_nll(torch.sigmoid(decoded), x, "clipped")
    torch.testing.assert_close(bernoulli_nll(decoded, x, "sigmoid"), on_mean)


def test_bernoulli_nll_half_grey_answer_costs_log_two_a_pixel() -> None:
    assert bernoulli_nll(torch.zeros(1, 784), torch.rand(1, 784), "sigmoid").item() == pytest.approx(784 * math.log(2))


def test_bernoulli_nll_reconstruction_equal_to_input_costs_its_entropy() -> None:
    x = torch.rand(5, 784)
    torch.testing.assert_close(bernoulli_nll(x, x, "clipped"), entropy(x))


@pytest.mark.parametrize(("decoded", "grey"), [(-3.0, 1.0), (5.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
def test_bernoulli_nll_clipped_mean_on_the_wrong_side_costs_the_clip(decoded: float, grey: float) -> None:
    nll = bernoulli_nll(torch.full((1, 10), decoded), torch.full((1, 10), grey), "clipped")
    assert nll.item() == pytest.approx(-10 * math.log(CLIP), rel=0.02)  # in float32, 1 - 1e-7 is 1 - 1.2e-7


def test_bernoulli_nll_clipped_pixel_has_no_gradient() -> None:
    decoded = torch.tensor([[-0.5, 0.5, 1.5]], requires_grad=True)
    bernoulli_nll(decoded, torch.full((1, 3), 0.7), "clipped").sum().backward()
    assert decoded.grad is not None
    assert (decoded.grad != 0).tolist() == [[False, True, False]]


@given(greys, logits)
@settings(max_examples=50, deadline=None)
def test_bernoulli_nll_is_never_below_the_entropy_floor(x: list[float], decoded: list[float]) -> None:
    image, values = torch.tensor([x]), torch.tensor([decoded])
    assert bernoulli_nll(values, image, "sigmoid").item() >= entropy(image).item() - 1e-4
    assert bernoulli_nll(values, image, "clipped").item() >= entropy(image).item() - 1e-4


@pytest.mark.parametrize(
    ("output", "expected"),
    [("sigmoid", [1 / (1 + math.e), 0.5, 1 / (1 + math.exp(-2))]), ("clipped", [CLIP, CLIP, 1 - CLIP]),
     ("identity", [-1.0, 0.0, 2.0]), (None, [-1.0, 0.0, 2.0])],
)  # fmt: skip
def test_head_gives_the_mean_image(output: str | None, expected: list[float]) -> None:
    torch.testing.assert_close(head(torch.tensor([-1.0, 0.0, 2.0]), output), torch.tensor(expected))


@pytest.mark.parametrize("log_scale", [-1.5, 0.0, 0.7])
def test_gaussian_nll_equals_torch_distributions(log_scale: float) -> None:
    mean, x = torch.randn(4, 784), torch.rand(4, 784)
    expected = -Normal(mean, math.exp(log_scale)).log_prob(x).sum(-1)
    torch.testing.assert_close(gaussian_nll(mean, x, torch.tensor(log_scale)), expected)


def test_gaussian_nll_of_exact_means_is_lowest_and_depends_on_scale_only() -> None:
    x, scale = torch.rand(2, 784), torch.tensor(-0.5)
    exact = gaussian_nll(x, x, scale)
    torch.testing.assert_close(exact, torch.full((2,), 784 * (-0.5 + 0.5 * math.log(2 * math.pi))))
    assert (gaussian_nll(x + 0.01, x, scale) > exact).all()


def test_gaussian_kl_equals_torch_distributions() -> None:
    mu, log_sigma = torch.randn(6, 5), torch.randn(6, 5)
    expected = kl_divergence(Normal(mu, log_sigma.exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(mu, log_sigma), expected)


def test_gaussian_kl_equals_its_monte_carlo_estimate() -> None:
    mu, log_sigma, draws = torch.tensor([1.0, -0.3, 0.0]), torch.tensor([-1.0, 0.2, 0.0]), 200_000
    posterior, prior = Normal(mu, log_sigma.exp()), Normal(0.0, 1.0)
    noise = torch.randn(draws, 3, generator=torch.Generator().manual_seed(0))
    z = mu + log_sigma.exp() * noise
    ratios = posterior.log_prob(z) - prior.log_prob(z)
    error = ratios.std(0) / math.sqrt(draws)
    assert ((ratios.mean(0) - gaussian_kl(mu, log_sigma)).abs() <= 4 * error + 1e-6).all()


def test_gaussian_kl_of_the_prior_is_exactly_zero_with_zero_gradient() -> None:
    mu, log_sigma = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    kl = gaussian_kl(mu, log_sigma)
    kl.sum().backward()
    assert kl.tolist() == [0, 0, 0]
    assert mu.grad is not None
    assert log_sigma.grad is not None
    assert [*mu.grad.tolist(), *log_sigma.grad.tolist()] == [0] * 6


@given(st.floats(-20, 20), st.floats(-8, 4))
@settings(max_examples=100, deadline=None)
def test_gaussian_kl_is_never_negative(mu: float, log_sigma: float) -> None:
    assert gaussian_kl(torch.tensor(mu), torch.tensor(log_sigma)).item() >= -1e-6


@pytest.fixture
def output() -> Callable[[bool, bool], Output]:
    def make(posterior: bool, scale: bool) -> Output:
        draws = torch.Generator().manual_seed(1)
        decoded, mu, log_sigma = (torch.randn(4, n, generator=draws) for n in (784, 3, 3))
        return Output(decoded, mu, log_sigma if posterior else None, torch.tensor(-0.3) if scale else None)

    return make


def test_model_nll_bernoulli_is_eq_1_and_gaussian_is_on_the_head(output: Callable[[bool, bool], Output]) -> None:
    x = torch.rand(4, 784)
    bernoulli = output(False, False)
    expected = bernoulli_nll(bernoulli.decoded, x, "sigmoid")
    torch.testing.assert_close(model_nll(bernoulli, x, TrialConfig()), expected)
    gaussian = output(False, True)
    expected = gaussian_nll(torch.sigmoid(gaussian.decoded), x, torch.tensor(-0.3))
    torch.testing.assert_close(model_nll(gaussian, x, TrialConfig(likelihood="gaussian")), expected)


def test_objective_of_a_posterior_adds_beta_times_kl(output: Callable[[bool, bool], Output]) -> None:
    x, out, config = torch.rand(4, 784), output(True, False), TrialConfig(model="vae")
    assert out.log_sigma is not None
    kl = gaussian_kl(out.mu, out.log_sigma).sum(-1).mean()
    for beta in (0.0, 1.0, 4.0):
        loss, nll = objective(out, x, config, torch.tensor(beta))
        torch.testing.assert_close(loss, nll + beta * kl)
        torch.testing.assert_close(nll, bernoulli_nll(out.decoded, x, "sigmoid").mean())


def test_objective_without_a_posterior_is_its_nll(output: Callable[[bool, bool], Output]) -> None:
    loss, nll = objective(output(False, False), torch.rand(4, 784), TrialConfig(), torch.tensor(3.0))
    assert loss.item() == nll.item()
