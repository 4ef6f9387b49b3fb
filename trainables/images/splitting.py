"""The split of images by what they show, so that neither their order nor their files' names decide it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trainables.errors import DataError

TEST_SHARE, VALIDATION_SHARE = 7, 12
"""One in seven images is for tests where there is no test set; one in twelve of the rest validates. So is MNIST."""
_NAMES = {"train": "training", "val": "validation", "test": "test"}


class Part(NamedTuple):
    """A set of images, the first axis of an array, and their labels, `(n,)`, or None."""

    images: np.ndarray
    labels: np.ndarray | None = None


def by_content(parts: Mapping[str, Part], where: object) -> dict[str, Part]:
    """Splits uint8 images into train, val and test, each sorted by a hash of the image; equal images stay in one split.

    `parts`: "train", and "val" and "test" where they are given. Raises DataError, which names the file `where`, if
    there are not enough images, or two of the given sets have one in common.
    """
    hashes = {name: _hashes(part.images) for name, part in parts.items()}
    for one, other in itertools.combinations(hashes, 2):
        if shared := len(np.intersect1d(hashes[one], hashes[other])):
            raise DataError(
                f"{where}: the {_NAMES[one]} and the {_NAMES[other]} set must have no image in common, but they share "
                f"{shared:,}: leave them out of one."
            )
    least = 3 - len({"val", "test"} & parts.keys())
    different = len(np.unique(hashes["train"]))
    if different < least:
        raise DataError(
            f"{where} must hold {least} different images or more, to train, validate and test, but holds {different}."
        )
    chosen = dict(parts)
    for name, share in {"test": TEST_SHARE, "val": VALIDATION_SHARE}.items():
        if name not in parts:
            chosen[name], hashes[name], chosen["train"], hashes["train"] = _cut(chosen["train"], hashes["train"], share)
    labels = {name: [] if part.labels is None else [part.labels] for name, part in chosen.items()}
    return {name: _rows(part, np.lexsort([*labels[name], hashes[name]])) for name, part in chosen.items()}


def _hashes(images: np.ndarray) -> np.ndarray:
    digests = (hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).digest() for image in images)
    return np.frombuffer(b"".join(digests), ">u8")


def _cut(part: Part, hashes: np.ndarray, share: int) -> tuple[Part, np.ndarray, Part, np.ndarray]:
    """One in `share` of the different images, those of the least hashes, and the rest; each with its hashes."""
    different = np.unique(hashes)
    first = hashes <= different[max(1, round(len(different) / share)) - 1]
    return _rows(part, first), hashes[first], _rows(part, ~first), hashes[~first]


def _rows(part: Part, rows: np.ndarray) -> Part:
    return Part(part.images[rows], None if part.labels is None else part.labels[rows])
