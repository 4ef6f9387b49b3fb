"""What the measurements ask of any network's decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.losses import decoder_mean
from trainables.measurements.subject import CHUNK, Subject

CHECKED = 1000
"""Test images on which `is_finite` tries a network."""


def mean_image(subject: Subject, codes: Tensor) -> Tensor:
    """The decoder's mean image `(..., 784)` at codes `(..., N)`, as a function that can be differentiated."""
    return decoder_mean(subject.model.decoder(codes), subject.config)  # type: ignore[operator]


@torch.no_grad()
def decode(subject: Subject, codes: Tensor) -> Tensor:
    """Mean images `(n, 784)` at codes `(n, N)`; those of an identity output may leave [0, 1]."""
    return torch.cat([mean_image(subject, part) for part in codes.split(CHUNK[subject.device.type])])


def is_finite(subject: Subject) -> bool:
    """Whether the network's codes of test images and what it decodes from them are finite; else nothing is measured.

    A finished trial's are; this is for weights from elsewhere.
    """
    codes = subject.codes(subject.shown("test")[:CHECKED])
    return bool(codes.isfinite().all() and decode(subject, codes).isfinite().all())
