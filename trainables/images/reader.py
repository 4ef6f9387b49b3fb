"""Reads a user's own images: finds what kind of files they are, and makes of them the three splits of a dataset."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from trainables.errors import DataError
from trainables.images import arrays, csv_parquet, greys, picture_files
from trainables.images.source import SUFFIXES, ImageSource, visible
from trainables.images.splitting import Part, by_content
from trainables.shape import Shape

_TABLES = (".parquet", ".csv")


def read(source: ImageSource) -> tuple[dict[str, Part], Shape]:
    """Reads images and splits them by their content.

    Returns:
        For train, val and test uint8 images `(n, height, width, channels)` and classes from 0 on; the images' shape.

    Raises:
        DataError: There is nothing to read, or it breaks a rule; in one line that names the file.
    """
    path = Path(source.path).expanduser()
    try:
        raw = _parts(path, source)
        if "train" not in raw:
            held = f"a {' and a '.join(raw)} set" if raw else "labels"
            raise DataError(f"{path} must hold images to train on, but holds {held} alone.")
        images = {name: greys.as_images(part.images, path) for name, part in raw.items()}
        white = greys.white_of(images, source.white, path)
        images = {
            name: greys.fitted(greys.to_bytes(array, white), source.size, source.grey) for name, array in images.items()
        }
    except (OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile, pa.ArrowException) as error:
        if isinstance(error, DataError):
            raise
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0].removesuffix(".")
        raise DataError(f"{getattr(error, 'filename', None) or path} cannot be read: {reason}.") from None
    except MemoryError:
        raise DataError(f"{path}: the images do not fit this machine's memory: use fewer, or smaller ones.") from None
    shapes = {name: array.shape[1:] for name, array in images.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{path}: the images of all sets must have one shape, but have {shapes}.")
    labels = _classes(raw, path)
    parts = {name: Part(array, labels.get(name)) for name, array in images.items()}
    return by_content(parts, path), Shape(*shapes["train"])


def _parts(path: Path, source: ImageSource) -> dict[str, Part]:
    """The sets of images as they are in the files."""
    if "://" in source.path:
        raise DataError(f"{source.path} must be a path on the machine that launches, but is a URL: copy it there.")
    if path.is_dir():
        if idx := arrays.find_idx(path):
            return arrays.read_idx(idx)
        by_kind: dict[str, list[Path]] = {}
        for file in visible(path):
            by_kind.setdefault(file.suffix.lower(), []).append(file)
        tables = next((by_kind[kind] for kind in _TABLES if kind in by_kind), [])
        if tables and not picture_files.ENDINGS & by_kind.keys():  # beside pictures or parquet, a CSV is about them
            return csv_parquet.read_files(tables, source)
        return picture_files.read_folder(path, source)
    if not path.exists():
        raise DataError(f"{path} cannot be read: there is no such file or folder.")
    match path.suffix.lower():
        case ".npz":
            return arrays.read_npz(path)
        case ".npy":
            return arrays.read_npy(path)
        case ".csv" | ".parquet":
            return csv_parquet.read_files([path], source)
    raise DataError(
        f"{path} must end in {', '.join(SUFFIXES)}, or be a folder of pictures, of IDX files or of such tables."
    )


def _classes(parts: Mapping[str, Part], where: Path) -> dict[str, np.ndarray]:
    """The number of each image's class, from 0 on in the order of the classes' names; none unless all sets have them.

    Raises:
        DataError: There are not as many labels as images, one is absent, or they are no classes.
    """
    if any(part.labels is None for part in parts.values()):
        return {}
    given = {name: np.asarray(part.labels) for name, part in parts.items()}
    given = {name: labels[:, 0] if labels.shape[1:] == (1,) else labels for name, labels in given.items()}
    for name, labels in given.items():
        if labels.shape != (len(parts[name].images),):
            raise DataError(
                f"{where}: labels must be one for each of the {len(parts[name].images):,} images, but their shape is "
                f"{labels.shape}."
            )
    every = np.concatenate(list(given.values()))
    if pd.isna(every).any():
        raise DataError(f"{where}: every image must have a label or none, but {int(pd.isna(every).sum())} have none.")
    if every.dtype.kind == "f" and (every != np.rint(every)).any():
        raise DataError(
            f"{where}: labels must name classes, but some are fractions, such as {every[every % 1 > 0][0]}."
        )
    if every.dtype.kind == "O":
        if (odd := next((label for label in every if not pd.api.types.is_scalar(label)), None)) is not None:
            raise DataError(f"{where}: a label must be one number or name, but one is {odd!s:.80}.")
        every = every.astype(str)
    every = np.char.decode(every, "latin-1") if every.dtype.kind == "S" else every
    names, numbers = np.unique(every, return_inverse=True)
    if every.dtype.kind == "U" and all(name.isdecimal() for name in names):
        names, numbers = np.unique(np.array([int(name) for name in every], object), return_inverse=True)
    numbers = numbers.astype(np.min_scalar_type(len(names) - 1))
    ends = np.cumsum([len(labels) for labels in given.values()])
    return dict(zip(given, np.split(numbers, ends[:-1]), strict=True))
