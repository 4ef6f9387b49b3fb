"""Losses in nats: one value per image, a sum over its pixels or latents. Nothing here is averaged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from trainables.models import Output

if TYPE_CHECKING:
    from trainables.schema import TrialConfig

CLIP = 1e-7
"""A mean that is no sigmoid is clipped into [CLIP, 1 - CLIP] before its logarithm is taken, as in vae-tf."""


def head(decoded: Tensor, output: str | None) -> Tensor:
    """The decoder's mean image: its last layer through the output head (`sigmoid`, `clipped`, `identity`)."""
    if output == "sigmoid":
        return torch.sigmoid(decoded)
    return decoded.clamp(CLIP, 1 - CLIP) if output == "clipped" else decoded


def bernoulli_nll(decoded: Tensor, x: Tensor, output: str | None) -> Tensor:
    """Eq. 1 of the paper, -sum over pixels of x log x' + (1 - x) log(1 - x'), on the decoder's mean x'.

    Args:
        decoded: The decoder's last layer, `(..., 784)`: logits if `output` is "sigmoid", else means, which are clipped.
        x: Grey images, `(..., 784)` in [0, 1].
        output: The output head.

    Returns:
        `(...,)` nats per image.
    """
    if output == "sigmoid":
        return functional.binary_cross_entropy_with_logits(decoded, x, reduction="none").sum(-1)
    mean = decoded.clamp(CLIP, 1 - CLIP)
    return -(x * mean.log() + (1 - x) * torch.log1p(-mean)).sum(-1)


def gaussian_nll(mean: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    """-log N(x; mean, exp(log_scale)^2 I) in nats per image, for `(..., pixels)` means and images, `()` log_scale."""
    squares = ((x - mean) * torch.exp(-log_scale)).square().sum(-1)
    return 0.5 * squares + x.shape[-1] * (log_scale + 0.5 * math.log(2 * math.pi))


def gaussian_kl(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """KL(N(mu, diag(sigma^2)) || N(0, I)) per latent, `(..., latent_dim)` nats: sum over the last axis for the KL."""
    return 0.5 * (mu.square() + torch.exp(2 * log_sigma) - 1) - log_sigma


def model_nll(out: Output, x: Tensor, config: TrialConfig) -> Tensor:
    """Negative log likelihood of `x` under the model's own likelihood, `(batch,)` nats per image."""
    if out.log_scale is None:
        return bernoulli_nll(out.decoded, x, config.output)
    return gaussian_nll(head(out.decoded, config.output), x, out.log_scale)


def objective(out: Output, x: Tensor, config: TrialConfig, beta: Tensor) -> tuple[Tensor, Tensor]:
    """What a step minimises, nll_model + beta KL, and its nll_model; each the mean over the batch, `()` nats."""
    nll = model_nll(out, x, config).mean()
    if out.log_sigma is None:
        return nll, nll
    return nll + beta * gaussian_kl(out.mu, out.log_sigma).sum(-1).mean(), nll
