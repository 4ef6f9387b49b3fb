"""Do the images that a network draws look like digits: by the reference classifiers and by the nearest real image."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.measurements import reference
from trainables.measurements.subject import Measured, Subject
from trainables.metrics import by_group, to_grey

NUM_SAMPLES, NUM_SAMPLES_SHOWN = 1000, 20
NUM_PAIRS = 200
FRACTIONS = tuple(index / 10 for index in range(11))
"""Of the way from the first code of a pair to the second."""
NUM_DATA = 1000
"""The first test images, for comparison with what is drawn."""
NUM_CURVE = 1000
"""The first test images, which are read at each evaluation."""
TILE = 5000
"""Training images whose distances are taken at once."""


def measure_recognition(subject: Subject) -> Measured:
    """recognition, recognition_originals: accuracy of the reference classifiers on the test set as redrawn, and itself.

    recognition_by_label: the first of them by digit. All are means over the classifiers; MNIST only.
    """
    if not _applies(subject):
        return Measured({})
    images, labels = subject.images["test"], subject.labels["test"]
    redrawn = _read_right(_drawn(subject, subject.codes(subject.shown("test"))), labels)
    originals = _read_right(images.float() / 255, labels)
    return Measured(
        {
            "recognition": [redrawn.mean().item()],
            "recognition_originals": [originals.mean().item()],
            "recognition_by_label": by_group(redrawn, labels),
        }
    )


def measure_recognition_curve(subject: Subject) -> Measured:
    """recognition_curve: accuracy of the first reference classifier on some test images as redrawn; MNIST only."""
    if not reference.available(subject.config.dataset):
        return Measured({})
    redrawn = _drawn(subject, subject.codes(subject.shown("test")[:NUM_CURVE]))
    if not redrawn.isfinite().all():  # while a network trains it may diverge
        return Measured({})
    accuracy = reference.accuracy(redrawn, subject.labels["test"][:NUM_CURVE], reference.SEEDS[:1])
    return Measured({"recognition_curve": accuracy.tolist()})


def measure_generation(subject: Subject) -> Measured:
    """How sure the classifiers are of drawn images, and how far these lie from the training images; MNIST only.

    sample_*: of images drawn from `sample_codes`; interpolation_*: at each of FRACTIONS between the codes of pairs of
    test images; data_*: of test images. *_confidence: the largest class probability, mean over classifiers and images;
    *_distance: squared distance to the nearest training image, grey^2/image.
    """
    if not _applies(subject):
        return Measured({})
    samples = _drawn(subject, sample_codes(subject))
    starts, ends = _pairs(subject)
    paths = [_drawn(subject, starts + fraction * (ends - starts)) for fraction in FRACTIONS]
    data = subject.images["test"][:NUM_DATA].float() / 255
    parts = [samples, *paths, data]
    drawn, sizes = torch.cat(parts), [len(part) for part in parts]
    confidences = reference.classify(drawn).amax(2).mean(0).split(sizes)
    distances = nearest_distances(drawn, subject.images["train"]).split(sizes)
    profiles: dict[str, list[float]] = {}
    for name, values in {"confidence": confidences, "distance": distances}.items():
        sample, *between, real = (part.double().mean().item() for part in values)
        profiles |= {f"sample_{name}": [sample], f"interpolation_{name}": between, f"data_{name}": [real]}
    shown = enumerate(to_grey(samples[:NUM_SAMPLES_SHOWN]))
    return Measured(profiles, [("generated", index, None, None, grey) for index, grey in shown])


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


@torch.no_grad()
def nearest_distances(images: Tensor, train: Tensor) -> Tensor:
    """Squared distances, `(n,)`, of float images `(n, 784)` to the nearest of uint8 ones `(m, 784)`, grey^2."""
    nearest = torch.full((len(images),), torch.inf, device=images.device)
    index = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    for start in range(0, len(train), TILE):
        tile = train[start : start + TILE].float() / 255
        found = torch.addmm(tile.square().sum(1), images, tile.T, alpha=-2).min(1)  # but for the image's own square
        closer = found.values < nearest
        nearest = torch.where(closer, found.values, nearest)
        index = torch.where(closer, found.indices + start, index)
    return (images - train[index].float() / 255).square().sum(1)  # exact, where the product above has rounded


def _applies(subject: Subject) -> bool:
    return reference.available(subject.config.dataset) and subject.is_finite()


def _drawn(subject: Subject, codes: Tensor) -> Tensor:
    return subject.decode(codes).clamp(0, 1)


def _read_right(images: Tensor, labels: Tensor) -> Tensor:
    """The share of the classifiers that read each image as its label, float64 `(n,)`."""
    return (reference.classify(images).argmax(2) == labels).double().mean(0)


def _pairs(subject: Subject) -> tuple[Tensor, Tensor]:
    """Codes of pairs of different test images, `(pairs, N)` each."""
    images = subject.shown("test")
    order = torch.randperm(len(images), generator=subject.draws("pairs"))[: 2 * NUM_PAIRS]
    starts, ends = subject.codes(images[order.to(images.device)]).tensor_split(2)
    return starts[: len(ends)], ends
