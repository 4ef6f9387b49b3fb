"""Files of arrays: names of an .npz, IDX under its many names, and damaged ones."""

import gzip

import numpy as np
import pytest

from trainables.errors import DataError
from trainables.images import arrays

IMAGES = np.arange(5 * 4 * 6, dtype=np.uint8).reshape(5, 4, 6)
LABELS = np.arange(5, dtype=np.uint8)


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("x_train", "y_train", "x_test", "y_test"), ["train", "test"]),
        (("train_images", "train_labels", "val_images", "val_labels"), ["train", "val"]),
        (("images", "labels"), ["train"]),
        (("X_train", "Y_train", "X_valid", "Y_valid", "X_test", "Y_test"), ["train", "val", "test"]),
    ],
)
def test_read_npz_finds_images_and_labels_by_their_usual_names(tmp_path, names, splits):
    np.savez(tmp_path / "a.npz", **{name: LABELS if i % 2 else IMAGES for i, name in enumerate(names)})
    parts = arrays.read_npz(tmp_path / "a.npz")
    assert list(parts) == splits
    for part in parts.values():
        np.testing.assert_array_equal(part.images, IMAGES)
        np.testing.assert_array_equal(part.labels, LABELS)


def test_read_npz_of_one_array_takes_it_and_of_others_names_them(tmp_path):
    np.savez(tmp_path / "a.npz", IMAGES)
    assert arrays.read_npz(tmp_path / "a.npz")["train"].labels is None
    np.savez(tmp_path / "b.npz", pictures=IMAGES, names=LABELS)
    with pytest.raises(DataError, match=r"b\.npz must hold arrays called x_train .* but holds pictures, names"):
        arrays.read_npz(tmp_path / "b.npz")


def test_read_npy_gives_the_array(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    np.testing.assert_array_equal(arrays.read_npy(tmp_path / "a.npy")["train"].images, IMAGES)


@pytest.mark.parametrize(
    "names",
    [
        ("MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/train-labels-idx1-ubyte", "MNIST/raw/t10k-images-idx3-ubyte"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
        (
            "a/train-images.idx3-ubyte/train-images.idx3-ubyte",
            "TRAIN-LABELS.IDX1-UBYTE",
            "my-test-images-idx3-ubyte",
        ),
    ],
    ids=["torchvision", "Kaggle", "packed", "in a folder of its name, upper case, with a prefix"],
)
def test_idx_is_found_under_each_of_its_names(tmp_path, names):
    for name, array in zip(names, (IMAGES, LABELS, IMAGES[:2]), strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(idx(array)) if name.endswith(".gz") else idx(array))
    parts = arrays.read_idx(arrays.find_idx(tmp_path))
    np.testing.assert_array_equal(parts["train"].images, IMAGES)
    np.testing.assert_array_equal(parts["train"].labels, LABELS)
    assert len(parts["test"].images) == 2 and parts["test"].labels is None


def test_find_idx_takes_a_plain_file_before_its_packed_copy_and_refuses_two_datasets(tmp_path):
    for folder, name in [("", "train-images-idx3-ubyte"), ("", "train-images-idx3-ubyte.gz")]:
        (tmp_path / folder / name).write_bytes(idx(IMAGES))
    assert list(arrays.find_idx(tmp_path).values()) == [tmp_path / "train-images-idx3-ubyte"]
    (tmp_path / "other-train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    with pytest.raises(DataError, match=r"must hold one data set, but holds .*other-train.* and .*train-images"):
        arrays.find_idx(tmp_path)


def test_find_idx_leaves_hidden_files_out(tmp_path):
    for name in ("train-images-idx3-ubyte", "._train-images-idx3-ubyte", "__MACOSX/train-images-idx3-ubyte"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(idx(IMAGES))
    assert list(arrays.find_idx(tmp_path).values()) == [tmp_path / "train-images-idx3-ubyte"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"<!doctype html>", "an IDX file of unsigned bytes, but begins with 3c21646f"),
        (idx(IMAGES)[:-1], "hold 120 bytes of data after its header, but holds 119"),
        (idx(IMAGES) + b"0", "but holds 121"),
        (b"\0\0\x0d\x03" + idx(IMAGES)[4:], "of unsigned bytes, but begins with 00000d03"),
        (idx(IMAGES)[:7], "hold 3 sizes of four bytes after its first four, but is cut short"),
    ],
    ids=["empty", "a web page", "cut short", "too long", "floats", "half a header"],
)
def test_read_idx_of_a_damaged_file_says_how(tmp_path, content, message):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=rf"train-images-idx3-ubyte must .*{message}"):
        arrays.read_idx(arrays.find_idx(tmp_path))
