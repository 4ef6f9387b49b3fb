"""Measures how near images lie to those that a network can draw: by a search from codes, and from noisy images."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.losses import bernoulli_nll, eq_1
from trainables.measurements.subject import CHUNK, Measured, Subject
from trainables.metrics import to_unit

NUM_PROJECTED = 500
"""How many test images, the first, are projected on the decoded set."""
STEPS = 200
LEARNING_RATE = 0.2
"""Adam's learning rate at its start, in standard deviations of the codes; it falls to 0 along a cosine."""
NOISE = 0.5
"""The standard deviation of the noise, in grey."""


def measure_projection(subject: Subject) -> Measured:
    """Measures the squared error of test images as encoded, and at the best codes that Adam reaches from there.

    The second is an upper bound of the squared distance to the set of all decoded images.
    """
    if not subject.is_finite():
        return Measured({})
    images, shown = (to_unit(split[:NUM_PROJECTED]) for split in (subject.images["test"], subject.shown("test")))
    encoded, best = project(subject, images, shown)
    return Measured({"projection_sse": [encoded.double().mean().item(), best.double().mean().item()]})


def project(subject: Subject, images: Tensor, shown: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Searches from the codes of images `(n, pixels)` in [0, 1] for better ones; `shown` are the encoded inputs.

    Returns the squared errors, `(n,)` each, at the images' codes and at the best codes.
    """
    with torch.no_grad():
        codes = subject.model(images if shown is None else shown).mu
    spread = codes.std(0, correction=0)  # a latent that does not move stays where it is
    moves = torch.zeros_like(codes, requires_grad=True)
    optimiser = torch.optim.Adam([moves], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    encoded = best = _errors(subject, codes, images)
    for _ in range(STEPS):
        with torch.enable_grad():
            errors = _errors(subject, codes + spread * moves, images)
            errors.sum().backward(inputs=[moves])
        best = torch.minimum(best, errors.detach())
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    return encoded.detach(), torch.minimum(best, _errors(subject, codes + spread * moves, images).detach())


@torch.no_grad()
def measure_denoising(subject: Subject) -> Measured:
    """Measures Eq. 1 of the clean test images at the network's output for noisy ones, and at the noisy ones themselves.

    The noise has sd NOISE and is added to the network's inputs, which are then clipped to [0, 1].
    """
    if not subject.is_finite():
        return Measured({})
    source, chunk = subject.draws("denoising"), CHUNK[subject.device.type]
    denoised, noisy = [], []
    for part, shown in zip(subject.images["test"].split(chunk), subject.shown("test").split(chunk), strict=True):
        clean = to_unit(part)
        noise = torch.randn(clean.shape, generator=source).to(clean.device)
        inputs = (to_unit(shown) + NOISE * noise).clamp(0, 1)
        denoised.append(eq_1(subject.model(inputs).decoded, clean, subject.config))
        noisy.append(bernoulli_nll(inputs, clean, "clipped"))
    return Measured({"denoising_nll": [torch.cat(nll).double().mean().item() for nll in (denoised, noisy)]})


def _errors(subject: Subject, codes: Tensor, images: Tensor) -> Tensor:
    return (subject.mean_image(codes) - images).square().sum(1)
