"""Images in pictures: PNG, JPEG and what else pillow reads, from a folder or from the bytes in a table."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from trainables.errors import DataError
from trainables.images.greys import as_array, fit
from trainables.images.source import ImageSource, check_memory
from trainables.images.splitting import Part

ENDINGS = frozenset(".png .jpg .jpeg .bmp .tif .tiff .webp .pgm .ppm".split())
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "val"
)
"""Names of a folder of a split, or the beginning of a file's name."""


def read_folder(folder: Path, source: ImageSource) -> dict[str, Part]:
    """Reads the pictures of a folder: all its own, or those of its folders, of which each is a class.

    Folders `train` and `test` (and `val`) are sets that are read so each.

    Raises:
        DataError: There are none, some lie beside folders of others, one is damaged, or their sizes differ.
    """
    folders = {path.name.lower(): path for path in sorted(folder.iterdir()) if _is_folder(path)}
    if "train" in folders and folders.keys() <= SPLITS.keys() and len(folders) > 1:
        return {SPLITS[name]: _read_set(path, source) for name, path in folders.items()}
    return {"train": _read_set(folder, source)}


def within(folder: Path) -> bool:
    """Whether there is a picture in a folder or in those within."""
    return any(path.suffix.lower() in ENDINGS for path in folder.rglob("*"))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".", "__"))


def _read_set(folder: Path, source: ImageSource) -> Part:
    own = _pictures(folder.iterdir())
    classes = {path.name: _pictures(path.rglob("*")) for path in sorted(folder.iterdir()) if _is_folder(path)}
    classes = {name: files for name, files in classes.items() if files}
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


def _pictures(paths: Iterable[Path]) -> list[Path]:
    return sorted(p for p in paths if p.suffix.lower() in ENDINGS and not p.name.startswith(".") and p.is_file())


def stack(pictures: Iterable[tuple[str, Path | bytes]], count: int, source: ImageSource) -> np.ndarray:
    """Reads `count` pictures into one array `(n, height, width, channels)`, grey if no picture has a colour in it.

    `pictures`: the name of each, for messages, and its file or bytes; `source` says what becomes of their size and
    colour. Raises DataError if one cannot be read, or their sizes differ.
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
        arrays.append(array)
    channels = max(array.shape[2] for array in arrays)
    return np.stack([np.broadcast_to(array, (*array.shape[:2], channels)) for array in arrays])


def decode(name: str, content: Path | bytes, source: ImageSource) -> np.ndarray:
    """Reads a picture, turned as its camera says, what is transparent on white: uint8, or uint16 where it has 16 bits.

    Returns `(height, width, channels)`, one channel if all three are the same. `source` says what becomes of its size
    and colour. Raises DataError, which names the picture, if it is damaged, or no picture.
    """
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as opened:
            picture = _plain(ImageOps.exif_transpose(opened))
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{name} cannot be read as a picture: {reason.removesuffix('.')}.") from None
    if picture.mode == "F":
        wide = as_array(fit(picture, source.size, source.grey))
        return np.asarray(np.rint(wide).clip(0, 2**16 - 1).astype(np.uint16))
    array = as_array(fit(picture, source.size, source.grey))
    return array[..., :1] if (array == array[..., :1]).all() else array


def _plain(picture: Image.Image) -> Image.Image:
    """The picture as L or RGB, or as F if it has 16 bits a pixel."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return picture.convert("F")
    if picture.has_transparency_data:
        whole = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def split_of(name: str) -> str:
    """The split whose name a file's name begins with; train if there is none."""
    beginnings: Sequence[str] = sorted(SPLITS, key=len, reverse=True)
    return next((SPLITS[start] for start in beginnings if name.lower().startswith(start)), "train")
