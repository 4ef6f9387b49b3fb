"""The functions with their own derivatives: against torch's in float64, at extremes, under torch's transforms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacfwd, jacrev, vmap
from torch.nn import functional

from trainables.kernels import bernoulli_nll_from_logits, elu

EXTREMES = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1e-4, -1e-4, 1.0, -1.0, 88.0, -88.0, 1e4, -1e4])


def derivative(values: Tensor, inputs: Tensor) -> Tensor:
    return torch.autograd.grad(values.sum(), inputs)[0]


@pytest.mark.parametrize("x", [EXTREMES, torch.linspace(-30, 5, 100_001)])
def test_elu_and_its_slope_are_those_of_float64_to_a_rounding_of_one(x: Tensor) -> None:
    own, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    torch.testing.assert_close(elu(own).double(), functional.elu(exact), rtol=0, atol=2**-23)
    torch.testing.assert_close(
        derivative(elu(own), own).double(), derivative(functional.elu(exact), exact), rtol=0, atol=2**-22
    )
    assert torch.equal(elu(x)[x >= 0], x[x >= 0])


def test_elu_of_infinities_and_nan_is_what_it_must_be() -> None:
    x = torch.tensor([math.inf, -math.inf, math.nan], requires_grad=True)
    torch.testing.assert_close(elu(x).detach(), torch.tensor([math.inf, -1, math.nan]), equal_nan=True)
    assert derivative(elu(x)[:2], x)[:2].tolist() == [1, 0]


def test_elu_leaves_its_input_as_it_was() -> None:
    x = torch.randn(100)
    before = x.clone()
    elu(x)
    assert torch.equal(x, before)


def test_elu_in_bf16_is_rounded_once() -> None:
    x = torch.linspace(-5, 5, 10_001).bfloat16()
    assert torch.equal(elu(x), elu(x.float()).bfloat16())


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # by torch, at its first forward derivative
def test_elu_has_the_derivatives_of_finite_differences() -> None:
    x = torch.randn(20, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(elu, (x,), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(elu, (x,))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # by torch, at its first forward derivative
def test_elu_under_transforms_is_the_elu_of_each() -> None:
    x = torch.randn(3, 4, 5)
    assert torch.equal(vmap(elu, in_dims=1, out_dims=1)(x), elu(x))
    slopes = derivative(elu(x.requires_grad_()), x)
    for jacobian in (jacfwd, jacrev):
        diagonal = vmap(jacobian(elu))(x.detach().flatten(0, 1)).diagonal(dim1=1, dim2=2)
        assert torch.equal(diagonal, slopes.flatten(0, 1)), jacobian


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_bernoulli_nll_from_logits_is_that_of_float64(size: float) -> None:
    draws = torch.Generator().manual_seed(0)
    logits = size * torch.empty(5, 784).uniform_(-1, 1, generator=draws)
    logits[:, ::7] = EXTREMES.repeat(10)[:112]
    x = torch.rand(5, 784, generator=draws)
    x[:, ::3] = x[:, ::3].round()
    own, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    nll = bernoulli_nll_from_logits(own, x)
    expected = functional.binary_cross_entropy_with_logits(exact, x.double(), reduction="none").sum(-1)
    torch.testing.assert_close(nll.double(), expected, rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(derivative(nll, own).double(), derivative(expected, exact), rtol=0, atol=3e-7)


@pytest.mark.parametrize(
    ("logit", "x", "expected"), [(1e4, 1.0, 0.0), (-1e4, 0.0, 0.0), (1e4, 0.0, 1e4), (-1e4, 1.0, 1e4)]
)
def test_bernoulli_nll_from_logits_of_a_sure_pixel_is_zero_or_its_logit(
    logit: float, x: float, expected: float
) -> None:
    assert bernoulli_nll_from_logits(torch.tensor([logit]), torch.tensor([x])).item() == expected


def test_bernoulli_nll_from_logits_of_a_value_that_is_not_finite_is_not() -> None:
    assert not bernoulli_nll_from_logits(torch.tensor([math.nan, 0.0]), torch.tensor([0.5, 0.5])).isfinite()


def test_bernoulli_nll_from_logits_under_vmap_is_that_of_each_whatever_is_shared() -> None:
    logits, x = torch.randn(3, 6, 4, 7), torch.rand(3, 6, 4, 7)
    assert torch.equal(
        vmap(bernoulli_nll_from_logits, in_dims=(1, 1), out_dims=1)(logits, x), bernoulli_nll_from_logits(logits, x)
    )
    shared = x[0, 0]
    expected = bernoulli_nll_from_logits(logits[0], shared.expand(6, 4, 7))
    assert torch.equal(vmap(bernoulli_nll_from_logits, in_dims=(0, None))(logits[0], shared), expected)
    expected = bernoulli_nll_from_logits(shared.expand(6, 4, 7), x[0])
    assert torch.equal(vmap(bernoulli_nll_from_logits, in_dims=(None, 0))(shared, x[0]), expected)


def test_bernoulli_nll_from_logits_under_vmap_of_grad_is_the_gradient_of_each() -> None:
    logits, x = torch.randn(6, 7, requires_grad=True), torch.rand(6, 7)
    each = vmap(grad(bernoulli_nll_from_logits))(logits.detach(), x)
    assert torch.equal(each, derivative(bernoulli_nll_from_logits(logits, x), logits))
