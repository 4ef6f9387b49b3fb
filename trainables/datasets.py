"""Datasets: their split, and MNIST, Fashion-MNIST and KMNIST from torchvision's folder layout.

A dataset is uint8 images of one shape, split into train, validation and test. MNIST and its kin are split into
55,000 / 5,000 / 10,000: validation takes the first 5,000 training images, as TensorFlow's tutorial loader did, which
the paper's code used. `split` makes a dataset of arrays. MNIST's files are looked for in `$STUDY_DATA_DIR/<Name>/raw`
(plain or .gz), then downloaded there once by torchvision, then checked. Drawn datasets come from `trainables.controls`,
those in a user's own files from `trainables.images`.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import pkgutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock

from trainables.errors import DataError
from trainables.images.source import ImageSource
from trainables.images.splitting import Part, by_content
from trainables.registry import DATASETS, added, unknown
from trainables.schema import CONTENT
from trainables.shape import MNIST, Shape, Size

NUM_VAL = 5_000
NUM_TRAIN_FILE, NUM_TEST_FILE = 60_000, 10_000
SPLITS = ("train", "val", "test")
_FILES = {
    "train-images-idx3-ubyte": (NUM_TRAIN_FILE, 28, 28),
    "train-labels-idx1-ubyte": (NUM_TRAIN_FILE,),
    "t10k-images-idx3-ubyte": (NUM_TEST_FILE, 28, 28),
    "t10k-labels-idx1-ubyte": (NUM_TEST_FILE,),
}
_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Digests of the unpacked files."""
_PACKED_MD5 = {
    "FashionMNIST": """8d4fb7e6c68d591d4c3dfef9ec88bf0d 25c81989df183df01b3e8a0aad5dffbe
        bef4ecab320f06d8554ea6380940ec79 bb300cfdad3c16e7a12a480ee83cd310""".split(),
    "KMNIST": """bdb82020997e1d708af4cf47b453dcf7 e144d726b3acfaa3e44228e80efcd344
        5c965bf0a639b31b8f53240b1b52f4d7 7320c461ea6c1c855c0b718fb2a4b134""".split(),
}
"""Digests of the .gz files as published, by which those of one dataset are known in the folder of another."""
_AGAIN = "Delete it to have it downloaded again."


@dataclass(frozen=True)
class Dataset:
    """A dataset, split.

    `images[split]`: uint8 `(n, pixels)`, of `shape`; `labels[split]`: classes from 0 on, `(n,)`, or `labels` is empty;
    `digest`: of all of them.
    """

    name: str
    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    digest: str
    shape: Shape = MNIST

    @property
    def size(self) -> Size:
        """The images' shape, and how many each split has."""
        return Size(self.shape, *(len(self.images[part]) for part in SPLITS))

    @property
    def description(self) -> str:
        """The number of images in each split, their shape and classes, and the digest, in one line."""
        parts = ", ".join(f"{part} {len(images):,}" for part, images in self.images.items())
        classes = len(set().union(*(np.unique(labels).tolist() for labels in self.labels.values())))
        labels = "no labels" if not self.labels else f"{classes} class{'es' * (classes != 1)}"
        return f"{self.name}: {parts} images of {self.shape}, {labels}; digest {self.digest}"


def load(name: str, source: ImageSource | None = None) -> Dataset:
    """Loads a dataset by its name in DATASETS, or reads a user's own from its source and gives it the name.

    Raises:
        DataError: Unknown name; absent files and no network; truncated or altered files; a plugin's loader fails.
    """
    if source is not None:
        from trainables.images.reader import read  # loads pandas, which only these need

        parts, shape = read(source)
        return _made(name, parts, shape, CONTENT)
    if name not in DATASETS:
        raise DataError(unknown(name, DATASETS, what="dataset"))
    loader = pkgutil.resolve_name(DATASETS[name])
    if name not in added().get("DATASETS", {}):
        dataset: Dataset = loader()
        return dataset
    try:
        made = loader()
    except Exception as error:
        raise DataError(f"dataset {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(made, Dataset):
        raise DataError(f"the loader of {name!r} must return a Dataset, but got {type(made).__name__}.")
    if any(images.shape[1:] != (made.shape.pixels,) for images in made.images.values()):
        raise DataError(f"the loader of {name!r} must return images (n, {made.shape.pixels}) of {made.shape}.")
    return made


def load_digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels (Alpaydin and Kaynak, 1998), whose white is 16.

    Its file is read without scikit-learn, which takes longer to load than a launch to begin.
    """
    from trainables.images.greys import to_bytes

    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("digits needs scikit-learn, which brings its file: pip install scikit-learn.")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        rows = np.loadtxt(path, np.uint8, delimiter=",")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}. Install scikit-learn again.") from None
    parts = by_content({"train": Part(to_bytes(rows[:, :-1], 16), rows[:, -1])}, "digits")
    return _made("digits", parts, Shape(8, 8))


def data_dir() -> Path:
    """`$STUDY_DATA_DIR`, or a folder of ours in the user's cache."""
    folder = os.environ.get("STUDY_DATA_DIR")
    return Path(folder).expanduser() if folder else cache_dir()


def cache_dir() -> Path:
    """Our folder in the user's cache; of a user without a home, in the current folder's `.cache`."""
    home = os.path.expanduser("~")
    cache = os.environ.get("XDG_CACHE_HOME") or (".cache" if home == "~" else f"{home}/.cache")
    return Path(cache) / "mnist-autoencoder-study"


def split(
    name: str,
    train: tuple[np.ndarray, np.ndarray | None],
    test: tuple[np.ndarray, np.ndarray | None],
    num_val: int = NUM_VAL,
) -> Dataset:
    """Makes a Dataset of a training and a test set.

    Args:
        name: The dataset's name.
        train: uint8 images, `(n, height, width)`, `(n, height, width, 3)` or `(n, 784)`, n > num_val, and classes from
            0 on, `(n,)`, or None if there are none.
        test: The same for the test set, of any number of images.
        num_val: How many of `train`, the first, are for validation and not for training; 1 or more.

    Raises:
        DataError: Images or labels have another type, shape or number.
    """
    if num_val < 1:
        raise DataError(f"{name}: `num_val >= 1` must hold, but got {num_val=}.")
    shape = _shape_of(train[0])
    for part, (x, y) in {"train": train, "test": test}.items():
        least = num_val + 1 if part == "train" else 1
        of_images = x.dtype == np.uint8 and len(x) >= least and _shape_of(x) == shape and shape is not None
        if not of_images or (y is not None and not _are_classes(y, len(x))) or (y is None) != (train[1] is None):
            raise DataError(
                f"{name}: `{part}` must be uint8 images (n, height, width) or (n, height, width, 3), of one size with "
                f"the other set, with n >= {least:,}, and labels (n,), integers from 0 on, or none, but got {x.dtype} "
                f"{x.shape} and {'no labels' if y is None else f'labels {y.dtype} {y.shape}'}."
            )

    def rows(part: tuple[np.ndarray, np.ndarray | None], chosen: slice) -> Part:
        images, labels = part
        return Part(images[chosen], None if labels is None else labels[chosen])

    parts = {"train": rows(train, slice(num_val, None)), "val": rows(train, slice(num_val)), "test": Part(*test)}
    return _made(name, parts, shape or MNIST)


def _are_classes(labels: np.ndarray, count: int) -> bool:
    """Whether labels are whole numbers from 0 on, one for each of `count` images."""
    return labels.shape == (count,) and labels.dtype.kind in "iu" and int(labels.min()) >= 0


def _shape_of(images: np.ndarray) -> Shape | None:
    """The shape of images that lie in an array; None if it holds no images."""
    if images.ndim == 2 and images.shape[1] == MNIST.pixels:
        return MNIST
    sizes = images.shape[1:]
    return Shape(*sizes) if len(sizes) == 2 or (len(sizes) == 3 and sizes[2] in (1, 3)) else None


def _made(name: str, parts: Mapping[str, Part], shape: Shape, kind: str = "") -> Dataset:
    """A Dataset of its three splits; its digest begins with `kind`."""
    images = {key: np.ascontiguousarray(parts[key].images.reshape(-1, shape.pixels)) for key in SPLITS}
    given = {key: parts[key].labels for key in SPLITS}
    labels = {key: np.ascontiguousarray(part) for key, part in given.items() if part is not None}
    digest = hashlib.sha256()
    for key in SPLITS:
        digest.update(images[key].data)
        if labels:
            digest.update(labels[key].data)
    if shape != MNIST:
        digest.update(repr(tuple(shape)).encode())
    return Dataset(name, images, labels, kind + digest.hexdigest()[:16], shape)


def _load_idx(name: str, folder: str, sha256: dict[str, str]) -> Dataset:
    raw = data_dir() / folder / "raw"
    if not all(_find(raw, file) for file in _FILES):
        _download(name, folder, raw)
    arrays = []
    for file, shape in _FILES.items():
        path, content = _read_file(raw, file)
        digest = hashlib.sha256(content).hexdigest()
        _check_owner(path, digest, folder)
        arrays.append(_parse_idx(path, content, shape))
        if digest != sha256.get(file, digest):
            raise DataError(
                f"{path} is not the original file: its sha256 must be {sha256[file]}, but it is {digest}. {_AGAIN}"
            )
        if len(shape) == 1 and arrays[-1].max() > 9:
            raise DataError(f"{path} must hold labels 0 to 9, but it holds {arrays[-1].max()}. {_AGAIN}")
    return split(name, (arrays[0], arrays[1]), (arrays[2], arrays[3]))


load_mnist: Callable[[], Dataset] = partial(_load_idx, "mnist", "MNIST", _MNIST_SHA256)
load_fashion_mnist: Callable[[], Dataset] = partial(_load_idx, "fashion_mnist", "FashionMNIST", {})
load_kmnist: Callable[[], Dataset] = partial(_load_idx, "kmnist", "KMNIST", {})


def _find(raw: Path, file: str) -> Path | None:
    return next((path for path in (raw / file, raw / f"{file}.gz") if path.is_file()), None)


def _download(name: str, folder: str, raw: Path) -> None:
    """Lets torchvision fetch the four files (it checks their MD5), one process at a time."""
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with FileLock(raw.parent / ".lock"):
            if all(_find(raw, file) for file in _FILES):
                return
            from torchvision import datasets  # slow to import, and needed for a download only

            getattr(datasets, folder)(raw.parents[1], download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{name} is not in {raw}, and it could not be downloaded ({error}). Put the four files "
            f"{', '.join(_FILES)} (plain or .gz) there, or set STUDY_DATA_DIR to the folder that holds "
            f"{folder}/raw. The built-in dataset needs no files: --dataset strokes."
        ) from None


def _read_file(raw: Path, file: str) -> tuple[Path, bytes]:
    """The path and the unpacked content of a file."""
    path = _find(raw, file)
    if path is None:
        raise DataError(f"{raw / file} is absent.")
    try:
        content = path.read_bytes()
        return path, gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}. {_AGAIN}") from None


def _check_owner(path: Path, digest: str, folder: str) -> None:
    """Raises DataError where a file in a dataset's folder is another dataset's: all of them have the same names."""
    packed = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() if path.suffix == ".gz" else ""
    owners = [other for other, md5s in _PACKED_MD5.items() if packed in md5s]
    if digest in _MNIST_SHA256.values():
        owners.append("MNIST")
    if owners and folder not in owners:
        raise DataError(f"{path} must be {folder}'s, but it is {owners[0]}'s. {_AGAIN}")


def _parse_idx(path: Path, content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 array of an IDX file; raises DataError where it has another shape."""
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    expected = len(header) + int(np.prod(shape))
    if len(content) != expected or not content.startswith(header):
        raise DataError(
            f"{path} must hold {expected:,} bytes of uint8 IDX data of shape {shape}, but it holds {len(content):,} "
            f"bytes and begins with {content[:4].hex()}. {_AGAIN}"
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)
