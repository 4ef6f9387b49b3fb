"""Measurements of the latent space: the likelihood's bound, the decoder's rank, and a linear net's subspace."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional

from trainables.measurements.subject import CHUNK, Measured, Subject
from trainables.metrics import importance_weighted_bound, to_unit
from trainables.models import fit_pca

BOUND_SAMPLES = (1, 10, 100)
NUM_IMAGES = 1000
"""How many test images, the first, the bound and the Jacobian are taken on."""
RANK_SHARE = 0.01
"""A singular value counts towards the rank above this share of the largest."""
JACOBIAN_ENTRIES = {"cpu": 4_000_000, "cuda": 200_000_000}
"""How many entries of Jacobians are held at once, by kind of device."""
BLOCK = 5_000
"""How many training images are held as floats at once."""
NUM_DRAWN = 2_000
"""How many test images, the first, give the codes that the KL of the aggregate posterior is averaged over."""
NEGLIGIBLE = 1e-6
"""A share of the largest that the rounding of float32 weights explains."""


def measure_bound(subject: Subject) -> Measured:
    """Measures minus the importance-weighted bound with each of BOUND_SAMPLES, nats/image; VAE only.

    It bounds the likelihood of the network's inputs, under its own likelihood.
    """
    if not subject.config.variational or not subject.is_finite():
        return Measured({})
    images = subject.shown("test")[:NUM_IMAGES]
    values = []
    for num_samples in BOUND_SAMPLES:
        source = subject.draws("bound")
        parts = [
            importance_weighted_bound(subject.model, to_unit(part), subject.config, num_samples, source)
            for part in images.split(CHUNK[subject.device.type])
        ]
        values.append(-torch.cat(parts).double().mean().item())
    return Measured({"neg_iw_bound": values})


def measure_jacobian(subject: Subject) -> Measured:
    """Measures the rank of the decoder's Jacobian at images' codes: its median and quartiles over images.

    The Jacobian is that of the mean image. Where it is 0, so is its rank.
    """
    if not subject.is_finite():
        return Measured({})
    values = singular_values(subject, subject.codes(subject.shown("test")[:NUM_IMAGES]))
    largest = values[:, :1]
    shares = torch.where(largest > 0, values / largest, 0.0)
    ranks = (shares > RANK_SHARE).sum(1).double()
    quantiles = ranks.quantile(torch.tensor([0.5, 0.25, 0.75], dtype=ranks.dtype, device=ranks.device))
    return Measured({"jacobian_rank": quantiles.tolist()})


def measure_subspace(subject: Subject) -> Measured:
    """Compares a linear network with PCA-N of the training images: columns, images and codes; up to a latent a pixel.

    principal_cos2, image_cos2 and canonical_cos2 have a 0 for each direction that the decoder's columns, its images or
    the codes lack; decoder_cosine and variance_rank are left out where fewer than two latents have an effect.
    """
    config = subject.config
    is_linear = config.task == "pca" or config.activation == "linear" or config.hidden_dims == ()
    if not is_linear or config.width > subject.images["train"].shape[1] or not subject.is_finite():
        return Measured({})
    codes = subject.codes(subject.shown("train"))
    num_latents = codes.shape[1]
    matrix = _decoder_matrix(subject, num_latents)
    pca = fit_pca(subject.images["train"], num_latents)[0]
    components = pca.components.detach().double()
    scores = torch.cat([pca(to_unit(part)).mu.detach() for part in subject.images["train"].split(BLOCK)]).double()
    profiles = {
        "principal_cos2": principal_cos2(matrix, components.T).tolist(),
        "image_cos2": principal_cos2(_image_directions(subject, codes), components.T).tolist(),
        "canonical_cos2": principal_cos2(codes.double() - codes.double().mean(0), scores - scores.mean(0)).tolist(),
    }
    lengths = matrix.norm(dim=0)
    used = lengths > 0
    if used.sum() > 1:
        columns = matrix[:, used] / lengths[used]
        cosines = (columns.T @ columns).abs()
        profiles["decoder_cosine"] = [cosines[~torch.eye(len(cosines)).bool()].mean().item()]
    explained = codes.double().var(0) * lengths.square()
    if explained.unique().numel() > 1:
        rank = stats.spearmanr(range(num_latents), explained.cpu().numpy()).statistic
        profiles["variance_rank"] = [-float(rank)]
    return Measured(profiles)


@torch.no_grad()
def measure_aggregate(subject: Subject) -> Measured:
    """Measures how far each latent's aggregate posterior lies from the prior, KL in nats; VAE only.

    The aggregate posterior is the mixture of q(z|x) over the test images. The KL is a mean over draws from it.
    """
    if not subject.config.variational or not subject.is_finite():
        return Measured({})
    parts = subject.shown("test").split(CHUNK[subject.device.type])
    outputs = [subject.model(to_unit(part)) for part in parts]
    means, log_sigmas = (torch.cat([getattr(out, name) for out in outputs]) for name in ("mu", "log_sigma"))
    noise = torch.randn(len(means[:NUM_DRAWN]), means.shape[1], generator=subject.draws("aggregate")).to(means.device)
    drawn = means[:NUM_DRAWN] + log_sigmas[:NUM_DRAWN].exp() * noise
    values = []
    for mean, log_sigma, z in zip(means.T, log_sigmas.T, drawn.T, strict=True):
        log_q = torch.cat([_mixture(mean, log_sigma, part) for part in z.split(CHUNK["cpu"])])
        values.append((log_q + 0.5 * z.square()).double().mean().item())
    return Measured({"aggregate_kl": values})


def _mixture(mean: Tensor, log_sigma: Tensor, z: Tensor) -> Tensor:
    """log of the mean density over the components at z, `(n,)`, less that of 1 / sqrt(2 pi)."""
    exponent = -0.5 * ((z[:, None] - mean) / log_sigma.exp()).square() - log_sigma
    return exponent.logsumexp(1) - math.log(len(mean))


def principal_cos2(first: Tensor, second: Tensor) -> Tensor:
    """Squared cosines of the principal angles of two matrices' column spaces.

    Args:
        first: float64 `(rows, N)`, of any rank.
        second: float64 `(rows, N)`, of rank N.

    Returns:
        `(N,)`, falling; 0 for each direction by which the first's rank falls short of N.
    """
    left, values, _ = torch.linalg.svd(first, full_matrices=False)
    left = left[:, values > NEGLIGIBLE * values[0]]
    cosines = torch.linalg.svdvals(left.T @ torch.linalg.qr(second).Q)
    return functional.pad(cosines.square().clamp(max=1), (0, second.shape[1] - len(cosines)))


@torch.no_grad()
def _decoder_matrix(subject: Subject, num_latents: int) -> Tensor:
    """The matrix, `(pixels, N)`, of a decoder that is affine before its output head."""
    zero = torch.zeros(1, num_latents, device=subject.device)
    return _jacobians(subject.model.decoder, zero)[0].double()  # type: ignore[arg-type]


def _image_directions(subject: Subject, codes: Tensor) -> Tensor:
    """The leading directions, `(784, N)`, of the images at codes `(n, N)` about their mean, each as long as its sd."""
    pixels = subject.images["train"].shape[1]
    total, square = (
        torch.zeros(*shape, dtype=torch.float64, device=codes.device) for shape in ((pixels,), (pixels,) * 2)
    )
    for part in codes.split(BLOCK):
        images = subject.decode(part).double()
        total, square = total + images.sum(0), square + images.T @ images
    mean = total / len(codes)
    values, vectors = torch.linalg.eigh(square / len(codes) - torch.outer(mean, mean))
    directions: Tensor = vectors[:, -codes.shape[1] :] * values[-codes.shape[1] :].clamp(min=0).sqrt()
    return directions


@torch.no_grad()
def singular_values(subject: Subject, codes: Tensor) -> Tensor:
    """Falling singular values, float64 `(n, N)`, of the mean image's Jacobian at codes `(n, N)`."""
    num_latents, pixels = codes.shape[1], subject.images["test"].shape[1]
    values = []
    for part in codes.split(max(1, JACOBIAN_ENTRIES[codes.device.type] // (pixels * num_latents))):
        jacobians = _jacobians(subject.mean_image, part).double()  # (part, pixels, N)
        if num_latents > pixels:
            jacobians = jacobians.mT
        squares = torch.linalg.eigvalsh(jacobians.mT @ jacobians).flip(1)
        values.append(functional.pad(squares.clamp(min=0).sqrt(), (0, max(0, num_latents - pixels))))
    return torch.cat(values)


def _jacobians(function: Callable[[Tensor], Tensor], codes: Tensor) -> Tensor:
    """The Jacobian, `(n, pixels, N)`, of a function of one code at each of the codes `(n, N)`, forwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # by torch of itself, at its first forward derivative
        jacobians: Tensor = torch.func.vmap(torch.func.jacfwd(function))(codes)
    return jacobians
