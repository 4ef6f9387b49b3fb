"""The shape of images, and the size of a data set. Standard library only."""

from __future__ import annotations

import math
from typing import NamedTuple


class Shape(NamedTuple):
    """Height and width of an image in pixels, and its channels: 1 for grey, 3 for red, green and blue.

    Models and metrics see an image as one row of `pixels` values, in the order of an array `(height, width, channels)`.
    """

    height: int
    width: int
    channels: int = 1

    @property
    def pixels(self) -> int:
        """The number of values of an image: height times width times channels."""
        return math.prod(self)

    def __str__(self) -> str:
        return f"{self.height} x {self.width} {'grey' if self.channels == 1 else 'colour'}"


MNIST = Shape(28, 28)
"""The shape of MNIST's images, of its kin and of the drawn data sets: that of records and tables which name none."""


WIDE = 4096
"""Pixels up to which PCA takes the eigenvectors of the pixels' covariance, however few images there are."""


def most_components(images: int, pixels: int) -> int:
    """The number of principal components that PCA gives: one a pixel; of few and large images, one less than these."""
    return images - 1 if pixels > max(images, WIDE) else pixels


class Size(NamedTuple):
    """The shape of a data set's images, and how many images each split has."""

    shape: Shape = MNIST
    train: int = 55_000
    val: int = 5_000
    test: int = 10_000
