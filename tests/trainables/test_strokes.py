"""The strokes digits: their dimension is exactly k, they are digits, and draws are reproducible."""

from collections.abc import Callable

import numpy as np
import pytest

from trainables.strokes import DEFAULT_FACTORS, draw, render

Generator = Callable[[np.ndarray, np.ndarray], np.ndarray]


def relative_smallest_singular_value(
    generator: Generator, digit: int, num_factors: int, *, num_points: int = 5
) -> float:
    """Smallest over largest singular value of the Jacobian d image / d factors, the median over random factors."""
    step = 0.01
    factors = np.random.default_rng(digit).uniform(-1, 1, (num_points, num_factors))
    shifted = factors[:, None, None] + step * np.stack([np.eye(num_factors), -np.eye(num_factors)])
    flat = shifted.reshape(-1, num_factors)
    images = generator(np.full(len(flat), digit), flat).astype(np.float64)
    plus, minus = images.reshape(num_points, 2, num_factors, -1).swapaxes(0, 1)
    singular = np.linalg.svd((plus - minus) / (2 * step), compute_uv=False)  # (num_points, num_factors)
    return float(np.median(singular[:, -1] / singular[:, 0]))


def two_nn(points: np.ndarray) -> float:
    """TwoNN intrinsic dimension (Facco et al. 2017, maximum likelihood) of `(num_points, ambient_dim)`."""
    squares = (points**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    nearest = np.partition(distances, 1, axis=1)[:, :2]
    return float(len(points) / (0.5 * np.log(nearest[:, 1] / nearest[:, 0])).sum())


def test_draw_defaults_give_documented_shapes_dtypes_and_ranges() -> None:
    strokes = draw(300)
    assert strokes.images.shape == (300, 28, 28)
    assert strokes.images.dtype == np.uint8
    assert strokes.labels.shape == (300,)
    assert strokes.labels.dtype == np.uint8
    assert strokes.factors.shape == (300, DEFAULT_FACTORS)
    assert strokes.factors.dtype == np.float32
    assert strokes.images.min() == 0
    assert strokes.images.max() > 200
    assert np.abs(strokes.factors).max() <= 1


def test_draw_one_image_one_factor_works() -> None:
    assert draw(1, factors=1).images.shape == (1, 28, 28)


def test_draw_same_arguments_give_same_digits_and_another_seed_differs() -> None:
    first, again, other = draw(50, seed=3), draw(50, seed=3), draw(50, seed=4)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first.images, other.images)
    assert not np.array_equal(first.labels, other.labels)
    assert not np.array_equal(first.factors, other.factors)


def test_draw_classes_are_balanced() -> None:
    counts = np.bincount(draw(4_000, factors=2).labels, minlength=10)
    assert counts.min() > 320
    assert counts.max() < 480


@pytest.mark.parametrize("classes", [[7], [3, 8], (0, 1, 9), [4, 4]])
def test_draw_some_classes_gives_only_those(classes: list[int]) -> None:
    assert set(draw(100, classes=classes).labels.tolist()) == set(classes)


def test_draw_factors_are_uniform_and_uncorrelated() -> None:
    factors = draw(4_000, factors=4).factors
    quantiles = np.quantile(factors, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    np.testing.assert_allclose(quantiles, np.tile([[-0.9], [-0.5], [0], [0.5], [0.9]], 4), atol=0.06)
    np.testing.assert_allclose(np.corrcoef(factors.T), np.eye(4), atol=0.06)


def test_render_of_drawn_factors_quantised_gives_drawn_images() -> None:
    strokes = draw(200, factors=5, seed=1)
    images = render(strokes.labels, strokes.factors)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    rounding = np.abs(255 * images - strokes.images.astype(np.float32))
    assert rounding.max() < 0.51


def test_render_one_image_does_not_depend_on_its_batch() -> None:
    strokes = draw(64, seed=2)
    alone = np.concatenate([render(strokes.labels[i : i + 1], strokes.factors[i : i + 1]) for i in range(64)])
    np.testing.assert_allclose(alone, render(strokes.labels, strokes.factors), atol=1e-5)


@pytest.mark.parametrize("num_factors", [2, 8, 32])
def test_draw_looks_like_mnist_in_ink_and_margin(num_factors: int) -> None:
    images = draw(1_000, factors=num_factors).images / 255
    assert 0.11 < images.mean() < 0.15  # MNIST: 0.13
    assert (images == 0).mean() > 0.65
    inside = images[:, 3:25, 3:25].sum() / images.sum()
    assert inside > 0.97
    centre = (images.mean(axis=(0, 1)) @ np.arange(28), images.mean(axis=(0, 2)) @ np.arange(28)) / images.mean() / 28
    np.testing.assert_allclose(centre, 13.5, atol=1)


@pytest.mark.parametrize("digit", range(10))
@pytest.mark.parametrize("num_factors", [2, 4, 8, 16, 32])
def test_render_jacobian_has_rank_exactly_k(num_factors: int, digit: int) -> None:
    assert relative_smallest_singular_value(render, digit, num_factors) > 0.01


def test_render_jacobian_of_redundant_factors_is_rank_deficient() -> None:
    def redundant(labels: np.ndarray, factors: np.ndarray) -> np.ndarray:
        return render(labels, factors @ np.array([[1, 0], [1, 0], [0, 1]]) / 2)

    assert relative_smallest_singular_value(redundant, 5, 3) < 0.001


@pytest.mark.parametrize("num_factors", [2, 8, 32])
def test_render_every_single_factor_changes_the_image_visibly(num_factors: int) -> None:
    low, high = np.tile(-0.5 * np.eye(num_factors), (10, 1)), np.tile(0.5 * np.eye(num_factors), (10, 1))
    labels = np.repeat(np.arange(10), num_factors)
    change = np.abs(render(labels, high) - render(labels, low)).reshape(len(labels), -1)
    assert change.max(axis=1).min() > 0.1  # at least one pixel by a tenth of the grey scale
    assert np.linalg.norm(change, axis=1).min() > 0.35


def test_render_larger_change_of_a_factor_changes_the_image_more() -> None:
    factors = np.linspace(-1, 1, 9)[:, None] * np.eye(8)[:, None]  # (8, 9, 8)
    for digit in range(10):
        images = render(np.full(72, digit), factors.reshape(72, 8)).reshape(8, 9, -1)
        distance = np.linalg.norm(images - images[:, :1], axis=2)
        assert (np.diff(distance, axis=1) > 0).all()


def test_draw_eight_factors_digits_are_separable() -> None:
    train, test = draw(2_000, seed=0), draw(500, seed=1)
    means = np.stack([train.images[train.labels == digit].mean(axis=0) for digit in range(10)]).reshape(10, -1)
    distances = ((test.images.reshape(500, 1, -1) - means) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == test.labels).mean() > 0.95


@pytest.mark.parametrize(("num_factors", "digit"), [(2, 0), (2, 1), (4, 8)])
def test_draw_one_class_two_nn_agrees_with_flat_cube(num_factors: int, digit: int) -> None:
    images = draw(2_000, factors=num_factors, classes=[digit]).images.reshape(2_000, -1) / 255
    cube = np.random.default_rng(0).random((2_000, num_factors))
    assert two_nn(images) == pytest.approx(two_nn(cube), rel=0.2)


@pytest.mark.parametrize("num_factors", [0, -1, 49])
def test_draw_bad_factors_raises(num_factors: int) -> None:
    with pytest.raises(ValueError, match=r"`1 <= factors <= 48` must hold, but got factors="):
        draw(10, factors=num_factors)


@pytest.mark.parametrize("num_factors", [0, 49])
def test_render_bad_number_of_factors_raises(num_factors: int) -> None:
    with pytest.raises(ValueError, match=r"`1 <= factors <= 48` must hold, but got factors="):
        render(np.zeros(1, dtype=np.uint8), np.zeros((1, num_factors)))


def test_draw_no_images_raises() -> None:
    with pytest.raises(ValueError, match=r"`1 <= num_images` must hold, but got num_images=0"):
        draw(0)


@pytest.mark.parametrize("classes", [[], [10], [-1, 3]])
def test_draw_bad_classes_raises(classes: list[int]) -> None:
    with pytest.raises(ValueError, match=r"`classes` must be a non-empty subset of 0\.\.9, but got classes="):
        draw(10, classes=classes)


def test_render_mismatched_or_unknown_labels_raises() -> None:
    with pytest.raises(ValueError, match="`labels` and `factors` must match"):
        render(np.zeros(3, dtype=np.uint8), np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"`labels` must be in 0\.\.9"):
        render(np.array([10]), np.zeros((1, 4)))


@pytest.mark.parametrize("side", [16, 64])
@pytest.mark.parametrize("num_factors", [4, 8])
def test_render_on_another_number_of_pixels_has_rank_k_and_looks_the_same(side: int, num_factors: int) -> None:
    def sized(labels: np.ndarray, factors: np.ndarray) -> np.ndarray:
        return render(labels, factors, side)

    assert relative_smallest_singular_value(sized, 0, num_factors) > 0.1
    usual, drawn = (draw(200, factors=num_factors, side=pixels) for pixels in (28, side))
    np.testing.assert_array_equal(usual.factors, drawn.factors)
    assert drawn.images.shape == (200, side, side)
    assert 0.9 < drawn.images.mean() / usual.images.mean() < 2, "on few pixels a line is broader"
