"""Images that a network draws: along straight lines through its codes, and of the first test images."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.measurements.subject import Measured, Subject, examples
from trainables.metrics import to_grey

NUM_LATENTS = 5
DEVIATIONS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
"""Places that a latent is moved to, in standard deviations of its codes from their mean."""
NUM_REDRAWN = 200
FRACTIONS = tuple(index / 6 for index in range(7))
"""Shares of the way from one digit's code to the next one's."""


@torch.no_grad()
def measure_walks(subject: Subject) -> Measured:
    """Draws images along lines through the codes.

    `traversal`: the first test image's code with one latent, of those whose codes vary most over the test images, moved
    to each of DEVIATIONS. `interpolation`: at each of FRACTIONS from the first test image of an even label to that of
    the next one; of unlabelled images, from one to the next.
    """
    if not subject.is_finite():
        return Measured({})
    codes = subject.codes(subject.shown("test"))
    centre, spread = codes.mean(0), codes.std(0, correction=0)
    latents = spread.argsort(descending=True, stable=True)[:NUM_LATENTS]
    measured = Measured({})
    for rank, latent in enumerate(latents.tolist()):
        path = codes[:1].repeat(len(DEVIATIONS), 1)
        path[:, latent] = centre[latent] + spread[latent] * torch.tensor(DEVIATIONS, device=codes.device)
        _draw(subject, measured, ("traversal", rank, latent), path, DEVIATIONS)
    first = codes[examples(subject.labels, len(codes))]
    for pair, (start, end) in enumerate(zip(first[::2], first[1::2], strict=False)):
        path = torch.stack([torch.lerp(start, end, fraction) for fraction in FRACTIONS])
        _draw(subject, measured, ("interpolation", pair, None), path, FRACTIONS)
    return measured


@torch.no_grad()
def measure_redrawn(subject: Subject) -> Measured:
    """Draws the first NUM_REDRAWN test images as the network reconstructs them, for tests of whose images they are."""
    if not subject.is_finite():
        return Measured({})
    greys = to_grey(subject.decode(subject.codes(subject.shown("test")[:NUM_REDRAWN])).clamp(0, 1))
    return Measured({}, [("redrawn", place, None, None, grey) for place, grey in enumerate(greys)])


def _draw(
    subject: Subject, measured: Measured, name: tuple[str, int, int | None], path: Tensor, values: tuple[float, ...]
) -> None:
    greys = to_grey(subject.decode(path).clamp(0, 1))
    measured.images.extend((*name, value, grey) for value, grey in zip(values, greys, strict=True))
