"""Measurements of the latent space: the likelihood's bound, the decoder's rank, and a linear net's subspace."""

from __future__ import annotations

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
    """Compares a linear decoder's columns with PCA-N of the training images; up to 784 latents.

    principal_cos2 has a 0 for each direction that the decoder lacks; decoder_cosine and variance_rank are left out
    where fewer than two latents have an effect.
    """
    if not _is_linear(subject) or subject.config.width > subject.images["train"].shape[1] or not subject.is_finite():
        return Measured({})
    codes = subject.codes(subject.shown("train"))
    num_latents = codes.shape[1]
    matrix = _decoder_matrix(subject, num_latents)
    components = fit_pca(subject.images["train"], num_latents)[0].components.detach().double()
    profiles = {"principal_cos2": principal_cos2(matrix, components.T).tolist()}
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


def _is_linear(subject: Subject) -> bool:
    config = subject.config
    return config.task == "pca" or config.activation == "linear" or config.hidden_dims == ()


@torch.no_grad()
def _decoder_matrix(subject: Subject, num_latents: int) -> Tensor:
    """The matrix, `(784, N)`, of a decoder that is affine before its output head."""
    zero = torch.zeros(1, num_latents, device=subject.device)
    return _jacobians(subject.model.decoder, zero)[0].double()  # type: ignore[arg-type]


@torch.no_grad()
def singular_values(subject: Subject, codes: Tensor) -> Tensor:
    """Falling singular values, float64 `(n, N)`, of the mean image's Jacobian at codes `(n, N)`."""
    num_latents, pixels = codes.shape[1], subject.images["test"].shape[1]
    values = []
    for part in codes.split(max(1, JACOBIAN_ENTRIES[codes.device.type] // (pixels * num_latents))):
        jacobians = _jacobians(subject.mean_image, part).double()  # (part, 784, N)
        if num_latents > pixels:
            jacobians = jacobians.mT
        squares = torch.linalg.eigvalsh(jacobians.mT @ jacobians).flip(1)
        values.append(functional.pad(squares.clamp(min=0).sqrt(), (0, max(0, num_latents - pixels))))
    return torch.cat(values)


def _jacobians(function: Callable[[Tensor], Tensor], codes: Tensor) -> Tensor:
    """The Jacobian, `(n, 784, N)`, of a function of one code at each of the codes `(n, N)`, forwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # by torch of itself, at its first forward derivative
        jacobians: Tensor = torch.func.vmap(torch.func.jacfwd(function))(codes)
    return jacobians
