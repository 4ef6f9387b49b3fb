"""The values of images: from the numbers of a file to grey and colour values from 0 to 255."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from PIL import Image

from trainables.errors import DataError

BYTE_WHITE = 255
DARK = 128
"""Integers that all lie below this may be 0 and 1, or 0 to 16: their white has to be given."""
CHANNELS = (1, 3)
CHUNK = 5_000
"""Number of images that are converted at once."""


def as_images(array: np.ndarray, where: object) -> np.ndarray:
    """The same numbers as `(n, height, width, channels)`.

    `array`: `(n, height, width)`, with one or three channels last or second; or rows `(n, pixels)` of square images.
    Raises DataError, which names the file `where`, if it has another shape, or holds no image.
    """
    if array.ndim == 2 and math.isqrt(array.shape[1]) ** 2 == array.shape[1]:
        side = math.isqrt(array.shape[1])
        array = array.reshape(-1, side, side)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim == 4 and array.shape[3] not in CHANNELS and array.shape[1] in CHANNELS:
        array = np.moveaxis(array, 1, 3)
    if array.ndim != 4 or array.shape[3] not in CHANNELS or not array.size:
        raise DataError(
            f"{where}: images must be an array (n, height, width), or (n, height, width, 3) in colour, or rows of "
            f"square ones, with one image or more, but its shape is {array.shape}."
        )
    return array


def white_of(arrays: Mapping[str, np.ndarray], white: float | None, where: object) -> float:
    """Checks the values of a dataset's arrays, and returns the one that is white.

    Raises:
        DataError: They are no numbers, not finite, negative, above white, or do not say what white is.
    """
    kinds: dict[str, np.dtype] = {array.dtype.kind: array.dtype for array in arrays.values()}
    if odd := kinds.keys() - set("buif"):
        raise DataError(f"{where}: the values of images must be numbers, but are {kinds[odd.pop()]}.")
    if "f" in kinds and len(kinds) > 1:
        raise DataError(
            f"{where}: the values of all sets must be integers, or those of all floats, but are "
            f"{' and '.join(str(array.dtype) for array in arrays.values())}."
        )
    if not all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f"):
        raise DataError(f"{where}: the values of images must be finite, but NaN or infinity is among them.")
    low = min(float(array.min()) for array in arrays.values())
    high = max(float(array.max()) for array in arrays.values())
    if low < 0:
        raise DataError(f"{where}: the values of images must be 0 (black) or more, but the least is {low:g}.")
    if white is None:
        white = _white_of(set(kinds), high, where)
    if high > white:
        raise DataError(
            f"{where}: the values of images must be at most white, {_plain(white)}, but the largest is {_plain(high)}."
        )
    return white


def _white_of(kinds: set[str], high: float, where: object) -> float:
    if kinds == {"b"}:
        return 1
    if "f" in kinds:
        if high > 1:
            raise DataError(
                f"{where}: floats must lie in [0, 1], but the largest is {_plain(high)}. Say what white is: --white "
                f"{_plain(max(high, BYTE_WHITE))}, say."
            )
        return 1
    if high > BYTE_WHITE or high < DARK:
        raise DataError(
            f"{where}: integers must go up to {DARK} or more, and to {BYTE_WHITE} at most, to be taken for values from "
            f"0 (black) to {BYTE_WHITE} (white), but the largest is {_plain(high)}. Say what white is: --white "
            f"{_plain(high or BYTE_WHITE)}, say."
        )
    return BYTE_WHITE


def _plain(value: float) -> str:
    """A number with all its digits, so that it may be typed as it is printed: 65535, 0.1."""
    return str(float(value)).removesuffix(".0")


def to_bytes(images: np.ndarray, white: float) -> np.ndarray:
    """Values from 0 to white as uint8 from 0 to 255, rounded; of the same shape."""
    if images.dtype == np.uint8 and white == BYTE_WHITE:
        return images
    scaled = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), CHUNK):  # all at once would take eight times the memory
        scaled[start : start + CHUNK] = np.rint(images[start : start + CHUNK] * (BYTE_WHITE / white))
    return scaled


def fitted(images: np.ndarray, size: int | None, grey: bool) -> np.ndarray:
    """Images uint8 `(n, height, width, channels)` in this size and without colour, where that is wanted."""
    small = size is None or images.shape[1:3] == (size, size)
    if small and (not grey or images.shape[3] == 1):
        return images
    pictures = (Image.fromarray(image[..., 0] if image.shape[2] == 1 else image) for image in images)
    return np.stack([as_array(fit(picture, size, grey)) for picture in pictures])


def fit(picture: Image.Image, size: int | None, grey: bool) -> Image.Image:
    """The middle square of a picture scaled to `size` pixels a side, in grey, where that is wanted."""
    if grey and picture.mode == "RGB":
        picture = picture.convert("L")
    if size is None or picture.size == (size, size):
        return picture
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    return picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR)


def as_array(picture: Image.Image) -> np.ndarray:
    """A picture's values, `(height, width, channels)`."""
    array = np.asarray(picture)
    return array[..., None] if array.ndim == 2 else array
