"""How near the images lie to what a network can draw: searched from their codes, and from images with noise."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.losses import bernoulli_nll, eq_1
from trainables.measurements.subject import CHUNK, Measured, Subject

NUM_PROJECTED = 500
"""The first test images, which are projected on the decoded set."""
STEPS = 200
LEARNING_RATE = 0.2
"""Of Adam at its start, in standard deviations of the codes; it falls to 0 along a cosine."""
NOISE = 0.5
"""The standard deviation of the noise, in grey."""


def measure_projection(subject: Subject) -> Measured:
    """projection_sse: mean squared error of test images as encoded, and at the best codes that Adam finds from there.

    The second is an upper bound of the squared distance to the set of all decoded images, grey^2/image.
    """
    if not subject.is_finite():
        return Measured({})
    images = subject.images["test"][:NUM_PROJECTED].float() / 255
    encoded, best = project(subject, images, subject.shown("test")[:NUM_PROJECTED].float() / 255)
    return Measured({"projection_sse": [encoded.double().mean().item(), best.double().mean().item()]})


def project(subject: Subject, images: Tensor, shown: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Squared errors, `(n,)` each, of images `(n, 784)` in [0, 1] at their codes, and at the best codes found.

    `shown`: what is encoded for them, `(n, 784)`; left out, it is the images.
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
    """denoising_nll: Eq. 1 of the clean test images at what the network, and at what nobody, makes of noisy ones.

    The noise has sd NOISE and is added to what the network is shown, then clipped to [0, 1]; nats/image.
    """
    if not subject.is_finite():
        return Measured({})
    source, chunk = subject.draws("denoising"), CHUNK[subject.device.type]
    denoised, noisy = [], []
    for part, shown in zip(subject.images["test"].split(chunk), subject.shown("test").split(chunk), strict=True):
        clean = part.float() / 255
        noise = torch.randn(clean.shape, generator=source).to(clean.device)
        given = (shown.float() / 255 + NOISE * noise).clamp(0, 1)
        denoised.append(eq_1(subject.model(given).decoded, clean, subject.config))
        noisy.append(bernoulli_nll(given, clean, "clipped"))
    return Measured({"denoising_nll": [torch.cat(nll).double().mean().item() for nll in (denoised, noisy)]})


def _errors(subject: Subject, codes: Tensor, images: Tensor) -> Tensor:
    return (subject.mean_image(codes) - images).square().sum(1)
