"""Pictures: every mode that a PNG or JPEG comes in, folders of classes and of sets, and what is no picture."""

import io
from pathlib import Path

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
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no picture")
    parts = picture_files.read_folder(tmp_path, SOURCE)
    assert set(parts) == {"train", "test", "val"} and parts["test"].images[0, 0, 0, 0] == 4
    save(tmp_path / "apart" / "test" / "a.png", shade(9))
    save(tmp_path / "apart" / "cat" / "a.png", shade(8))
    (part,) = picture_files.read_folder(tmp_path / "apart", SOURCE).values()
    assert part.labels.tolist() == ["cat", "test"]


def test_read_folder_of_training_and_testing_are_sets(tmp_path):
    for split in ("training", "testing"):
        save(tmp_path / split / "7" / "a.png", shade(len(split)))
    assert set(picture_files.read_folder(tmp_path, SOURCE)) == {"train", "test"}


def test_read_folder_of_sets_with_longer_names_are_sets_and_no_test_image_trains(tmp_path):
    for split in ("train", "test"):
        for value, label in enumerate(("cat", "dog")):
            save(tmp_path / f"seg_{split}" / f"seg_{split}" / label / "a.png", shade(len(split) + value))
    parts = picture_files.read_folder(tmp_path, SOURCE)
    assert {name: part.images[:, 0, 0, 0].tolist() for name, part in parts.items()} == {"train": [5, 6], "test": [4, 5]}
    assert parts["test"].labels.tolist() == ["cat", "dog"]


@pytest.mark.parametrize("classes", [["freight-train", "bullet-train"], ["test-tube", "flask"], ["train-car", "car"]])
def test_read_folder_of_classes_with_a_sets_word_in_their_names_are_classes(tmp_path, classes):
    for value, name in enumerate(classes):
        save(tmp_path / name / "a.png", shade(value))
    (part,) = picture_files.read_folder(tmp_path, SOURCE).values()
    assert part.labels.tolist() == sorted(classes)


@pytest.mark.parametrize("beside", ["masks/a.png", "a.png", "training/a.png"])
def test_read_folder_of_sets_and_other_pictures_is_refused_and_no_test_image_trains(tmp_path, beside):
    for split in ("train", "test"):
        save(tmp_path / split / "cat" / "a.png", shade(len(split)))
    save(tmp_path / beside, shade(9))
    with pytest.raises(DataError, match=rf"must hold one folder of each set.* but holds .*{beside.split('/')[0]}"):
        picture_files.read_folder(tmp_path, SOURCE)


@pytest.mark.parametrize("outer", ["flowers", "train", "test", "data/train"])
def test_read_folder_of_one_folder_alone_is_that_one(tmp_path, outer):
    save(tmp_path / outer / "cat" / "a.png", shade(1))
    save(tmp_path / outer / "dog" / "b.png", shade(2))
    (part,) = picture_files.read_folder(tmp_path, SOURCE).values()
    assert part.labels.tolist() == ["cat", "dog"]


def test_read_folder_of_one_folder_that_is_called_like_a_set_has_no_class_of_that_name(tmp_path):
    save(tmp_path / "train" / "a.png", shade(1))
    assert picture_files.read_folder(tmp_path, SOURCE)["train"].labels is None
    save(tmp_path / "other" / "mouse" / "a.png", shade(1))
    assert picture_files.read_folder(tmp_path / "other", SOURCE)["train"].labels.tolist() == ["mouse"]


def test_read_folder_leaves_hidden_pictures_out_however_deep_they_lie(tmp_path):
    for name in ("cat/a.png", "dog/b.png", "cat/.ipynb_checkpoints/a.png", "dog/__MACOSX/b.png", "dog/.thumbs/x/b.png"):
        save(tmp_path / name, shade(10))
    (part,) = picture_files.read_folder(tmp_path, SOURCE).values()
    assert part.labels.tolist() == ["cat", "dog"]


def test_read_folder_follows_links_and_names_one_that_leads_nowhere(tmp_path):
    save(tmp_path / "elsewhere" / "young" / "a.png", shade(10))
    save(tmp_path / "mine" / "dog" / "b.png", shade(20))
    (tmp_path / "mine" / "cat").symlink_to(tmp_path / "elsewhere")
    (part,) = picture_files.read_folder(tmp_path / "mine", SOURCE).values()
    assert part.labels.tolist() == ["cat", "dog"]
    (tmp_path / "mine" / "dog" / "c.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"c\.png cannot be read as a picture: .*No such file"):
        picture_files.read_folder(tmp_path / "mine", SOURCE)


@pytest.mark.parametrize(("ending", "count"), [("tif", 3), ("png", 3), ("webp", 3)])
def test_decode_of_several_pictures_in_one_file_is_refused(tmp_path, ending, count):
    pages = [shade(50 * page) for page in range(1, count + 1)]
    pages[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=rf"a\.{ending} must hold one picture, but holds {count}"):
        picture_files.decode(f"a.{ending}", tmp_path / f"a.{ending}", SOURCE)


def test_decode_of_a_cameras_jpeg_with_a_preview_takes_the_picture(tmp_path):
    shade(200).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[shade(100)])
    assert abs(int(picture_files.decode("a.jpg", tmp_path / "a.jpg", SOURCE)[0, 0, 0]) - 200) < 3


@pytest.mark.parametrize("values", [GREY / np.float32(240), GREY.astype(np.int32) * 1000 - 9])
def test_decode_keeps_floats_and_wide_integers_of_a_tif(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "a.tif")
    found = picture_files.decode("a.tif", tmp_path / "a.tif", SOURCE)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found[..., 0], values)


def test_read_folder_of_8_and_16_bits_is_refused_for_they_have_no_common_white(tmp_path):
    save(tmp_path / "a.png", shade(10))
    save(tmp_path / "b.png", Image.fromarray(GREY.astype(np.uint16) * 257))
    with pytest.raises(
        DataError, match=r"b\.png must have values of .*a\.png's kind, 8 bits, but has more than 8 bits"
    ):
        picture_files.read_folder(tmp_path, SOURCE)


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
        ("default/test/0000.parquet", "test"),
        ("test/flowers/0000.parquet", "train"),
        ("mnist_train.csv", "train"),
        ("fashion-mnist_test.csv", "test"),
        ("emnist-letters-validation.csv", "val"),
        ("testset.csv", "test"),
        ("test2.csv", "test"),
        ("valerian.csv", "train"),
        ("testimony.csv", "train"),
        ("contest/0000.parquet", "train"),
    ],
)
def test_split_of_a_file_by_its_name_or_folder(name, split):
    assert picture_files.split_of(Path(name)) == split


def test_split_of_a_file_whose_name_has_two_sets_is_refused():
    with pytest.raises(DataError, match=r"train_and_test\.csv must be called after one set, .* test and train"):
        picture_files.split_of(Path("train_and_test.csv"))
