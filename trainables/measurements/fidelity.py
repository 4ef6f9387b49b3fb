"""Measures how far a network's images are digits: precision and Fréchet distance in the classifiers' features."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.measurements import reference
from trainables.measurements.generation import pairs, sample_codes
from trainables.measurements.subject import Measured, Subject
from trainables.metrics import to_unit

NUM_DRAWN = 1000
"""How many images of each kind are compared with training images."""
NUM_REAL = 10_000
"""How many training images, the first, stand for digits. Of a thousand, the balls are so wide that precision calls two
digits laid over each other digits (0.78, against 0.83 of test images); of these it does not (0.32, against 0.80)."""
NEIGHBOURS = 3
"""A training image's ball reaches to its third nearest neighbour among training images."""
DIRECTIONS = 64
"""Principal components of the features that the Fréchet distance is taken in; a thousand images suffice for them."""
CHUNK = 1000


@torch.no_grad()
def measure_fidelity(subject: Subject) -> Measured:
    """Measures precision and Fréchet distance of drawn images against training images; MNIST only.

    Drawn images come from `sample_codes`, and half-way between the codes of two test images. For comparison there are
    test images; the mean of two test images each, which are no digits; and one drawn image over and over, which a
    criterion must not take for digits. Each number is the mean over the reference classifiers, whose last hidden layers
    are the features.
    """
    if not reference.available(subject.config.dataset) or not subject.is_finite():
        return Measured({})
    starts, ends = pairs(subject, NUM_DRAWN)
    samples = subject.decode(sample_codes(subject)[:NUM_DRAWN]).clamp(0, 1)
    data = to_unit(subject.images["test"][:NUM_DRAWN])
    kinds = {
        "sample": samples,
        "interpolation": subject.decode((starts + ends) / 2).clamp(0, 1),
        "data": data,
        "double": (data + data.roll(1, 0)) / 2,
        "one_image": samples[:1].repeat(len(samples), 1),
    }
    totals = dict.fromkeys((f"{kind}_{name}" for kind in kinds for name in ("precision", "frechet")), 0.0)
    for seed in reference.SEEDS:
        real = reference.features(to_unit(subject.images["train"][:NUM_REAL]), seed)
        radii, directions = ball_radii(real), principal_directions(real)
        for kind, images in kinds.items():
            drawn = reference.features(images, seed)
            totals[f"{kind}_precision"] += precision(drawn, real, radii) / len(reference.SEEDS)
            totals[f"{kind}_frechet"] += frechet(drawn, real, directions) / len(reference.SEEDS)
    return Measured({name: [value] for name, value in totals.items()})


def ball_radii(real: Tensor) -> Tensor:
    """The distance, `(n,)`, of each point of `(n, d)` to its third nearest neighbour among them; n > NEIGHBOURS."""
    parts = [torch.cdist(part, real).kthvalue(NEIGHBOURS + 1, dim=1).values for part in real.split(CHUNK)]
    return torch.cat(parts)  # the nearest of all is the point itself


def precision(drawn: Tensor, real: Tensor, radii: Tensor) -> float:
    """The share of drawn points `(m, d)` in the ball of any real point `(n, d)` (Kynkäänniemi et al. 2019)."""
    inside = [(torch.cdist(part, real) <= radii).any(dim=1) for part in drawn.split(CHUNK)]
    return torch.cat(inside).double().mean().item()


def principal_directions(real: Tensor) -> Tensor:
    """The leading DIRECTIONS principal components, or all d, of points `(n, d)`: columns `(d, DIRECTIONS)`, float64."""
    components: Tensor = torch.linalg.eigh(real.double().T.cov()).eigenvectors
    return components[:, -DIRECTIONS:]


def frechet(drawn: Tensor, real: Tensor, directions: Tensor) -> float:
    """The squared Fréchet distance of two Gaussians with the points' means and covariances (Heusel et al. 2017).

    `drawn`: `(m, d)`; `real`: `(n, d)`; `directions`: those of `real`, the space that the distance is taken in.
    """
    real, drawn = real.double() @ directions, drawn.double() @ directions
    first, second = (torch.atleast_2d(points.T.cov(correction=0)) for points in (real, drawn))
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    apart = (real.mean(0) - drawn.mean(0)).square().sum()
    return max(float(apart + first.trace() + second.trace() - 2 * shared), 0.0)
