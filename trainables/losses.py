"""Losses in nats: one value per image, a sum over its pixels or latents; `objective` alone averages over a batch.

beta, the weight of the KL term, arrives with each batch: its warm-up is in `trainables.batches`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.kernels import bernoulli_nll_from_logits
from trainables.models import Output

if TYPE_CHECKING:
    from trainables.schema import TrialConfig

CLIP = 1e-7
"""A mean that is no sigmoid is clipped into [CLIP, 1 - CLIP] before its logarithm is taken, as in vae-tf."""
TAYLOR = 0.5
"""Below this logit a continuous Bernoulli is taken from Taylor series, which here are exact in float32."""


def head(decoded: Tensor, output: str | None) -> Tensor:
    """The decoder's mean image: its last layer through the output head (`sigmoid`, `clipped`, `identity`)."""
    if output == "sigmoid":
        return torch.sigmoid(decoded)
    return decoded.clamp(CLIP, 1 - CLIP) if output == "clipped" else decoded


def decoder_mean(decoded: Tensor, config: TrialConfig) -> Tensor:
    """The mean of p(x|z), `(..., pixels)`, from the decoder's last layer: what every metric and every image is made of.

    The head's image, but for a continuous Bernoulli, whose mean is not its parameter. PCA without a head is clipped.
    """
    if config.likelihood == "continuous_bernoulli":
        return continuous_bernoulli_mean(decoded)
    return head(decoded, config.output or "clipped")


def eq_1(decoded: Tensor, x: Tensor, config: TrialConfig) -> Tensor:
    """Eq. 1 of grey images `(..., pixels)` on the decoder's mean whatever the likelihood, `(...,)` nats per image.

    `decoded`: the decoder's last layer, `(..., pixels)`.
    """
    if config.likelihood == "continuous_bernoulli":
        return bernoulli_nll(continuous_bernoulli_mean(decoded), x, "clipped")
    return bernoulli_nll(decoded, x, config.output or "clipped")


def is_eq_1(config: TrialConfig) -> bool:
    """Whether `model_nll` equals `eq_1` of the grey images, so that one computation serves both."""
    return config.likelihood in ("bernoulli", None) and config.input != "binarised"


def bernoulli_nll(decoded: Tensor, x: Tensor, output: str | None) -> Tensor:
    """Eq. 1 of the paper, -sum over pixels of x log x' + (1 - x) log(1 - x'), on the decoder's mean x'.

    `decoded`: the decoder's last layer, `(..., pixels)`: logits if the head `output` is "sigmoid", else means, which
    are clipped; `x`: grey images, same shape, in [0, 1]. Returns `(...,)` nats per image.
    """
    if output == "sigmoid":
        return bernoulli_nll_from_logits(decoded, x)
    mean = decoded.clamp(CLIP, 1 - CLIP)
    return -(x * mean.log() + (1 - x) * torch.log1p(-mean)).sum(-1)


def gaussian_nll(mean: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    """-log N(x; mean, exp(log_scale)^2 I) in nats per image, for `(..., pixels)` means and images, `()` log_scale."""
    squares = ((x - mean) * torch.exp(-log_scale)).square().sum(-1)
    return 0.5 * squares + x.shape[-1] * (log_scale + 0.5 * math.log(2 * math.pi))


def continuous_bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """Negative log likelihood of the continuous Bernoulli: Eq. 1 minus log C(lambda), summed over pixels.

    Loaiza-Ganem & Cunningham 2019, eq. 7. It has no lower bound: black and white pixels, foretold surely, have an
    unbounded density. `logits`: of lambda, `(..., pixels)`; `x`: grey images, same shape, in [0, 1]; `(...,)` nats per
    image.
    """
    return bernoulli_nll(logits, x, "sigmoid") - continuous_bernoulli_log_normaliser(logits).sum(-1)


def continuous_bernoulli_log_normaliser(logits: Tensor) -> Tensor:
    """log C(lambda), nats a pixel, from the logits of lambda: log 2 at 0, and even.

    C = 2 artanh(1 - 2 lambda) / (1 - 2 lambda) (eq. 8) is h / tanh(h / 2) of the logit h, without cancellation; near 0,
    where that is 0 / 0, its Taylor series.
    """
    small = logits.abs() < TAYLOR
    square = logits.masked_fill(~small, 0).square()
    near = math.log(2) + square * (1 / 12 - square * (7 / 1440 - square * (31 / 90720 - square * (127 / 4838400))))
    size = logits.masked_fill(small, 1).abs()
    return torch.where(small, near, size.log() - (size / 2).tanh().log())


def continuous_bernoulli_mean(logits: Tensor) -> Tensor:
    """The mean of the continuous Bernoulli, in (0, 1), from the logits of its parameter, of any shape.

    lambda / (2 lambda - 1) + 1 / (2 artanh(1 - 2 lambda)) (eq. 8) is (1 + 1 / tanh(h / 2)) / 2 - 1 / h of the logit h.
    """
    small = logits.abs() < TAYLOR
    near = logits.masked_fill(~small, 0)
    square = near.square()
    taylor = 0.5 + near * (1 / 12 - square * (1 / 720 - square * (1 / 30240)))
    far = logits.masked_fill(small, 1)
    return torch.where(small, taylor, 0.5 + 0.5 / (far / 2).tanh() - 1 / far)


def gaussian_kl(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """KL(N(mu, diag(sigma^2)) || N(0, I)) per latent, `(..., latent_dim)` nats: sum over the last axis for the KL."""
    return 0.5 * (mu.square() + torch.exp(2 * log_sigma) - 1) - log_sigma


def model_nll(out: Output, x: Tensor, config: TrialConfig) -> Tensor:
    """Negative log likelihood of `x`, grey or binarised, under the model's likelihood, `(batch,)` nats per image."""
    if config.likelihood == "continuous_bernoulli":
        return continuous_bernoulli_nll(out.decoded, x)
    if out.log_scale is None:
        return bernoulli_nll(out.decoded, x, config.output)
    return gaussian_nll(head(out.decoded, config.output), x, out.log_scale)


def objective(out: Output, x: Tensor, config: TrialConfig, beta: Tensor) -> tuple[Tensor, Tensor]:
    """The loss that a step minimises, nll_model + beta KL, and nll_model alone: means over the batch, `()` nats each.

    The L2 term is not in it: Adam adds its gradient (`trainables.pack`). `x`: the likelihood's target, `(batch,
    pixels)`.
    """
    nll = model_nll(out, x, config).mean()
    if out.log_sigma is None:
        return nll, nll
    return nll + beta * gaussian_kl(out.mu, out.log_sigma).sum(-1).mean(), nll
