"""Images in tables: CSV with a column a pixel, as on Kaggle; parquet with a column of pictures, as on Hugging Face."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainables.errors import DataError
from trainables.images.picture_files import split_of, stack
from trainables.images.source import ImageSource, check_memory
from trainables.images.splitting import Part

LABELS = ("label", "class", "labels", "y", "target")
"""Names of a column of labels, the likeliest first."""
IMAGES = ("image", "img", "images", "picture")
"""Names of a column of pictures, the likeliest first."""


def read_files(files: Sequence[Path], source: ImageSource) -> dict[str, Part]:
    """Reads tables of one kind, whose names or folders tell their split: train-0.parquet, test.csv, test/0.parquet.

    Labels are kept if every table has them.
    """
    top = os.path.commonpath([path.parent for path in files])
    parts: dict[str, dict[Path, Part]] = {}
    for path in files:
        part = read_csv(path) if path.suffix.lower() == ".csv" else read_parquet(path, source)
        parts.setdefault("train" if len(files) == 1 else split_of(path.relative_to(top)), {})[path] = part
    return {name: _joined(shards) for name, shards in parts.items()}


def _joined(shards: dict[Path, Part]) -> Part:
    shapes = {part.images.shape[1:]: path for path, part in shards.items()}
    if len(shapes) > 1:
        found = " and ".join(f"{shape} in {path}" for shape, path in shapes.items())
        raise DataError(f"The images of all files must have one shape, but have {found}: leave other tables elsewhere.")
    labels = [part.labels for part in shards.values() if part.labels is not None]
    return Part(
        np.concatenate([part.images for part in shards.values()]),
        np.concatenate(labels) if len(labels) == len(shards) else None,
    )


def read_csv(path: Path) -> Part:
    """Reads rows of values, one a pixel of a square image, with a label first or in a column of that name.

    A first row of names, or of the columns' numbers, is used where there is one.

    Raises:
        DataError: A value is no number, or there are columns of another number.
    """
    check_memory(path.stat().st_size, path)
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = filter(None, csv.reader(file))
        top, below = next(rows, []), next(rows, [])
    if len(below) > len(top):  # pandas would take the first values for names of rows
        raise DataError(
            f"{path} must have a name for each value of a row, or no names, but its first row has {len(top)}, and the "
            f"next has {len(below)} values."
        )
    named = not all(map(_is_number, top))
    frame = pd.read_csv(path, header=0 if named or _counts(top) else None, encoding="utf-8-sig")
    labels = None
    column = _label_column(frame.columns) if named else None
    if column is None and not named and _is_square(len(frame.columns) - 1):
        column = frame.columns[0]
    if column is not None:
        labels = frame.pop(column).to_numpy()  # type: ignore[arg-type]  # a number where there are no names
    if not _is_square(len(frame.columns)):
        raise DataError(
            f"{path} must have a column for each pixel of a square image (784 for 28 x 28), and one called label if "
            f"there are labels, but it has {len(frame.columns):,} columns beside the label."
        )
    words = [str(name) for name, values in frame.items() if not pd.api.types.is_numeric_dtype(values)]
    if words and len(frame):
        raise DataError(
            f"{path}: the values of pixels must be numbers with commas between them, but column {words[0][:40]!r} "
            "has others."
        )
    return Part(frame.to_numpy(), labels)


def _label_column(names: Iterable[object]) -> object:
    """The likeliest name of a column of labels, in any case of letters, or None."""
    known = {str(name).strip().lower(): name for name in names}
    return next((known[name] for name in LABELS if name in known), None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _counts(top: Sequence[str]) -> bool:
    """Whether a row of several numbers is 0, 1, 2 ... or 1, 2, 3 ..., as pandas names columns: no image is so."""
    return len(top) > 1 and any([float(text) for text in top] == list(range(s, s + len(top))) for s in (0, 1))


def _is_square(count: int) -> bool:
    return count > 0 and round(count**0.5) ** 2 == count


def read_parquet(path: Path, source: ImageSource) -> Part:
    """Reads a column of pictures, encoded as PNG or JPEG, each in bytes or in a struct that has them as `bytes`.

    Raises:
        DataError: There is no such column, or one of its pictures cannot be read.
    """
    table = pq.read_table(path)
    names = sorted(table.column_names, key=lambda name: (*IMAGES, name).index(name))
    column = next((name for name in names if _holds_pictures(table.schema.field(name).type)), None)
    if column is None:
        raise DataError(
            f"{path} must have a column of pictures (bytes, or a struct of bytes and path), but has "
            f"{', '.join(table.column_names) or 'none'}."
        )
    values = table[column].combine_chunks()
    if pa.types.is_struct(values.type):
        values = values.field("bytes")
    if values.null_count or not len(values):
        raise DataError(f"{path}: column {column!r} must hold the bytes of a picture in each row, but some are absent.")
    named = ((f"{path}, row {row}", value.as_py()) for row, value in enumerate(values))
    label = _label_column(table.column_names)
    return Part(stack(named, len(values), source), None if label is None else table[label].to_pandas().to_numpy())


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
