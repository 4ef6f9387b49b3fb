"""Logistic PCA: what PCA is to squared error, under the paper's Eq. 1."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from trainables.measurements.subject import Measured, Subject
from trainables.metrics import to_unit

MOST_LATENTS = 10
"""Logistic PCA is fitted up to so many components; its time grows with their square."""
NUM_FITTED = 20_000
"""How many training images, the first, it is fitted to."""
SWEEPS = 25
"""The most times that the codes and the decoder are fitted in turn."""
SETTLED = 3e-4
"""The relative gain of a sweep below which the fit has ended."""
NEWTON_STEPS = 8
"""How many steps fit the codes of test images, from 0."""
HALVINGS = 6
CHUNK = 5_000
"""How many images are fitted at once."""
RIDGE = 1e-6
"""The least curvature, relative to the largest, that a step divides by."""


@torch.no_grad()
def measure_logistic_pca(subject: Subject) -> Measured:
    """Measures Eq. 1 of the test images under logistic PCA with as many components as the PCA has; PCA only.

    Logistic PCA is the linear decoder with a sigmoid, and the code of each image, that minimise Eq. 1 (Collins et al.
    2001). The decoder is fitted to training images, then the code of each test image to this image. The fit ends a
    little above the minimum, so that the value is an upper bound.
    """
    num_components = subject.config.latent_dim or 0
    if subject.config.task != "pca" or num_components > MOST_LATENTS or not subject.is_finite():
        return Measured({})
    train = subject.images["train"][:NUM_FITTED]
    weight, bias = fit(to_unit(train), subject.codes(train))
    images = to_unit(subject.images["test"])
    codes = torch.zeros(len(images), num_components, device=images.device)
    for _ in range(NEWTON_STEPS):
        codes = newton(weight, bias, images, codes)
    return Measured({"logistic_pca_nll": [_nll(codes @ weight.T + bias, images).double().mean().item()]})


def fit(images: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Fits the decoder and the codes in turn, each by a Newton step, until neither gains.

    `images`: `(n, pixels)` in [0, 1]; `codes`: `(n, N)`, where the fit begins, for instance PCA's. Returns the weight
    `(pixels, N)` and the bias `(pixels,)` of the decoder, before its sigmoid.
    """
    ones = torch.ones(len(images), 1, device=images.device)
    nothing = torch.zeros(len(images), device=images.device)
    bias = torch.logit(images.mean(0), eps=1e-4)
    decoder = torch.cat([torch.zeros(images.shape[1], codes.shape[1], device=images.device), bias[:, None]], 1)
    codes = codes / codes.std(0).clamp(min=1e-12)
    former = torch.inf
    for _ in range(SWEEPS):
        decoder = newton(torch.cat([codes, ones], 1), nothing, images.T, decoder)
        codes = newton(decoder[:, :-1], decoder[:, -1], images, codes)
        loss = _nll(codes @ decoder[:, :-1].T + decoder[:, -1], images).double().mean().item()
        if former - loss < SETTLED * loss:
            break
        former = loss
    return decoder[:, :-1], decoder[:, -1]


def newton(design: Tensor, offset: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Takes one Newton step of a logistic regression for each row of targets, halved where it would not gain.

    `design`: `(d, k)`; `offset`: `(d,)`, added to the logits; `targets`: `(rows, d)` in [0, 1]; `weights`: `(rows, k)`.
    Returns the new weights.
    """
    return torch.cat(
        [_step(design, offset, *part) for part in zip(targets.split(CHUNK), weights.split(CHUNK), strict=True)]
    )


def _step(design: Tensor, offset: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    size = design.shape[1]
    logits = weights @ design.T + offset
    means = logits.sigmoid()
    gradient = (means - targets) @ design
    products = (design[:, :, None] * design[:, None, :]).flatten(1)  # (d, k^2)
    curvature = ((means * (1 - means)) @ products).view(-1, size, size)
    least = RIDGE * curvature.diagonal(dim1=1, dim2=2).amax(1).clamp(min=1e-12)
    step = torch.linalg.solve(curvature + least[:, None, None] * torch.eye(size, device=design.device), gradient)
    before, share = _nll(logits, targets), torch.ones(len(weights), 1, device=design.device)
    for halving in range(HALVINGS):
        worse = _nll((weights - share * step) @ design.T + offset, targets) > before
        if not worse.any():
            break
        share[worse] *= 0.5 if halving < HALVINGS - 1 else 0.0
    new: Tensor = weights - share * step
    return new


def _nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Eq. 1 from logits, `(rows,)`."""
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1)
