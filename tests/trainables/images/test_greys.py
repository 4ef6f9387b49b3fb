"""Values: what is taken for white, what is refused, and the size and colour that pictures are brought to."""

import numpy as np
import pytest

from trainables.errors import DataError
from trainables.images import greys


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 4, 6), (5, 4, 6, 1)),
        ((5, 4, 6, 3), (5, 4, 6, 3)),
        ((5, 3, 4, 6), (5, 4, 6, 3)),
        ((5, 1, 4, 6), (5, 4, 6, 1)),
        ((5, 49), (5, 7, 7, 1)),
        ((5, 1, 1), (5, 1, 1, 1)),
    ],
    ids=["grey", "colour", "channels first", "one channel first", "rows", "one pixel"],
)
def test_as_images_takes_each_usual_form(shape, expected):
    assert greys.as_images(np.zeros(shape), "here").shape == expected


@pytest.mark.parametrize("shape", [(5,), (5, 50), (5, 4, 6, 2), (5, 4, 6, 7), (0, 4, 6), (5, 0, 6), (1, 2, 3, 4, 5)])
def test_as_images_of_another_form_raises_with_the_shape(shape):
    with pytest.raises(DataError, match=r"here: images must be an array .* but its shape is \("):
        greys.as_images(np.zeros(shape), "here")


@pytest.mark.parametrize(
    ("values", "white", "expected"),
    [
        (np.array([0, 0.5, 1]), None, 1),
        (np.array([0, 0.5, 0.7], np.float32), None, 1),
        (np.array([0, 128], np.uint8), None, 255),
        (np.array([0, 255], np.int64), None, 255),
        (np.array([False, True]), None, 1),
        (np.array([0, 16]), 16, 16),
        (np.array([0, 65535], np.uint16), 65535, 65535),
        (np.array([0.0, 255.0]), 255, 255),
        (np.array([0, 100], np.uint8), 255, 255),
    ],
)
def test_white_of_values_that_say_it_or_have_it_said(values, white, expected):
    assert greys.white_of({"train": values}, white, "here") == expected


@pytest.mark.parametrize(
    ("values", "white", "message"),
    [
        (np.array([0, np.nan]), None, "must be finite, but NaN"),
        (np.array([0, np.inf]), 3, "must be finite"),
        (np.array([-1.0, 1.0]), None, r"must be 0 \(black\) or more, but the least is -1"),
        (np.array([-1, 255]), None, "or more, but the least is -1"),
        (np.array([0.0, 255.0]), None, r"floats must lie in \[0, 1\], but the largest is 255.*--white 255"),
        (np.array([0, 1]), None, "integers must go up to 128 .* the largest is 1. Say what white is: --white 1,"),
        (np.array([0, 127], np.uint8), None, "--white 127"),
        (np.array([0, 256]), None, "--white 256"),
        (np.array([0.0, 65535.0]), None, "--white 65535,"),
        (np.array([0, 16_777_215]), None, "--white 16777215,"),
        (np.array([0, 0]), None, "--white 255,"),
        (np.array([0, 17]), 16, "at most white, 16, but the largest is 17"),
        (np.array(["0", "1"]), None, "must be numbers, but are <U1"),
        (np.array([0, 1j]), None, "must be numbers"),
    ],
)
def test_white_of_other_values_raises_with_the_value_and_the_remedy(values, white, message):
    with pytest.raises(DataError, match=f"^here: .*{message}"):
        greys.white_of({"train": values}, white, "here")


def test_white_of_takes_all_sets_together():
    assert greys.white_of({"train": np.array([0, 255]), "test": np.array([0, 3])}, None, "here") == 255


def test_white_of_integers_and_floats_together_is_refused_for_they_have_no_common_white():
    with pytest.raises(DataError, match=r"of all sets must be integers, .* but are uint8 and float64"):
        greys.white_of({"train": np.array([255], np.uint8), "test": np.array([1.0])}, 255, "here")


def test_to_bytes_scales_and_rounds_and_leaves_bytes_alone():
    assert greys.to_bytes(np.arange(17), 16).tolist() == [round(255 * i / 16) for i in range(17)]
    assert greys.to_bytes(np.array([0, 0.5, 1]), 1).tolist() == [0, 128, 255]
    bytes_ = np.array([0, 7, 255], np.uint8)
    assert greys.to_bytes(bytes_, 255) is bytes_


def test_fitted_crops_the_middle_square_and_scales_it():
    image = np.zeros((1, 4, 8, 1), np.uint8)
    image[:, :, 2:6] = 200  # the middle square; the rest is cut off
    assert greys.fitted(image, 2, grey=False).tolist() == np.full((1, 2, 2, 1), 200).tolist()
    assert greys.fitted(image, 9, grey=False).shape == (1, 9, 9, 1)
    assert greys.fitted(image, None, grey=True) is image


def test_fitted_to_grey_weighs_colours_as_eyes_do():
    colours = np.zeros((3, 1, 1, 3), np.uint8)
    colours[range(3), 0, 0, range(3)] = 255
    grey = greys.fitted(colours, None, grey=True)
    assert grey.shape == (3, 1, 1, 1) and grey.flatten().tolist() == [76, 150, 29]
