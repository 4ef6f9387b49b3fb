"""Pictures made of images: of several shapes at once, grey and in colour, light on black and not."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from analysis.figures.mosaics import canvas, plot_mosaic, slot
from trainables.shape import Shape


def frame(*images: np.ndarray) -> pd.DataFrame:
    shapes = [json.dumps([*image.shape, 1][:3]) for image in images]
    return pd.DataFrame({"shape": shapes, "pixels": [image.astype(np.uint8).tobytes() for image in images]})


DIGIT = np.array([[0, 0, 0], [0, 250, 0], [0, 0, 0]])
PHOTO = np.array([[90, 120, 200], [60, 70, 80]])
COLOUR = np.arange(12).reshape(2, 2, 3) * 20


def test_canvas_draws_light_on_black_dark_on_white_and_a_photograph_as_it_is():
    digit = canvas(frame(DIGIT, DIGIT), [(0, 0), (0, 4)])
    np.testing.assert_array_equal(digit[:, :3], 255 - DIGIT)
    np.testing.assert_array_equal(digit[:, 4:], 255 - DIGIT)
    assert (digit[:, 3] == 255).all()
    np.testing.assert_array_equal(canvas(frame(PHOTO), [(0, 0)]), PHOTO)


def test_canvas_of_a_colour_has_colours_and_greys_beside_it():
    picture = canvas(frame(COLOUR, PHOTO), [(0, 0), (2, 0)])
    np.testing.assert_array_equal(picture[:2, :2], COLOUR)
    np.testing.assert_array_equal(picture[2:, :3], np.repeat(PHOTO[..., None], 3, axis=2))
    assert (picture[:2, 2] == 255).all()


def test_canvas_enlarges_small_images_by_whole_numbers_to_the_room_of_the_largest():
    small, large = np.array([[200, 100]]), np.full((5, 7), 120)
    images = frame(small, large)
    assert slot(images) == Shape(5, 7, 1)
    picture = canvas(images, [(0, 0), (0, 8)])
    np.testing.assert_array_equal(picture[:3, :6], np.repeat([[200] * 3 + [100] * 3], 3, axis=0))
    assert (picture[3:, :8] == 255).all() and (picture[:, 8:] == 120).all()


def test_mosaic_of_any_shape_has_images_of_the_same_size_on_paper():
    sizes = []
    for image in (np.zeros((28, 28)), np.zeros((8, 8)), np.zeros((200, 200, 3))):
        rows = pd.concat([frame(image, image)] * 2, ignore_index=True)
        labels = {"row": [0, 0, 1, 1], "group": [0, 0, 1, 1], "label": "elu", "test_nll_mean": 100.0}
        figure = plot_mosaic(rows.assign(**labels)).figure
        sizes.append(figure.get_size_inches())
    np.testing.assert_allclose(sizes[1:], [sizes[0]] * 2, rtol=0.1)
