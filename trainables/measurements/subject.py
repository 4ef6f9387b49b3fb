"""The arguments of a measurement, a Subject, and its result, Measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trainables.batches import generator, shown_images
from trainables.losses import decoder_mean
from trainables.metrics import to_unit
from trainables.shape import MNIST, Shape

if TYPE_CHECKING:
    from trainables.schema import TrialConfig

CHUNK = {"cpu": 500, "cuda": 10_000}
"""How many images go through a network at once, by kind of device."""
EXAMPLES = 10
"""Number of test images that are drawn beside their reconstructions."""
CHECKED = 1000
"""How many test images `Subject.is_finite` tries a network on."""


@dataclass(frozen=True)
class Subject:
    """A trained network and the data that it was trained on, on one device.

    `model`: in the form of `trainables.models`, not to be trained; `images`: uint8 `(n, pixels)` by split; `labels`:
    int64 `(n,)` by split; empty if the images have none; `shape`: of the images.
    """

    model: nn.Module
    config: TrialConfig
    seed: int
    images: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    shape: Shape = MNIST

    @property
    def device(self) -> torch.device:
        """The device of the network and the data."""
        return self.images["test"].device

    def draws(self, purpose: str) -> torch.Generator:
        """A generator of random numbers on the CPU, the same for the same replicate and purpose."""
        return generator(self.seed, f"measure/{purpose}")

    def shown(self, split: str) -> Tensor:
        """The network's inputs for a split's images, uint8 `(n, pixels)`, as in the trial's own evaluations."""
        return shown_images(self.config, self.seed, split, self.images[split])

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """Codes, or posterior means, `(n, N)`, of uint8 images `(n, pixels)` as the network is `shown` them."""
        parts = images.split(CHUNK[self.device.type])
        return torch.cat([self.model(to_unit(part)).mu for part in parts])

    def mean_image(self, codes: Tensor) -> Tensor:
        """The decoder's mean images `(..., pixels)` at codes `(..., N)`; can be differentiated."""
        return decoder_mean(self.model.decoder(codes), self.config)  # type: ignore[operator]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Mean images `(n, pixels)` at codes `(n, N)`; those of an identity output may leave [0, 1]."""
        return torch.cat([self.mean_image(part) for part in codes.split(CHUNK[self.device.type])])

    def is_finite(self) -> bool:
        """Whether the codes of test images, and the images decoded from them, are finite; else nothing is measured.

        A finished trial's are; weights from elsewhere may not be.
        """
        codes = self.codes(self.shown("test")[:CHECKED])
        return bool(codes.isfinite().all() and self.decode(codes).isfinite().all())


@dataclass(frozen=True)
class Measured:
    """A measurement's result.

    `profiles`: values by quantity; `images`: `(kind, index, axis, value, pixels)` with pixels uint8 `(pixels,)` each.
    """

    profiles: Mapping[str, list[float]]
    images: list[tuple[str, int, int | None, float | None, Any]] = field(default_factory=list)


def examples(labels: Mapping[str, Tensor], count: int) -> list[int]:
    """The indices of test images to show: the first of each of the first EXAMPLES classes; unlabelled, the first ones.

    Args:
        labels: By split, `(n,)`; empty if the images have none.
        count: How many test images there are.
    """
    if not labels:
        return list(range(min(EXAMPLES, count)))
    return [int((labels["test"] == label).nonzero()[0]) for label in labels["test"].unique()[:EXAMPLES].tolist()]
