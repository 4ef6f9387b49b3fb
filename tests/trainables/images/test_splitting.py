"""The split by content: its shares, its independence of order, and what it refuses."""

import numpy as np
import pytest

from trainables.errors import DataError
from trainables.images.splitting import Part, by_content


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 4, 1), dtype=np.uint8)


def sizes(parts: dict[str, Part]) -> dict[str, int]:
    return {name: len(part.images) for name, part in parts.items()}


def test_by_content_of_one_set_takes_a_seventh_to_test_and_a_twelfth_of_the_rest_to_validate():
    assert sizes(by_content({"train": Part(images(840))}, "here")) == {"train": 660, "val": 60, "test": 120}


def test_by_content_does_not_depend_on_the_order_and_keeps_each_images_label():
    given, order = images(200), np.random.default_rng(1).permutation(200)
    labels = given[:, 0, 0, 0]
    one = by_content({"train": Part(given, labels)}, "here")
    other = by_content({"train": Part(given[order], labels[order])}, "here")
    for name in ("train", "val", "test"):
        np.testing.assert_array_equal(one[name].images, other[name].images)
        np.testing.assert_array_equal(one[name].labels, one[name].images[:, 0, 0, 0])
        np.testing.assert_array_equal(one[name].labels, other[name].labels)


def test_by_content_one_image_more_moves_few_others():
    given = images(500)
    before, after = (by_content({"train": Part(part)}, "here")["test"].images for part in (given[1:], given))
    kept = {image.tobytes() for image in before} & {image.tobytes() for image in after}
    assert len(kept) >= len(before) - 1


def test_by_content_equal_images_stay_in_one_split():
    given = np.concatenate([images(60)] * 3)
    parts = by_content({"train": Part(given)}, "here")
    found = [{image.tobytes() for image in part.images} for part in parts.values()]
    assert sum(map(len, found)) == 60 == len(set().union(*found)) and sum(sizes(parts).values()) == 180


def test_by_content_given_sets_stay_as_they_are_but_for_those_who_validate():
    parts = by_content({"train": Part(images(120)), "test": Part(images(7, seed=1))}, "here")
    assert sizes(parts) == {"train": 110, "val": 10, "test": 7}
    parts = by_content({"train": Part(images(120)), "test": Part(images(7, 1)), "val": Part(images(5, 2))}, "here")
    assert sizes(parts) == {"train": 120, "val": 5, "test": 7}


def test_by_content_three_images_are_the_fewest():
    assert sizes(by_content({"train": Part(images(3))}, "here")) == {"train": 1, "val": 1, "test": 1}
    for given in (images(2), images(1), np.concatenate([images(1)] * 50)):
        with pytest.raises(DataError, match=r"here must hold 3 different images or more, .* but holds [12]"):
            by_content({"train": Part(given)}, "here")


def test_by_content_an_image_in_two_sets_is_refused_with_their_names_and_the_number():
    given = images(50)
    with pytest.raises(DataError, match=r"here: the training and the test set must have no image in common.*share 2"):
        by_content({"train": Part(given), "test": Part(given[:2])}, "here")
