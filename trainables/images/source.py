"""The source of a user's own images: a path, and how its values become grey or colour. Neither torch nor Ray."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from trainables.errors import DataError

SUFFIXES = (".npz", ".npy", ".csv", ".parquet")
"""Endings of files with images; a folder may hold pictures, IDX files, or one such file a split."""
MEMORY_SHARE = 0.5
"""The share of this machine's memory that images may take."""


class ImageSource(BaseModel):
    """The place of a user's own images, and how they are read. Frozen; nothing is opened before they are needed.

    It is no part of a replicate's hash: the images that come of it are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(min_length=1, description="a file or a folder, as seen from where a study is launched")
    size: int | None = Field(
        None, ge=1, le=1024, description="pixels a side: each image's middle square is scaled to it"
    )
    grey: bool = Field(False, description="whether colours become grey")
    white: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="the value of white, if it is not 1 for floats or 255 for integers"
    )


def is_path(value: object) -> bool:
    """Whether a text is the path of images rather than the name of a dataset."""
    if not isinstance(value, str) or not value.strip():
        return False
    return os.sep in value or Path(value).suffix.lower() in SUFFIXES or Path(value).exists()


def name_of(path: str) -> str:
    """A dataset's name from its path: the file's without its ending, or the folder's, of FashionMNIST/raw the first.

    Signs that do not belong in a name become hyphens.
    """
    last = Path(os.path.abspath(Path(path).expanduser()))
    last = last.parent if last.name == "raw" else last
    name = last.stem if last.suffix.lower() in SUFFIXES else last.name
    return re.sub(r"[^\w.+-]+", "-", name).strip("-") or "images"


def visible(folder: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """Lists the files of a folder and of those within, sorted, without hidden ones: `.cache/`, `__MACOSX/`.

    Links are followed, but for those to one of the folders `above`, which would have no end. A link that leads nowhere
    counts as a file, so that reading it says so.
    """
    real = folder.resolve()
    if real in above:
        return []
    files: list[Path] = []
    for path in folder.iterdir():
        if path.is_dir():
            files += visible(path, (*above, real)) if not path.name.startswith((".", "__")) else []
        elif (path.is_file() or path.is_symlink()) and not path.name.startswith("."):
            files.append(path)
    return sorted(files)


def check_memory(size: int, where: object) -> None:
    """Refuses images that take too much memory; raises DataError.

    Args:
        size: In bytes.
        where: The file or folder.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > MEMORY_SHARE * memory:
        raise DataError(
            f"{where}: images must take less than {MEMORY_SHARE:.0%} of this machine's {memory / 1e9:,.1f} GB of "
            f"memory, but take {size / 1e9:,.1f} GB: use fewer of them, or smaller ones (--size)."
        )
