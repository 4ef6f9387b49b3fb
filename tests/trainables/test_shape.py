"""Shapes and sizes in words and numbers."""

import pytest

from trainables.shape import MNIST, WIDE, Shape, Size, most_components


def test_shape_counts_its_values_and_reads_as_words():
    assert (MNIST.pixels, str(MNIST)) == (784, "28 x 28 grey")
    assert (Shape(200, 300, 3).pixels, str(Shape(200, 300, 3))) == (180_000, "200 x 300 colour")


def test_size_is_mnists_unless_it_is_given():
    assert Size() == Size(MNIST, 55_000, 5_000, 10_000)


@pytest.mark.parametrize(
    ("images", "pixels", "most"),
    [(55_000, 784, 784), (10, 784, 784), (10, WIDE + 1, 9), (WIDE + 1, WIDE + 1, WIDE + 1)],
)
def test_most_components_is_one_a_pixel_but_of_few_and_large_images(images, pixels, most):
    assert most_components(images, pixels) == most
