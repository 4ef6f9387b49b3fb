"""Pictures: every mode that a PNG or JPEG comes in, folders of classes and of sets, and what is no picture."""

import io

import numpy as np
import pytest
from PIL import Image

from trainables.errors import DataError
from trainables.images import picture_files
from trainables.images.source import ImageSource

SOURCE = ImageSource(path="x")
GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)


def png(image):
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def grey_palette():
    image = Image.fromarray(255 - GREY).convert("P")
    image.putpalette([255 - i // 3 for i in range(768)])  # inverted: the index is not the grey
    return image


def transparent(mode, alpha):
    image = Image.fromarray(GREY).convert(mode)
    image.putalpha(Image.fromarray(alpha))
    return image


OPAQUE, HALF = np.full((4, 6), 255, np.uint8), np.repeat(np.array([[0], [255], [255], [255]], np.uint8), 6, axis=1)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(GREY), GREY),
        (Image.fromarray(GREY).convert("RGB"), GREY),
        (grey_palette(), GREY),
        (transparent("L", OPAQUE), GREY),
        (transparent("RGB", OPAQUE), GREY),
        (transparent("L", HALF), np.concatenate([np.full((1, 6), 255), GREY[1:]])),
        (Image.fromarray(GREY > 100), 255 * (GREY > 100)),
        (Image.fromarray(GREY.astype(np.uint16) * 257), GREY.astype(int) * 257),
    ],
    ids=["grey", "grey as colour", "grey palette", "grey alpha", "alpha", "transparent on white", "1 bit", "16 bits"],
)
def test_decode_gives_the_grey_values_of_every_mode(image, expected):
    found = picture_files.decode("a.png", png(image), SOURCE)
    assert found.shape == (4, 6, 1)
    np.testing.assert_array_equal(found[..., 0], expected)


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_decode_keeps_colours(mode):
    colour = np.zeros((2, 3, 3), np.uint8)
    colour[0, :, 0], colour[1, :, 2] = 255, 255
    found = picture_files.decode("a.png", png(Image.fromarray(colour).convert(mode)), SOURCE)
    np.testing.assert_array_equal(found, colour)
    assert picture_files.decode("a.png", png(Image.fromarray(colour)), ImageSource(path="x", grey=True)).shape == (
        2,
        3,
        1,
    )


def test_decode_of_a_jpeg_of_print_colours_turned_by_its_camera():
    content = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    Image.new("CMYK", (30, 20), (0, 255, 255, 0)).save(content, "JPEG", exif=exif)
    found = picture_files.decode("a.jpg", content.getvalue(), SOURCE)
    assert found.shape == (30, 20, 3) and found[..., 0].mean() > 200 > 60 > found[..., 1:].mean()


def test_decode_brings_pictures_to_a_size_those_of_16_bits_too():
    for image in (Image.fromarray(GREY), Image.fromarray(GREY.astype(np.uint16))):
        assert picture_files.decode("a.png", png(image), ImageSource(path="x", size=3)).shape == (3, 3, 1)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", png(Image.fromarray(GREY))[:60], png(Image.fromarray(GREY)).replace(b"IDAT", b"JDAT")],
    ids=["empty", "a web page", "cut short", "damaged"],
)
def test_decode_of_what_is_no_picture_names_it_in_one_line(content):
    with pytest.raises(DataError, match=r"^here/a\.png cannot be read as a picture: [^\n]+\.$"):
        picture_files.decode("here/a.png", content, SOURCE)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def shade(value, size=(6, 4), mode="L"):
    return Image.new(mode, size, value if mode == "L" else (value, 0, 0))


def test_read_folder_of_pictures_alone_has_no_labels(tmp_path):
    for value in (10, 20, 30):
        save(tmp_path / f"{value}.png", shade(value))
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("mine")
    (part,) = picture_files.read_folder(tmp_path, SOURCE).values()
    assert part.images[:, 0, 0, 0].tolist() == [10, 20, 30] and part.labels is None


def test_read_folder_of_folders_takes_each_for_a_class_however_deep_its_pictures_lie(tmp_path):
    save(tmp_path / "cat" / "a.png", shade(10))
    save(tmp_path / "dog" / "young" / "b.JPG", shade(20))
    (tmp_path / "empty").mkdir()
    (part,) = picture_files.read_folder(tmp_path, SOURCE).values()
    assert part.labels.tolist() == ["cat", "dog"]


def test_read_folder_of_train_and_test_are_sets_and_a_class_may_be_called_so_alone(tmp_path):
    for split in ("train", "test", "valid"):
        save(tmp_path / split / "cat" / "a.png", shade(len(split)))
    parts = picture_files.read_folder(tmp_path, SOURCE)
    assert set(parts) == {"train", "test", "val"} and parts["test"].images[0, 0, 0, 0] == 4
    save(tmp_path / "other" / "a.png", shade(9))
    assert set(picture_files.read_folder(tmp_path, SOURCE)) == {"train"}


def test_read_folder_of_grey_and_colour_is_colour(tmp_path):
    save(tmp_path / "a.png", shade(10))
    save(tmp_path / "b.png", shade(20, mode="RGB"))
    (part,) = picture_files.read_folder(tmp_path, SOURCE).values()
    assert part.images[:, 0, 0].tolist() == [[10, 10, 10], [20, 0, 0]]


def test_read_folder_of_several_sizes_names_two_and_the_option_that_helps(tmp_path):
    save(tmp_path / "a.png", shade(10))
    save(tmp_path / "b.png", shade(20, size=(7, 4)))
    with pytest.raises(DataError, match=r"b\.png must have the size of .*a\.png, 4 x 6 pixels, but has 4 x 7: --size"):
        picture_files.read_folder(tmp_path, SOURCE)
    (part,) = picture_files.read_folder(tmp_path, ImageSource(path="x", size=5)).values()
    assert part.images.shape == (2, 5, 5, 1)


def test_read_folder_without_pictures_or_with_both_kinds_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"must hold pictures \(\.bmp, .*\), but holds none"):
        picture_files.read_folder(tmp_path, SOURCE)
    save(tmp_path / "cat" / "a.png", shade(10))
    save(tmp_path / "b.png", shade(10))
    with pytest.raises(DataError, match=r"must hold pictures, or folders of them.*both: b\.png beside cat/"):
        picture_files.read_folder(tmp_path, SOURCE)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00001.parquet", "train"),
        ("test.csv", "test"),
        ("validation-0.parquet", "val"),
        ("Valid.csv", "val"),
        ("flowers.csv", "train"),
    ],
)
def test_split_of_a_files_name(name, split):
    assert picture_files.split_of(name) == split
