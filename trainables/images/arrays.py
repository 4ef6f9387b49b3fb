"""Images in files of arrays: numpy's .npz and .npy, and MNIST's IDX under any of its names."""

from __future__ import annotations

import gzip
import math
import re
import zipfile
from pathlib import Path

import numpy as np

from trainables.errors import DataError
from trainables.images.source import check_memory, visible
from trainables.images.splitting import Part

KEYS = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels"), ("x", "y")),
    "val": (("x_val", "y_val"), ("x_valid", "y_valid"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
"""The names, in an .npz, of each split's images and labels: Keras', MedMNIST's, and plain ones; capitals count not."""
_IDX = re.compile(r"(train|t10k|test)[-_](images|labels)[.-]idx[134]-ubyte(\.gz)?$", re.IGNORECASE)
_SPLITS = {"train": "train", "t10k": "test", "test": "test"}


def read_npz(path: Path) -> dict[str, Part]:
    """Reads the arrays of an .npz: those whose names are in KEYS, or the only one there is; raises DataError."""
    with zipfile.ZipFile(path) as archive:
        check_memory(sum(entry.file_size for entry in archive.infolist()), path)
    with np.load(path, allow_pickle=False) as held:
        names = {name.lower(): name for name in held}
        pairs = {
            part: pair for part, known in KEYS.items() if (pair := next((p for p in known if p[0] in names), None))
        }
        if len(names) == 1:
            pairs = {"train": (next(iter(names)), "")}
        if "train" not in pairs:
            raise DataError(
                f"{path} must hold arrays called x_train (and y_train, x_test, y_test) or images (and labels), but "
                f"holds {', '.join(held) or 'none'}."
            )

        def array(name: str) -> np.ndarray:
            try:
                return np.asarray(held[names[name]])
            except ValueError as error:  # Python objects, mostly
                raise DataError(f"{path}, {name} cannot be read: {str(error).removesuffix('.')}.") from None

        return {part: Part(array(x), array(y) if y in names else None) for part, (x, y) in pairs.items()}


def read_npy(path: Path) -> dict[str, Part]:
    """Reads the array of an .npy."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    check_memory(array.nbytes, path)
    return {"train": Part(np.array(array))}


def find_idx(folder: Path) -> dict[tuple[str, str], Path]:
    """Finds IDX files in a folder and those within: images and labels by split, a plain file before its .gz.

    Raises:
        DataError: Two files are the same split's.
    """
    found: dict[tuple[str, str], Path] = {}
    for path in visible(folder):
        match = _IDX.search(path.name)
        if match is None:
            continue
        key = (_SPLITS[match[1].lower()], match[2].lower())
        former = found.setdefault(key, path)
        if former != path and path.name.removesuffix(".gz") != former.name:
            raise DataError(f"{folder} must hold one data set, but holds {former} and {path}: name one folder.")
    return found


def read_idx(files: dict[tuple[str, str], Path]) -> dict[str, Part]:
    """Reads what `find_idx` has found."""
    images = {part: path for (part, kind), path in files.items() if kind == "images"}
    return {
        part: Part(_parse(path), _parse(files[part, "labels"]) if (part, "labels") in files else None)
        for part, path in images.items()
    }


def _parse(path: Path) -> np.ndarray:
    """The uint8 array of an IDX file, plain or packed."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        head = file.read(4)
        if len(head) < 4 or head[:3] != b"\0\0\x08":
            raise DataError(f"{path} must be an IDX file of unsigned bytes, but begins with {head.hex() or 'nothing'}.")
        sizes = file.read(4 * head[3])
        if len(sizes) < 4 * head[3]:
            raise DataError(f"{path} must hold {head[3]} sizes of four bytes after its first four, but is cut short.")
        shape = [int.from_bytes(sizes[start : start + 4]) for start in range(0, len(sizes), 4)]
        size = math.prod(shape)
        check_memory(size, path)
        content = file.read()
    if len(content) != size:
        raise DataError(f"{path} must hold {size:,} bytes of data after its header, but holds {len(content):,}.")
    return np.frombuffer(content, np.uint8).reshape(shape)
