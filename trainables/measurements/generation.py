"""Measures how much a network's images look like digits: by the classifiers, and by the nearest real image."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.measurements import reference
from trainables.measurements.neighbours import nearest
from trainables.measurements.subject import Measured, Subject
from trainables.metrics import to_unit

NUM_SAMPLES = 1000
NUM_PAIRS = 200
FRACTIONS = tuple(index / 10 for index in range(11))
"""Shares of the way from the first code of a pair to the second."""
NUM_DATA = 1000
"""How many test images, the first, are compared with drawn ones."""
NUM_CURVE = 1000
"""How many test images, the first, are read at each evaluation."""


def measure_recognition(subject: Subject) -> Measured:
    """Reads the test images and what the network makes of them with the reference classifiers; MNIST only."""
    if not _applies(subject):
        return Measured({})
    images, labels = subject.images["test"], subject.labels["test"]
    redrawn = _read_right(_drawn(subject, subject.codes(subject.shown("test"))), labels)
    originals = _read_right(to_unit(images), labels)
    return Measured(
        {
            "recognition": [redrawn.mean(0).mean().item()],
            "recognition_by_classifier": redrawn.mean(1).tolist(),
            "recognition_originals": [originals.mean(0).mean().item()],
        }
    )


def measure_recognition_curve(subject: Subject) -> Measured:
    """Reads what the network makes of some test images with the first reference classifier; MNIST only."""
    if not reference.available(subject.config.dataset):
        return Measured({})
    redrawn = _drawn(subject, subject.codes(subject.shown("test")[:NUM_CURVE]))
    if not redrawn.isfinite().all():  # while a network trains it may diverge
        return Measured({})
    accuracy = reference.accuracy(redrawn, subject.labels["test"][:NUM_CURVE], reference.SEEDS[:1])
    return Measured({"recognition_curve": accuracy.tolist()})


def measure_generation(subject: Subject) -> Measured:
    """Measures how sure the classifiers are of drawn images, and how far these lie from training images; MNIST only.

    Drawn images come from `sample_codes` and from each of FRACTIONS between the codes of two test images.
    """
    if not _applies(subject):
        return Measured({})
    samples = _drawn(subject, sample_codes(subject))
    starts, ends = pairs(subject, NUM_PAIRS)
    paths = [_drawn(subject, starts + fraction * (ends - starts)) for fraction in FRACTIONS]
    data = to_unit(subject.images["test"][:NUM_DATA])
    parts = [samples, *paths, data]
    drawn, sizes = torch.cat(parts), [len(part) for part in parts]
    confidences = reference.classify(drawn).amax(2).mean(0).split(sizes)
    distances = nearest_distances(drawn, subject.images["train"]).split(sizes)
    profiles: dict[str, list[float]] = {}
    for name, values in {"confidence": confidences, "distance": distances}.items():
        sample, *between, real = (part.double().mean().item() for part in values)
        profiles |= {f"sample_{name}": [sample], f"interpolation_{name}": between, f"data_{name}": [real]}
    return Measured(profiles)


def sample_codes(subject: Subject) -> Tensor:
    """Codes `(NUM_SAMPLES, N)` from the prior, or, without one, from a Gaussian fitted to the training codes."""
    noise = torch.randn(NUM_SAMPLES, subject.config.width, generator=subject.draws("samples"))
    if subject.config.variational:
        return noise.to(subject.device)
    codes = subject.codes(subject.shown("train")).double().cpu()
    mean, centred = codes.mean(0), codes - codes.mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(codes))
    drawn: Tensor = mean + noise.double() * variances.clamp(min=0).sqrt() @ axes.T
    return drawn.float().to(subject.device)


def nearest_distances(images: Tensor, train: Tensor) -> Tensor:
    """Squared distances, `(n,)`, of float images `(n, pixels)` to the nearest of uint8 ones `(m, pixels)`, grey^2."""
    index = nearest(train, images, 1, chunk=len(images))[:, 0]
    return (images - to_unit(train[index])).square().sum(1)


def _applies(subject: Subject) -> bool:
    return reference.available(subject.config.dataset) and subject.is_finite()


def _drawn(subject: Subject, codes: Tensor) -> Tensor:
    return subject.decode(codes).clamp(0, 1)


def _read_right(images: Tensor, labels: Tensor) -> Tensor:
    """Whether each classifier reads each image as its label, float64 `(classifiers, n)` of 0 and 1."""
    return (reference.classify(images).argmax(2) == labels).double()


def pairs(subject: Subject, count: int) -> tuple[Tensor, Tensor]:
    """Codes of pairs of different test images, `(count, N)` each; fewer where there are not as many images."""
    images = subject.shown("test")
    order = torch.randperm(len(images), generator=subject.draws("pairs"))[: 2 * count]
    starts, ends = subject.codes(images[order.to(images.device)]).tensor_split(2)
    return starts[: len(ends)], ends
