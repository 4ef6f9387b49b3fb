"""What the measurements ask of any network's decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.losses import head
from trainables.measurements.subject import CHUNK, Subject

if TYPE_CHECKING:
    from trainables.schema import TrialConfig

CHECKED = 1000
"""Test images on which `is_finite` tries a network."""


def output_of(config: TrialConfig) -> str:
    """The output head; PCA, which has none, is read as clipped, as in its loss."""
    return config.output or "clipped"


def mean_image(subject: Subject, codes: Tensor) -> Tensor:
    """The decoder's mean image `(..., 784)` at codes `(..., N)`, as a function that can be differentiated."""
    return head(subject.model.decoder(codes), output_of(subject.config))  # type: ignore[operator]


@torch.no_grad()
def decode(subject: Subject, codes: Tensor) -> Tensor:
    """Mean images `(n, 784)` at codes `(n, N)`; those of an identity output may leave [0, 1]."""
    return torch.cat([mean_image(subject, part) for part in codes.split(CHUNK[subject.device.type])])


def is_finite(subject: Subject) -> bool:
    """Whether the network's codes of test images and what it decodes from them are finite; else nothing is measured.

    A finished trial's are; this is for weights from elsewhere.
    """
    codes = subject.codes(subject.images["test"][:CHECKED])
    return bool(codes.isfinite().all() and decode(subject, codes).isfinite().all())
