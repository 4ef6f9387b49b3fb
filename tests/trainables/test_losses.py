"""Losses in nats per image: against hand-worked values, torch.distributions, and what must hold for any input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import Tensor
from torch.distributions import Bernoulli, ContinuousBernoulli, Normal, kl_divergence

from trainables.losses import (
    CLIP,
    TAYLOR,
    bernoulli_nll,
    continuous_bernoulli_log_normaliser,
    continuous_bernoulli_mean,
    continuous_bernoulli_nll,
    decoder_mean,
    eq_1,
    gaussian_kl,
    gaussian_nll,
    head,
    is_eq_1,
    model_nll,
    objective,
)
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


LAMBDAS = [1e-6, 1e-3, 0.1, 0.3, 0.377, 0.378, 0.499, 0.5 - 1e-6, 0.5, 0.5 + 1e-6, 0.501, 0.6225, 0.7, 0.99, 1 - 1e-6]
"""Parameters of a continuous Bernoulli, among them some on either side of where its Taylor series end."""


def unnormalised(x: float, parameter: float) -> float:
    return float(parameter**x * (1 - parameter) ** (1 - x))


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-8), (torch.float32, 2e-6)])
@pytest.mark.parametrize("parameter", LAMBDAS)
def test_continuous_bernoulli_equals_numerical_integration(parameter: float, dtype: torch.dtype, error: float) -> None:
    logit = torch.tensor(parameter, dtype=torch.float64).logit().to(dtype)
    total, _ = quad(unnormalised, 0, 1, args=(parameter,), epsabs=1e-13)
    first, _ = quad(lambda x: x * unnormalised(x, parameter), 0, 1, epsabs=1e-13)
    assert continuous_bernoulli_log_normaliser(logit).item() == pytest.approx(-math.log(total), abs=error)
    assert continuous_bernoulli_mean(logit).item() == pytest.approx(first / total, abs=error)


@pytest.mark.parametrize("parameter", LAMBDAS)
def test_continuous_bernoulli_equals_torch_distributions(parameter: float) -> None:
    expected = ContinuousBernoulli(probs=torch.full((784,), parameter, dtype=torch.float64))
    logits, x = expected.probs.logit().expand(3, -1), torch.rand(3, 784, dtype=torch.float64)
    torch.testing.assert_close(continuous_bernoulli_nll(logits, x), -expected.log_prob(x).sum(-1), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(continuous_bernoulli_mean(logits[0]), expected.mean, rtol=1e-6, atol=1e-8)


def test_continuous_bernoulli_of_no_preference_is_uniform() -> None:
    x, logits = torch.rand(2, 784), torch.zeros(2, 784)
    assert continuous_bernoulli_nll(logits, x).tolist() == pytest.approx([0, 0], abs=1e-3)
    assert continuous_bernoulli_mean(logits).unique().tolist() == [0.5]


def test_continuous_bernoulli_gradients_are_finite_and_its_loss_pulls_the_mean_to_the_image() -> None:
    sizes = torch.tensor([0, 1e-30, 1e-6, 1e-3, TAYLOR - 1e-6, TAYLOR, TAYLOR + 1e-6, 1, 5, 14, 20, 90, 1e4])
    logits = torch.cat([sizes, -sizes]).requires_grad_()
    for x in (0.0, 0.3, 1.0):
        (gradient,) = torch.autograd.grad(continuous_bernoulli_nll(logits, torch.full_like(logits, x)), logits)
        torch.testing.assert_close(gradient, continuous_bernoulli_mean(logits).detach() - x, rtol=0, atol=1e-6)
    (slope,) = torch.autograd.grad(continuous_bernoulli_mean(logits).sum(), logits)
    assert slope.isfinite().all() and (slope >= 0).all()
    assert slope[0].item() == pytest.approx(1 / 12)  # the variance of a uniform pixel


@given(logits)
@settings(max_examples=50, deadline=None)
def test_continuous_bernoulli_mean_is_in_0_1_between_its_parameter_and_a_half(decoded: list[float]) -> None:
    parameter, mean = torch.tensor(decoded).sigmoid(), continuous_bernoulli_mean(torch.tensor(decoded))
    assert ((mean > 0) & (mean < 1)).all()
    assert ((mean - 0.5).abs() <= (parameter - 0.5).abs() + 1e-6).all()
    torch.testing.assert_close(mean + continuous_bernoulli_mean(-torch.tensor(decoded)), torch.ones(4))


def test_continuous_bernoulli_of_a_black_pixel_foretold_surely_is_unbounded() -> None:
    losses = [continuous_bernoulli_nll(torch.full((1, 1), -h), torch.zeros(1, 1)).item() for h in (10.0, 100.0, 1000.0)]
    assert losses == pytest.approx([-math.log(h) for h in (10.0, 100.0, 1000.0)], abs=1e-3)


@pytest.mark.parametrize(
    ("fields", "output"),
    [({}, "sigmoid"), ({"output": "clipped"}, "clipped"), ({"input": "binarised"}, "sigmoid"),
     ({"likelihood": "gaussian", "output": "identity"}, "identity"), ({"likelihood": "gaussian"}, "sigmoid"),
     ({"task": "pca"}, "clipped")],
)  # fmt: skip
def test_decoder_mean_and_eq_1_are_those_of_the_head(fields: dict[str, Any], output: str) -> None:
    decoded, x, config = torch.randn(2, 784), torch.rand(2, 784), TrialConfig(**fields)
    assert torch.equal(decoder_mean(decoded, config), head(decoded, output))
    assert torch.equal(eq_1(decoded, x, config), bernoulli_nll(decoded, x, output))


def test_decoder_mean_of_a_continuous_bernoulli_is_its_mean_and_not_its_parameter() -> None:
    decoded, x, config = torch.randn(2, 784), torch.rand(2, 784), TrialConfig(likelihood="continuous_bernoulli")
    mean = ContinuousBernoulli(logits=decoded.double()).mean.float()
    torch.testing.assert_close(decoder_mean(decoded, config), mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(eq_1(decoded, x, config), bernoulli_nll(mean, x, "clipped"), rtol=1e-4, atol=1e-2)
    assert (decoder_mean(decoded, config) - decoded.sigmoid()).abs().max() > 0.1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, True), ({"output": "clipped"}, True), ({"task": "pca"}, True), ({"likelihood": "gaussian"}, False),
     ({"likelihood": "continuous_bernoulli"}, False), ({"input": "binarised"}, False)],
)  # fmt: skip
def test_is_eq_1_of_a_bernoulli_on_grey_images_alone(fields: dict[str, Any], expected: bool) -> None:
    assert is_eq_1(TrialConfig(**fields)) == expected


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


def test_model_nll_continuous_bernoulli_is_its_own_and_is_what_is_minimised(
    output: Callable[[bool, bool], Output],
) -> None:
    x, out, config = torch.rand(4, 784), output(False, False), TrialConfig(likelihood="continuous_bernoulli")
    expected = -ContinuousBernoulli(logits=out.decoded).log_prob(x).sum(-1)
    torch.testing.assert_close(model_nll(out, x, config), expected, rtol=1e-4, atol=1e-2)
    assert objective(out, x, config, torch.tensor(1.0))[0].item() == pytest.approx(expected.mean().item(), rel=1e-4)


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
