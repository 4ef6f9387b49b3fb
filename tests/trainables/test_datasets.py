"""Datasets: files plain or packed, absent, cut short or altered; the splits."""

import gzip
import hashlib

import numpy as np
import pytest

from trainables import datasets
from trainables.errors import DataError

SHAPES = {"train-images-idx3-ubyte": (60_000, 28, 28), "train-labels-idx1-ubyte": (60_000,)} | {
    "t10k-images-idx3-ubyte": (10_000, 28, 28), "t10k-labels-idx1-ubyte": (10_000,),
}  # fmt: skip


@pytest.fixture(scope="module")
def contents():
    rng = np.random.default_rng(0)
    pattern = rng.integers(0, 256, 1_000_003, dtype=np.uint8)
    return {
        name: bytes([0, 0, 8, len(shape)])
        + b"".join(size.to_bytes(4, "big") for size in shape)
        + np.resize(pattern % 10 if len(shape) == 1 else pattern, shape).tobytes()
        for name, shape in SHAPES.items()
    }


@pytest.fixture
def data_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def refuse(*_, **__):
        raise RuntimeError("no network")

    for name in ("MNIST", "FashionMNIST", "KMNIST"):
        monkeypatch.setattr(f"torchvision.datasets.{name}", refuse)
    return tmp_path


def put(data_dir, folder, contents, packed=False):
    raw = data_dir / folder / "raw"
    raw.mkdir(parents=True)
    for name, content in contents.items():
        if packed:
            (raw / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (raw / name).write_bytes(content)
    return raw


def test_load_kmnist_from_plain_files_and_fashion_mnist_from_packed_ones(data_dir, contents):
    put(data_dir, "KMNIST", contents)
    put(data_dir, "FashionMNIST", contents, packed=True)
    plain, packed = datasets.load("kmnist"), datasets.load("fashion_mnist")
    assert {part: len(images) for part, images in plain.images.items()} == {
        "train": 55_000,
        "val": 5_000,
        "test": 10_000,
    }
    assert plain.digest == packed.digest, "the same content, packed or not"
    first = np.frombuffer(contents["train-images-idx3-ubyte"], np.uint8, 784, 16)
    np.testing.assert_array_equal(plain.images["val"][0], first)


def test_load_mnist_of_other_content_is_refused_by_checksum(data_dir, contents):
    put(data_dir, "MNIST", contents)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is not the original.*must be ba891046"):
        datasets.load("mnist")


@pytest.mark.parametrize("folder", ["FashionMNIST", "KMNIST"])
@pytest.mark.parametrize("packed", [False, True])
def test_load_mnists_files_in_another_folder_are_refused_by_digest(data_dir, contents, monkeypatch, folder, packed):
    own = hashlib.sha256(contents["train-labels-idx1-ubyte"]).hexdigest()
    monkeypatch.setattr(datasets, "_MNIST_SHA256", {"train-labels-idx1-ubyte": own})
    put(data_dir, folder, contents, packed=packed)
    with pytest.raises(
        DataError, match=rf"train-labels-idx1-ubyte\S* must be {folder}'s, but it is MNIST's. Delete it"
    ):
        datasets.load("kmnist" if folder == "KMNIST" else "fashion_mnist")


def test_load_packed_files_of_kmnist_in_the_folder_of_fashion_mnist_are_refused(data_dir, contents, monkeypatch):
    raw = put(data_dir, "FashionMNIST", contents, packed=True)
    md5 = hashlib.md5((raw / "t10k-images-idx3-ubyte.gz").read_bytes()).hexdigest()
    monkeypatch.setattr(datasets, "_PACKED_MD5", {"KMNIST": [md5]})
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz must be FashionMNIST's, but it is KMNIST's"):
        datasets.load("fashion_mnist")


def test_load_label_beyond_nine_is_refused(data_dir, contents):
    raw = put(data_dir, "KMNIST", contents)
    labels = bytearray(contents["t10k-labels-idx1-ubyte"])
    labels[-1] = 200
    (raw / "t10k-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte must hold labels 0 to 9, but it holds 200"):
        datasets.load("kmnist")


def test_load_truncated_file_says_how_long_it_must_be(data_dir, contents):
    raw = put(data_dir, "KMNIST", contents)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(contents["t10k-labels-idx1-ubyte"][:-1])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte must hold 10,008 bytes.*holds 10,007"):
        datasets.load("kmnist")


def test_load_truncated_packed_file_says_so(data_dir, contents):
    raw = put(data_dir, "KMNIST", contents)
    (raw / "t10k-labels-idx1-ubyte").unlink()
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(contents["t10k-labels-idx1-ubyte"])[:-9])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz cannot be read"):
        datasets.load("kmnist")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist", "mnist-pca-8"])
def test_load_absent_without_network_says_where_to_put_the_files(data_dir, name):
    with pytest.raises(DataError, match=r"no network.*Put the four files.*STUDY_DATA_DIR.*--dataset strokes"):
        datasets.load(name)


def test_load_unknown_name_names_the_nearest():
    with pytest.raises(DataError, match="Did you mean 'kmnist'"):
        datasets.load("kmnits")


def test_load_real_mnist_is_the_original(mnist):
    assert [len(mnist.images[part]) for part in ("train", "val", "test")] == [55_000, 5_000, 10_000]
    assert mnist.labels["test"][:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.parametrize(
    ("part", "images", "labels"),
    [
        ("train", np.zeros((5_000, 28, 28), np.uint8), np.zeros(5_000, np.uint8)),
        ("train", np.zeros((5_001, 28, 28)), np.zeros(5_001, np.uint8)),
        ("test", np.zeros((9, 27, 28), np.uint8), np.zeros(9, np.uint8)),
        ("train", np.zeros((5_001, 27), np.uint8), np.zeros(5_001, np.uint8)),
        ("test", np.zeros((9, 28, 28, 2), np.uint8), np.zeros(9, np.uint8)),
        ("test", np.zeros((9, 28, 28), np.uint8), None),
        ("test", np.zeros((9, 28, 28), np.uint8), np.zeros(8, np.uint8)),
        ("test", np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.uint8)),
        ("train", np.zeros((5_001, 784), np.uint8), np.full(5_001, "seven")),
        ("train", np.zeros((5_001, 784), np.uint8), np.full(5_001, 7.0)),
        ("test", np.zeros((1, 784), np.uint8), np.array([-1])),
    ],
    ids=[
        *("too few", "grey in [0, 1]", "another size", "rows of no known size", "two channels", "labels of one set"),
        *("a label is missing", "none", "words", "floats", "below 0"),
    ],
)
def test_split_of_what_is_no_dataset_raises(part, images, labels):
    parts = {"train": (np.zeros((5_001, 784), np.uint8), np.zeros(5_001, np.uint8))}
    parts |= {"test": (np.zeros((1, 784), np.uint8), np.zeros(1, np.uint8))}
    assert len(datasets.split("mine", **parts).images["train"]) == 1
    assert len(datasets.split("mine", **parts, num_val=1).images["train"]) == 5_000
    with pytest.raises(DataError, match=f"mine: `{part}` must be uint8 images"):
        datasets.split("mine", **parts | {part: (images, labels)})


@pytest.mark.parametrize("num_val", [0, -1])
def test_split_without_validation_images_raises(num_val):
    images, labels = np.zeros((9, 784), np.uint8), np.zeros(9, np.uint8)
    with pytest.raises(DataError, match=f"mine: `num_val >= 1` must hold, but got num_val={num_val}"):
        datasets.split("mine", (images, labels), (images, labels), num_val=num_val)


def test_split_of_fewer_images_than_are_to_validate_names_the_least():
    images, labels = np.zeros((9, 784), np.uint8), np.zeros(9, np.uint8)
    with pytest.raises(DataError, match="n >= 10"):
        datasets.split("mine", (images, labels), (images, labels), num_val=9)
