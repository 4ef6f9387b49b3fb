"""Strokes: grey digits drawn by a pen with exactly k continuous factors, so that their dimension is known.

A digit is a template pen path of `NUM_CONTROL_POINTS` points. Factor j displaces every point along the path's normal by
`amplitude * factor_j * mode_j(s)`, where s in [0, 1) is the place along the path and the modes are the orthonormal
Fourier modes 1, sin(2 pi s), cos(2 pi s), sin(4 pi s), ...: no factor can undo another one, and each moves the pen
equally far. The displaced path is then inked, on 28 x 28 pixels or on more or fewer. Given the class, the image is a
smooth function of its k factors.

Rounding to uint8 adds noise to the distances between near neighbours and can make two images equal. That matters for
k <= 2 and thousands of images a class: there, measure dimensions on the floats of `render`, and drop duplicates.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

DEFAULT_FACTORS = 8
NUM_CLASSES = 10
NUM_CONTROL_POINTS = 48
IMAGE_SIDE = 28
PEN_SIGMA = 0.6  # standard deviation of a dot of ink, pixels; of an image of fewer than 28 a side, its own pixels
PEN_PRESSURE = 3.5  # ink on the axis of a straight line; 1 - exp(-3.5) = 0.97
DISPLACEMENT_RMS = 0.8  # root mean square displacement of a control point, pixels; the same for every k
PEN_POINTS_PER_SEGMENT = 2
CORNER_CUTS = 4
CHUNK = 1_000  # images rendered at once, about 50 MB

Stroke = tuple[tuple[float, float], ...]

# Control polygons, (x, y) in pixels, y down, the centre of the image at (13.5, 13.5). Cutting the corners makes each a
# smooth curve; a point given twice stays a tighter corner; a loop closes smoothly in the middle of an edge.
# fmt: off
TEMPLATES: tuple[tuple[Stroke, ...], ...] = (
    (((14, 4.5), (9.5, 4.5), (7, 9), (7, 18), (9.5, 22.5), (17.5, 22.5), (20, 18), (20, 9), (18, 4.5), (14, 4.5)),),
    (((9, 9), (14, 4.5)), ((14, 4.5), (13.5, 22.5)), ((9, 22.5), (18.5, 22.5))),
    (((7.5, 9), (8, 4.5), (19, 3.5), (20, 11), (13, 16), (7, 22), (7, 22), (14, 21.5), (20.5, 22)),),
    (((7.5, 6), (10, 4), (19, 4), (19.5, 12), (11.5, 12.8), (11.5, 12.8), (20.5, 13), (20.5, 22.5), (10, 23),
      (7, 20)),),
    (((9, 5), (7, 15), (7, 15), (21, 14.5)), ((17.5, 5), (16.5, 14), (16, 23))),
    (((19.5, 5), (9.5, 5), (9.5, 5), (8.5, 13), (8.5, 13), (13, 10.5), (20.5, 12), (20, 22), (11, 24), (7, 20)),),
    (((17, 4.5), (11, 7), (7, 15), (7.5, 23), (15, 23.5), (20, 21), (19, 13.5), (12, 13), (8, 18)),),
    (((7, 5.5), (20, 5), (20, 5), (14, 14), (12, 23)), ((10, 14), (18.5, 13.5))),
    (((13.5, 13.5), (7.5, 10), (8, 4.5), (13.5, 4.5), (19, 4.5), (19.5, 10), (13.5, 13.5), (6, 17.5), (7, 22.5),
      (13.5, 22.5), (20, 22.5), (21, 17.5), (13.5, 13.5)),),
    (((19, 8), (16, 4), (8, 4), (7, 13), (15, 15), (19, 11), (19, 7), (19, 7), (18.5, 15), (16, 23)),),
)
# fmt: on


class Strokes(NamedTuple):
    """Drawn digits with the factors that drew them.

    Attributes:
        images: White on black, shape `(num_images, side, side)`, uint8 in [0, 255].
        labels: The digits, shape `(num_images,)`, uint8 in [0, 9].
        factors: Uniform, shape `(num_images, factors)`, float32 in [-1, 1].
    """

    images: np.ndarray
    labels: np.ndarray
    factors: np.ndarray


def draw(
    num_images: int,
    *,
    factors: int = DEFAULT_FACTORS,
    seed: int = 0,
    classes: Sequence[int] = range(NUM_CLASSES),
    side: int = IMAGE_SIDE,
) -> Strokes:
    """Draws random digits whose intrinsic dimension is `factors` within a class.

    Args:
        num_images: Number of images, at least 1.
        factors: Number of continuous factors k, in [1, 48]. Up to 32, in every class, the Jacobian has rank k in the
            median image (smallest singular value above 1 % of the largest); beyond, wobbles near the size of a pixel.
        seed: The same arguments draw the same images.
        classes: Digits to draw with equal probability; a digit given twice counts once.
        side: Pixels along an image's side; the factors are the same for every side.

    Returns:
        The images, their labels and their factors.

    Raises:
        ValueError: An argument is outside its range.
    """
    labels, drawn = draw_factors(num_images, factors=factors, seed=seed, classes=classes)
    images = np.empty((num_images, side, side), dtype=np.uint8)
    for start in range(0, num_images, 10 * CHUNK):  # a float copy of all images would be four times the result
        part = slice(start, start + 10 * CHUNK)
        images[part] = np.rint(255 * render(labels[part], drawn[part], side))
    return Strokes(images, labels, drawn)


def draw_factors(
    num_images: int, *, factors: int = DEFAULT_FACTORS, seed: int = 0, classes: Sequence[int] = range(NUM_CLASSES)
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the labels and factors of `draw` without its images; arguments, shapes and errors are those of `draw`."""
    if num_images < 1:
        raise ValueError(f"`1 <= num_images` must hold, but got {num_images=}.")
    _check_factors(factors)
    digits = sorted(set(classes))
    if not digits or not set(digits) <= set(range(NUM_CLASSES)):
        raise ValueError(f"`classes` must be a non-empty subset of 0..9, but got {classes=}.")
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array(digits, dtype=np.uint8), size=num_images)
    return labels, 2 * rng.random((num_images, factors), dtype=np.float32) - 1


def render(labels: np.ndarray, factors: np.ndarray, side: int = IMAGE_SIDE) -> np.ndarray:
    """Renders digits from their factors; the deterministic, smooth generator behind `draw`.

    Args:
        labels: The digits, shape `(num_images,)`, integers in [0, 9].
        factors: Shape `(num_images, k)`, meant for [-1, 1], k in [1, 48].
        side: Pixels along an image's side.

    Returns:
        White on black, shape `(num_images, side, side)`, float32 in [0, 1].

    Raises:
        ValueError: k or a label is outside its range, or the shapes do not match.
    """
    if factors.ndim != 2 or labels.shape != factors.shape[:1]:
        raise ValueError(f"`labels` and `factors` must match, but got {labels.shape=} and {factors.shape=}.")
    _check_factors(factors.shape[1])
    if not np.isin(labels, np.arange(NUM_CLASSES)).all():
        raise ValueError(f"`labels` must be in 0..9, but got {np.unique(labels)=}.")
    images = np.empty((len(labels), side, side), dtype=np.float32)
    sigma = PEN_SIGMA * max(1, IMAGE_SIDE / side)
    for digit in np.unique(labels):
        path, basis, pressure = _pen(int(digit), factors.shape[1], sigma)
        rows = np.flatnonzero(labels == digit)
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            moved = path + np.tensordot(factors[part].astype(np.float32), basis, axes=1)  # (chunk, 2, pen_points)
            images[part] = _ink(moved, pressure, side, sigma)
    return images


def _check_factors(factors: int) -> None:
    if not 1 <= factors <= NUM_CONTROL_POINTS:
        raise ValueError(f"`1 <= factors <= {NUM_CONTROL_POINTS}` must hold, but got {factors=}.")


def _ink(points: np.ndarray, pressure: np.ndarray, side: int, sigma: float) -> np.ndarray:
    """Inks pen points: a Gaussian dot at each, summed and saturated; `(num_images, side, side)`, float32 in [0, 1].

    `points`: `(x, y)` of the pen points, `(num_images, 2, pen_points)`, and `sigma`, the standard deviation of a dot,
    in pixels of IMAGE_SIDE; `pressure`: peak ink of each dot, `(pen_points,)`.
    """
    centres = (np.arange(side) + 0.5) * IMAGE_SIDE / side - 0.5
    offsets = (points[:, :, None] - centres.astype(np.float32)[:, None]) / np.float32(
        sigma
    )  # (num_images, 2, side, points)
    dots = np.exp(-0.5 * offsets**2)
    ink = (dots[:, 1] * pressure) @ dots[:, 0].swapaxes(1, 2)  # (num_images, side, side)
    return np.asarray(-np.expm1(-ink))


def _pen(digit: int, factors: int, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The affine map from the factors to the pen points of one digit.

    Returns:
        The undisplaced pen points, `(2, pen_points)`, and their displacement per unit of each factor,
        `(k, 2, pen_points)`, both float32 in pixels; the peak ink of each dot, `(pen_points,)`, float32.
    """
    curves = [_smooth(np.array(stroke, dtype=np.float64)) for stroke in TEMPLATES[digit]]
    lengths = np.array([np.hypot(*np.diff(curve, axis=0).T).sum() for curve in curves])
    ends = np.rint(np.cumsum(lengths) / lengths.sum() * NUM_CONTROL_POINTS).astype(int)
    paths, bases, pressures = [], [], []
    for curve, length, start, end in zip(curves, lengths, [0, *ends[:-1]], ends, strict=True):
        control = _resample(curve, end - start)
        tangents = np.gradient(control, axis=0)
        normals = tangents[:, ::-1] * (1, -1) / np.hypot(*tangents.T)[:, None]  # (control_points, 2)
        basis = _modes(factors)[:, start:end, None] * normals  # (k, control_points, 2)
        num_points = PEN_POINTS_PER_SEGMENT * (end - start - 1) + 1
        dense = np.linspace(0, end - start - 1, num_points)
        # Linear interpolation as a matrix, `(pen_points, control_points)`: the same for the path and for every mode.
        weights = np.maximum(0, 1 - np.abs(dense[:, None] - np.arange(end - start)))
        paths.append(weights @ control)  # (pen_points, 2)
        bases.append(weights @ basis)  # (k, pen_points, 2)
        spacing = length / (num_points - 1)
        pressures.append(np.full(num_points, PEN_PRESSURE * spacing / (sigma * np.sqrt(2 * np.pi))))
    path, basis = np.concatenate(paths).T, np.concatenate(bases, axis=1).swapaxes(1, 2)
    return path.astype(np.float32), basis.astype(np.float32), np.concatenate(pressures).astype(np.float32)


def _modes(factors: int) -> np.ndarray:
    """Displacement of each control point per unit of each factor, shape `(factors, 48)`, pixels; orthogonal rows."""
    index = np.arange(factors)
    place = (np.arange(NUM_CONTROL_POINTS) + 0.5) / NUM_CONTROL_POINTS
    angles = 2 * np.pi * np.outer((index + 1) // 2, place)
    modes = np.where(index[:, None] % 2 == 1, np.sin(angles), np.cos(angles))  # (factors, 48)
    modes /= np.sqrt((modes**2).mean(axis=1, keepdims=True))
    return np.asarray(DISPLACEMENT_RMS * np.sqrt(3 / factors) * modes)  # a uniform factor has variance 1 / 3


def _smooth(polygon: np.ndarray) -> np.ndarray:
    """Cuts the corners of a polygon of shape `(points, 2)` (Chaikin 1974); keeps its two ends."""
    for _ in range(CORNER_CUTS):
        near, far = 0.75 * polygon[:-1] + 0.25 * polygon[1:], 0.25 * polygon[:-1] + 0.75 * polygon[1:]
        between = np.stack([near, far], axis=1).reshape(-1, 2)
        polygon = np.concatenate([polygon[:1], between[1:-1], polygon[-1:]])
    return polygon


def _resample(curve: np.ndarray, num_points: int) -> np.ndarray:
    """Points at equal arc length along a curve of shape `(points, 2)`, shape `(num_points, 2)`, pixels."""
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])
    at = np.linspace(0, arc[-1], num_points)
    return np.stack([np.interp(at, arc, curve[:, axis]) for axis in (0, 1)], axis=1)
