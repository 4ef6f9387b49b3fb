"""Images in pictures: PNG, JPEG and what else pillow reads, from a folder or from the bytes in a table."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from trainables.errors import DataError
from trainables.images.greys import as_array, fit
from trainables.images.source import ImageSource, check_memory, visible
from trainables.images.splitting import Part

ENDINGS = frozenset(".png .jpg .jpeg .bmp .tif .tiff .webp .pgm .ppm".split())
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "val"
)
"""Words for a split. A folder is called so; so is a file, or a part of its name: mnist_test.csv."""
_WORDS = re.compile(rf"(?<![a-z])({'|'.join(sorted(SPLITS, key=len, reverse=True))})(?:set|data|images)?(?![a-z])")
KINDS = {"uint8": "8 bits", "int32": "more than 8 bits", "float32": "floats"}
"""The kinds of values that pictures have, by the type of their array."""


def read_folder(folder: Path, source: ImageSource) -> dict[str, Part]:
    """Reads the pictures of a folder: all its own, or those of its folders, of which each is a class.

    Folders `train` and `test` (and `val`) are sets that are read so each, and so are `seg_train` and `seg_test` where
    there are no others. A folder that holds nothing but a folder of classes, of sets or called like a set is read as
    that one.

    Raises:
        DataError: There are none, some lie beside folders of others, one is damaged, or their sizes differ.
    """
    own, folders = _pictures(folder)
    if not own and len(folders) == 1:
        (only,) = folders
        if only.lower() in SPLITS or not _pictures(folder / only)[0]:
            return read_folder(folder / only, source)
    sets = {name: SPLITS[name.lower()] for name in folders if name.lower() in SPLITS} or _sets(folders)
    if len(sets) < 2 or ("train" not in sets.values() and len(sets) < len(folders)):  # a class may be called so alone
        return {"train": _read_set(folder, source)}
    beside = [path.name for path in own] + [f"{name}/" for name in folders.keys() - sets.keys()]
    if beside or len(set(sets.values())) < len(sets):
        raise DataError(
            f"{folder} must hold one folder of each set, train, test and val, and no other pictures, but holds "
            f"{', '.join([f'{name}/' for name in sets] + sorted(beside)[:1])}."
        )
    return {split: _read_set(folder / name, source) for name, split in sets.items()}


def _sets(folders: Iterable[str]) -> dict[str, str]:
    """The split of each folder by words in its name, as in seg_train; none unless all are splits, each another."""
    named = {name: named_splits(name) for name in folders}
    sets = {name: next(iter(splits)) for name, splits in named.items() if len(splits) == 1}
    return sets if len(set(sets.values())) == len(named) and "train" in sets.values() else {}


def _pictures(folder: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """The pictures that lie in a folder itself, and those within each of its folders, by the folder's name."""
    own: list[Path] = []
    folders: dict[str, list[Path]] = {}
    for path in visible(folder):
        if path.suffix.lower() in ENDINGS:
            name, *deeper = path.relative_to(folder).parts
            (folders.setdefault(name, []) if deeper else own).append(path)
    return own, folders


def _read_set(folder: Path, source: ImageSource) -> Part:
    own, classes = _pictures(folder)
    if not own and len(classes) == 1 and named_splits(*classes):  # seg_train/seg_train/, as archives have it
        return _read_set(folder / next(iter(classes)), source)
    if own and classes:
        raise DataError(
            f"{folder} must hold pictures, or folders of them, one a class, but holds both: {own[0].name} beside "
            f"{next(iter(classes))}/."
        )
    files = own or [file for files in classes.values() for file in files]
    if not files:
        raise DataError(f"{folder} must hold pictures ({', '.join(sorted(ENDINGS))}), but holds none.")
    labels = None if own else np.repeat(list(classes), [len(files) for files in classes.values()])
    named = ((str(file), file) for file in files)
    return Part(stack(named, len(files), source), labels)


def stack(pictures: Iterable[tuple[str, Path | bytes]], count: int, source: ImageSource) -> np.ndarray:
    """Reads `count` pictures into one array `(n, height, width, channels)`, grey if no picture has a colour in it.

    `pictures`: the name of each, for messages, and its file or bytes; `source` says what becomes of their size and
    colour. Raises DataError if one cannot be read, or their sizes or kinds of values differ.
    """
    arrays: list[np.ndarray] = []
    first = ""
    for name, content in pictures:
        array = decode(name, content, source)
        if not arrays:
            first = name
            check_memory(count * array.nbytes, name)
        elif array.shape[:2] != arrays[0].shape[:2]:
            sizes = [f"{one.shape[0]} x {one.shape[1]}" for one in (arrays[0], array)]
            raise DataError(
                f"{name} must have the size of {first}, {sizes[0]} pixels, but has {sizes[1]}: --size 28, say, brings "
                "all to one size."
            )
        elif array.dtype != arrays[0].dtype:
            raise DataError(
                f"{name} must have values of {first}'s kind, {KINDS[arrays[0].dtype.name]}, but has "
                f"{KINDS[array.dtype.name]}: what is white in one is not in the other."
            )
        arrays.append(array)
    channels = max(array.shape[2] for array in arrays)
    return np.stack([np.broadcast_to(array, (*array.shape[:2], channels)) for array in arrays])


def decode(name: str, content: Path | bytes, source: ImageSource) -> np.ndarray:
    """Reads a picture, turned as its camera says, what is transparent on white.

    Returns `(height, width, channels)`, one channel if all three are the same: uint8, or int32 where a grey has more
    bits, or float32 where it is a float. `source` says what becomes of its size and colour. Raises DataError, which
    names the picture, if it is damaged, no picture, or several.
    """
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as opened:
            frames = 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)  # cameras add previews to a JPEG
            picture, whole = _plain(ImageOps.exif_transpose(opened)), opened.mode.startswith("I")
    except UnidentifiedImageError:
        raise DataError(f"{name} cannot be read as a picture: it is damaged, or none.") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{name} cannot be read as a picture: {reason.removesuffix('.')}.") from None
    if frames > 1:
        raise DataError(f"{name} must hold one picture, but holds {frames}: save each as a file of its own.")
    array = as_array(fit(picture, source.size, source.grey))
    array = np.rint(array).astype(np.int32) if whole else array
    return array[..., :1] if (array == array[..., :1]).all() else array


def _plain(picture: Image.Image) -> Image.Image:
    """The picture as L or RGB, or as F if it has more than 8 bits a pixel of one channel."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return picture.convert("F")
    if picture.has_transparency_data:
        whole = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def split_of(path: Path) -> str:
    """The split that a file's name has a word for, or that its folder is called; train if neither does.

    Raises:
        DataError: Its name has words for several.
    """
    named = named_splits(path.stem)
    if len(named) > 1:
        raise DataError(
            f"{path} must be called after one set, but its name has {' and '.join(sorted(named))}: rename it."
        )
    return next(iter(named), SPLITS.get(path.parent.name.lower(), "train"))


def named_splits(name: str) -> set[str]:
    """The splits that a name has words for: train in fashion-mnist_train, test in test_set, none in testament."""
    return {SPLITS[word] for word in _WORDS.findall(name.lower())}
