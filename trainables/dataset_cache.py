"""The cache of drawn datasets: a file each, on the disk before it counts, checked whenever it is read."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.numpy import load, save
from threadpoolctl import threadpool_limits

from trainables.datasets import cache_dir
from trainables.errors import ReadableError
from trainables.storage import Folder, StorageError

Arrays = tuple[np.ndarray, np.ndarray]
"""Images and labels."""
_LOG = logging.getLogger(__name__)


def cached(name: str, draw: Callable[[], Arrays]) -> Arrays:
    """Takes a dataset from the cache, or draws it and puts it there.

    A damaged file is named and drawn again. A cache that cannot be written is named and does without.

    Args:
        name: The dataset's name and version.
        draw: Draws the images and the labels, the same ones each time. It runs on one thread, since the last bit of a
            float32 product, and so a pixel in millions, depends on their number.
    """
    folder = Folder(str(cache_dir() / "controls"))
    stored = _read(folder, name, logging.DEBUG)  # without a lock: the cache may be another user's, and read-only
    if stored is not None:
        return stored
    with _locked(Path(folder.location), name) as writable:
        stored = _read(folder, name, logging.WARNING)  # another process may have drawn it meanwhile
        if stored is not None:
            return stored
        with threadpool_limits(1):
            images, labels = draw()
        if writable:
            content = save({"images": images, "labels": labels})
            try:
                folder.write(f"{name}-{_digest(content)}.safetensors", content)
            except StorageError as error:
                _LOG.warning("%s is drawn again by the next process: %s", name, error)
    return images, labels


def _read(folder: Folder, name: str, level: int) -> Arrays | None:
    """Reads the dataset of this name; None where there is none, or a damaged one, which is logged at this level."""
    try:
        files = [file for file in folder.files() if file.startswith(f"{name}-") and file.endswith(".safetensors")]
    except OSError:
        return None
    for file in files:
        try:
            content = folder.read(file)
            if file != f"{name}-{_digest(content)}.safetensors":
                raise ReadableError("its digest does not match its content")
            arrays = load(content)
            return arrays["images"], arrays["labels"]
        except (OSError, ReadableError, KeyError, SafetensorError) as error:
            _LOG.log(level, "%s/%s is damaged (%s), and is drawn again.", folder.url, file, error)
    return None


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[bool]:
    """Keeps other processes from drawing the same; yields whether the cache can be written."""
    lock = FileLock(folder / f"{name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        message = (
            "%s cannot be written (%s): %s is drawn again by each process. Set XDG_CACHE_HOME to a folder of yours."
        )
        _LOG.warning(message, folder, error.strerror, name)
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
