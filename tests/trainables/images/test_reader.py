"""One data set in every kind of file is the same data set; each kind of damage is one line that names the file."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trainables import datasets
from trainables.errors import DataError
from trainables.images.reader import read
from trainables.images.source import ImageSource
from trainables.schema import CONTENT
from trainables.shape import Shape

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 5, 5), dtype=np.uint8)
LABELS = np.arange(60) % 3


def write_npz(folder):
    np.savez(folder / "a.npz", images=IMAGES, labels=LABELS)
    return folder / "a.npz"


def write_floats(folder):
    np.savez(folder / "a.npz", images=(IMAGES / 255).astype(np.float32), labels=LABELS[:, None])
    return folder / "a.npz"


def write_words(folder):
    np.savez(folder / "a.npz", images=IMAGES[..., None], labels=np.array(["cat", "dog", "owl"])[LABELS])
    return folder / "a.npz"


def write_csv(folder):
    frame = pd.DataFrame(IMAGES.reshape(60, 25)).assign(label=LABELS)
    frame.sample(frac=1, random_state=1).to_csv(folder / "a.csv", index=False)
    return folder / "a.csv"


def write_pictures(folder):
    for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (folder / "a" / f"{label + 8}").mkdir(parents=True, exist_ok=True)  # "8", "9", "10": by number, not by letter
        Image.fromarray(image).save(folder / "a" / f"{label + 8}" / f"{97 * index % 60}.png")
    return folder / "a"


def write_parquet(folder):
    def png(image):
        content = io.BytesIO()
        Image.fromarray(image).convert("RGB").save(content, "PNG")
        return {"bytes": content.getvalue(), "path": None}

    (folder / "a").mkdir()
    for part in range(2):
        rows = slice(part, None, 2)
        table = pa.table({"image": list(map(png, IMAGES[rows])), "label": LABELS[rows]})
        pq.write_table(table, folder / "a" / f"train-0000{part}-of-00002.parquet")
    return folder / "a"


@pytest.mark.parametrize("write", [write_npz, write_floats, write_words, write_csv, write_pictures, write_parquet])
def test_load_of_any_kind_of_file_is_one_dataset(tmp_path, write):
    (tmp_path / "other").mkdir()
    expected = datasets.load("one", ImageSource(path=str(write_npz(tmp_path / "other"))))
    found = datasets.load("mine", ImageSource(path=str(write(tmp_path))))
    assert (found.name, found.digest, found.shape) == ("mine", expected.digest, Shape(5, 5))
    assert found.digest.startswith(CONTENT)
    assert [len(found.images[part]) for part in datasets.SPLITS] == [47, 4, 9]
    for part in datasets.SPLITS:
        np.testing.assert_array_equal(found.images[part], expected.images[part])
        np.testing.assert_array_equal(found.labels[part], expected.labels[part])


def test_load_other_content_labels_or_shape_has_another_digest(tmp_path):
    path = tmp_path / "a.npz"

    def digest(**arrays):
        np.savez(path, **arrays)
        return datasets.load("a", ImageSource(path=str(path))).digest

    changed = IMAGES.copy()
    changed[0, 0, 0] ^= 1
    digests = [
        digest(images=IMAGES, labels=LABELS),
        digest(images=changed, labels=LABELS),
        digest(images=IMAGES, labels=LABELS[::-1]),
        digest(images=IMAGES),
        digest(images=IMAGES.reshape(60, 1, 25)),
    ]
    assert len(set(digests)) == len(digests)


def test_load_of_pictures_made_of_the_built_in_digits_gives_the_built_in_digits(tmp_path):
    digits = datasets.load("digits")
    count = 0
    for part in datasets.SPLITS:
        for image, label in zip(digits.images[part], digits.labels[part], strict=True):
            (tmp_path / str(label)).mkdir(exist_ok=True)
            Image.fromarray(image.reshape(8, 8)).save(tmp_path / str(label) / f"{count}.png")
            count += 1
    mine = datasets.load("mine", ImageSource(path=str(tmp_path)))
    assert count == 1797 and mine.shape == Shape(8, 8)
    for part in datasets.SPLITS:
        np.testing.assert_array_equal(mine.images[part], digits.images[part])
        np.testing.assert_array_equal(mine.labels[part], digits.labels[part])


def test_load_of_large_colour_pictures_without_classes(tmp_path):
    for index in range(4):
        Image.fromarray(RNG.integers(0, 256, (200, 300, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    whole = datasets.load("mine", ImageSource(path=str(tmp_path)))
    assert (whole.shape, whole.labels) == (Shape(200, 300, 3), {})
    assert "2 train" not in whole.description and "200 x 300 colour, no labels" in whole.description
    small = datasets.load("mine", ImageSource(path=str(tmp_path), size=16, grey=True))
    assert small.shape == Shape(16, 16) and small.images["train"].shape == (2, 256)


def test_load_of_one_pixel_and_one_class(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.arange(256, dtype=np.uint8)[:, None, None], labels=np.full(256, 7))
    mine = datasets.load("mine", ImageSource(path=str(tmp_path / "a.npz")))
    assert mine.shape == Shape(1, 1) and "1 x 1 grey, 1 class;" in mine.description


def test_load_real_fashion_mnist_by_its_path_is_all_of_it(fashion_mnist):
    mine = datasets.load("mine", ImageSource(path=str(fashion_mnist)))
    ours = datasets.load("fashion_mnist")
    assert [len(mine.images[part]) for part in datasets.SPLITS] == [55_000, 5_000, 10_000]
    assert sorted(image.tobytes() for image in mine.images["test"]) == sorted(
        image.tobytes() for image in ours.images["test"]
    )
    assert np.bincount(mine.labels["test"]).tolist() == [1_000] * 10


def damaged(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


BAD = {
    "absent": (lambda folder: folder / "a.npz", r"a\.npz cannot be read: there is no such file or folder"),
    "another ending": (lambda folder: damaged(folder, "a.mat", b"x"), r"a\.mat must end in \.npz, .*, or be a folder"),
    "empty folder": (lambda folder: folder, "must hold pictures"),
    "empty npz": (lambda folder: damaged(folder, "a.npz", b""), r"a\.npz cannot be read: File is not a zip file"),
    "cut npz": (lambda folder: damaged(folder, "a.npz", write_npz(folder).read_bytes()[:-30]), "cannot be read"),
    "no npy": (lambda folder: damaged(folder, "a.npy", b"x" * 99), r"a\.npy cannot be read"),
    "empty csv": (lambda folder: damaged(folder, "a.csv", b""), r"a\.csv cannot be read: No columns"),
    "csv in UTF-16": (lambda folder: damaged(folder, "a.csv", "label,p\n".encode("utf-16")), r"a\.csv cannot be read"),
    "no parquet": (lambda folder: damaged(folder, "a.parquet", b"PAR1"), r"a\.parquet cannot be read"),
    "a web page for a .gz": (
        lambda folder: damaged(folder, "train-images-idx3-ubyte.gz", b"<html>").parent,
        "cannot be read: Not a gzipped file",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=list(BAD))
def test_read_what_cannot_be_read_raises_one_line_that_names_the_file(tmp_path, make, message):
    with pytest.raises(DataError, match=message) as caught:
        read(ImageSource(path=str(make(tmp_path))))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES[:1]}, "must hold 3 different images or more"),
        ({"images": IMAGES, "labels": LABELS[:-1]}, r"one for each of the 60 images, but their shape is \(59,\)"),
        ({"images": IMAGES, "labels": np.eye(3)[LABELS]}, r"their shape is \(60, 3\)"),
        ({"images": IMAGES, "labels": LABELS + 0.5}, "must name classes, but some are fractions, such as 0.5"),
        ({"images": IMAGES, "labels": np.where(LABELS, LABELS, np.nan)}, "a label or none, but 20 have none"),
        ({"images": np.array([{}] * 3)}, "cannot be read: Object arrays cannot be loaded"),
        ({"images": IMAGES, "labels": LABELS.astype(object)}, ", labels cannot be read: Object arrays"),
        ({"x_train": IMAGES, "x_test": IMAGES[:, :4]}, "one shape, but have"),
        ({"x_train": IMAGES, "x_test": IMAGES[:3]}, "no image in common, but they share 3"),
        ({"x_train": IMAGES / 255, "x_test": IMAGES - 1.0}, "least is -1"),
        ({"images": IMAGES // 16}, "--white 15"),
    ],
)
def test_read_arrays_that_break_a_rule_raises_it_with_the_value(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=rf"^{tmp_path}/a\.npz\b.*{message}"):
        read(ImageSource(path=str(tmp_path / "a.npz")))


@pytest.mark.parametrize(
    ("names", "numbers"), [([b"owl", b"cat", b"dog"], [2, 0, 1]), (["2", "1" * 30, "03"], [0, 2, 1])]
)
def test_read_numbers_classes_by_names_that_are_bytes_or_long_numbers(tmp_path, names, numbers):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=np.array(names)[LABELS])
    parts, _ = read(ImageSource(path=str(tmp_path / "a.npz")))
    expected = {image.tobytes(): numbers[label] for image, label in zip(IMAGES, LABELS, strict=True)}
    for part in parts.values():
        assert part.labels.tolist() == [expected[image.tobytes()] for image in part.images]


def test_read_labels_that_are_lists_are_refused(tmp_path):
    folder = write_parquet(tmp_path)
    for path in folder.iterdir():
        table = pq.read_table(path)
        pq.write_table(table.set_column(1, "label", pa.array([[1, 2]] * len(table))), path)
    with pytest.raises(DataError, match=r"a label must be one number or name, but one is \[1 2\]"):
        read(ImageSource(path=str(folder)))


def test_read_labels_alone_says_so(tmp_path):
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 5]))
    with pytest.raises(DataError, match="must hold images to train on, but holds labels alone"):
        read(ImageSource(path=str(tmp_path)))


def test_read_tables_beside_hidden_pictures_and_of_endings_in_any_case(tmp_path):
    as_csv(tmp_path, {"train": IMAGES[:40], "test": IMAGES[40:]}, 1)
    (tmp_path / "test.csv").rename(tmp_path / "test.CSV")
    Image.fromarray(IMAGES[0]).save(tmp_path / ".preview.png")
    parts, _ = read(ImageSource(path=str(tmp_path)))
    assert len(parts["test"].images) == 20


def test_read_parquet_beside_a_csv_about_it_takes_the_parquet(tmp_path):
    folder = write_parquet(tmp_path)
    (folder / "about.csv").write_text("file,label\na,1\n")
    assert sum(len(part.images) for part in read(ImageSource(path=str(folder)))[0].values()) == 60


def test_read_with_white_said_takes_values_up_to_it(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES // 16)
    parts, _ = read(ImageSource(path=str(tmp_path / "a.npz"), white=15))
    assert max(part.images.max() for part in parts.values()) == 255


def test_read_a_file_that_the_user_may_not_open_says_so(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "a.npz"))

    monkeypatch.setattr("trainables.images.arrays.read_npz", refuse)
    write_npz(tmp_path)
    with pytest.raises(DataError, match=r"a\.npz cannot be read: Permission denied\.$"):
        read(ImageSource(path=str(tmp_path / "a.npz")))


def test_read_what_memory_does_not_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("trainables.images.source.MEMORY_SHARE", 1e-8)
    with pytest.raises(DataError, match=r"a\.npz: images must take less than .* of memory"):
        read(ImageSource(path=str(write_npz(tmp_path))))


def test_read_pictures_beside_a_csv_about_them_takes_the_pictures(tmp_path):
    folder = write_pictures(tmp_path)
    (folder / "labels.csv").write_text("file,label\na.png,1\n")
    assert sum(len(part.images) for part in read(ImageSource(path=str(folder)))[0].values()) == 60


def test_read_of_a_url_says_to_copy_it():
    with pytest.raises(DataError, match=r"s3://bucket/a\.npz must be a path on the machine that launches"):
        read(ImageSource(path="s3://bucket/a.npz"))


def as_npz(folder, sets, labels):
    named = {f"x_{name}": images for name, images in sets.items()}
    given = {f"y_{name}": np.full(len(images), labels) for name, images in sets.items() if labels is not None}
    np.savez(folder / "a.npz", **named, **given)
    return folder / "a.npz"


def as_npy(folder, sets, labels):
    np.save(folder / "a.npy", sets["train"])
    return folder / "a.npy"


def as_csv(folder, sets, labels):
    for name, images in sets.items():
        frame = pd.DataFrame(images.reshape(len(images), -1))
        (frame if labels is None else frame.assign(label=labels)).to_csv(folder / f"{name}.csv", index=False)
    return folder


def as_idx(folder, sets, labels):
    def write(name, array):
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        (folder / name).write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())

    for name, images in sets.items():
        write(f"{name}-images-idx3-ubyte", images)
        if labels is not None:
            write(f"{name}-labels-idx1-ubyte", np.full(len(images), 7))
    return folder


def as_pictures(folder, sets, labels):
    for name, images in sets.items():
        path = (folder / name if len(sets) > 1 else folder) / (labels or "")
        path.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            Image.fromarray(image).save(path / f"{index}.png")
    return folder


def as_parquet(folder, sets, labels):
    for name, images in sets.items():
        contents = [io.BytesIO() for _ in images]
        for image, content in zip(images, contents, strict=True):
            Image.fromarray(image).save(content, "PNG")
        columns = {"image": [{"bytes": content.getvalue(), "path": None} for content in contents]}
        given = {} if labels is None else {"label": [labels] * len(images)}
        pq.write_table(pa.table(columns | given), folder / f"{name}-00000-of-00001.parquet")
    return folder


KINDS = {"npz": as_npz, "npy": as_npy, "csv": as_csv, "IDX": as_idx, "pictures": as_pictures, "parquet": as_parquet}
every_kind = pytest.mark.parametrize("kind", KINDS)


def written(kind, folder, train, test=None, labels=None):
    """The source of a data set in files of a kind; all its images have one label, or none."""
    sets = {"train": train} | ({} if test is None else {"test": test})
    return ImageSource(path=str(KINDS[kind](folder, sets, labels)))


@every_kind
def test_one_image_is_refused_in_each_kind_of_file(tmp_path, kind):
    with pytest.raises(DataError, match=r"must hold 3 different images or more, .* but holds 1"):
        read(written(kind, tmp_path, IMAGES[:1]))


@every_kind
def test_one_pixel_of_one_class_that_is_a_word_is_read_from_each_kind_of_file(tmp_path, kind):
    train = np.arange(100, 250, dtype=np.uint8)[:, None, None]
    mine = datasets.load("mine", written(kind, tmp_path, train, labels="mouse"))
    assert sorted(np.concatenate(list(mine.images.values())).ravel().tolist()) == list(range(100, 250))
    assert f"images of 1 x 1 grey, {'no labels' if kind == 'npy' else '1 class'};" in mine.description


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"csv"}))
def test_large_colour_images_are_read_from_each_kind_of_file_but_csv(tmp_path, kind):
    train = RNG.integers(0, 256, (4, 200, 300, 3), dtype=np.uint8)
    mine = datasets.load("mine", written(kind, tmp_path, train))
    assert mine.shape == Shape(200, 300, 3)
    found = np.concatenate(list(mine.images.values()))
    assert sorted(image.tobytes() for image in found) == sorted(image.tobytes() for image in train)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"npy"}))
def test_an_image_in_two_sets_is_refused_in_each_kind_of_file_with_sets(tmp_path, kind):
    with pytest.raises(DataError, match="set must have no image in common, but they share 2: "):
        read(written(kind, tmp_path, IMAGES[:40], IMAGES[38:]))


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"npy"}))
def test_sets_of_several_sizes_are_refused_in_each_kind_of_file_with_sets(tmp_path, kind):
    with pytest.raises(DataError, match="images of all sets must have one shape, but have"):
        read(written(kind, tmp_path, IMAGES[:40], np.ascontiguousarray(IMAGES[40:, :4, :4])))


@every_kind
def test_masks_of_zeros_and_ones_need_their_white_in_each_kind_of_file(tmp_path, kind):
    source = written(kind, tmp_path, IMAGES % 2)
    with pytest.raises(DataError, match=r"the largest is 1\. Say what white is: --white 1, say"):
        read(source)
    parts, _ = read(source.model_copy(update={"white": 1}))
    assert set(np.unique(np.concatenate([part.images for part in parts.values()])).tolist()) == {0, 255}


@pytest.mark.parametrize("kind", ["npz", "npy", "csv"])
@pytest.mark.parametrize(("value", "message"), [(np.nan, "must be finite, but NaN"), (-3, "but the least is -3")])
def test_nan_and_negative_values_are_refused_in_each_file_that_can_hold_them(tmp_path, kind, value, message):
    train = IMAGES / 255
    train[7, 2, 3] = value
    with pytest.raises(DataError, match=f"^{tmp_path}.*{message}"):
        read(written(kind, tmp_path, train))


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_picture_that_is_cut_short_is_named_with_its_folder(tmp_path, ending):
    for index, image in enumerate(RNG.integers(0, 256, (9, 40, 40), dtype=np.uint8)):
        Image.fromarray(image).save(tmp_path / f"{index}.{ending}")
    whole = (tmp_path / f"5.{ending}").read_bytes()
    (tmp_path / f"5.{ending}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"^{tmp_path}/5\.{ending} cannot be read as a picture: [^\n]+\.$"):
        read(ImageSource(path=str(tmp_path)))
