"""A file of a replicate's folder: its name, which holds a digest of its bytes, and its content, a record and tensors.

Tensors are stored as safetensors, with the record as JSON in the header. A file is checked whenever it is read. Files
that were written before names held a digest have it in their header. Needs neither torch nor Ray.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from trainables.errors import ReadableError
from trainables.records import Record
from trainables.storage import LARGEST, Folder, UnreadableFileError

TENSORS, MARKER = ".safetensors", ".done.json"
_NAME = re.compile(
    rf"([0-9a-f]{{8}})(?:-([0-9a-f]{{12}}))?(?:-(?:(\d{{9}})|record|weights|measured-(.+)){TENSORS}|({MARKER}))",
    re.DOTALL,
)
_LENGTH = 12
_LARGEST_MARKER = 1 << 20


class DamagedFileError(ReadableError):
    """A file whose bytes do not match its digest, or that does not hold what its name says."""


class FileName(NamedTuple):
    """A name's parts: the attempt that wrote the file, the digest of its bytes, None in old names, and what it holds.

    `step`: of a checkpoint; `measurement`: whose values it holds; `marker`: whether it says that the attempt has ended.
    """

    text: str
    attempt: str
    digest: str | None
    step: int | None
    measurement: str | None
    marker: bool

    @property
    def weights(self) -> bool:
        """Whether the file holds the weights of a trained network."""
        return self.text.endswith(f"-weights{TENSORS}")

    @classmethod
    def parse(cls, text: str) -> FileName | None:
        """Reads a name; None for a file that no attempt has written."""
        match = _NAME.fullmatch(text)
        if match is None:
            return None
        attempt, digest, step, measurement, marker = match.groups()
        return cls(text, attempt, digest, None if step is None else int(step), measurement, marker is not None)


def write(folder: Folder, attempt: str, ending: str, content: bytes) -> str:
    """Writes a file of an attempt, and makes the replicate's folder; returns its name, which ends in `ending`."""
    name = f"{attempt}-{_sha256(content)[:_LENGTH]}{ending}"
    if folder.local is not None:
        folder.create(above=False)
    folder.write(name, content)
    return name


def read(folder: Folder, name: str) -> bytes:
    """A file's bytes, checked against the digest in its name where that holds one.

    Raises:
        DamagedFileError: They do not match, or no attempt gives a file such a name.
        FileNotFoundError: The file is absent.
    """
    parsed = FileName.parse(name)
    if parsed is None:
        raise DamagedFileError(f"{folder.url}: {name!r} is not the name of a replicate's file")
    try:
        content = folder.read(name, _LARGEST_MARKER if parsed.marker else LARGEST)
    except UnreadableFileError as error:
        raise DamagedFileError(str(error).removesuffix(".")) from None
    if parsed.digest is None and not parsed.marker:
        intact = _has_former_digest(content)
    else:
        intact = parsed.digest in (None, _sha256(content)[:_LENGTH])
    if not intact:
        raise DamagedFileError(f"{folder.url}/{name} is damaged: its digest does not match its content")
    return content


def read_tensors(folder: Folder, name: str) -> tuple[dict[str, np.ndarray], Record]:
    """The tensors and the record of a file, checked.

    Raises:
        DamagedFileError: It is damaged.
        FileNotFoundError: It is absent.
    """
    content = read(folder, name)
    try:
        return decode(content)
    except DamagedFileError as error:
        raise DamagedFileError(f"{folder.url}/{name} is damaged: {error}") from None


def encode(tensors: dict[str, np.ndarray], record: Record) -> bytes:
    """A file's bytes: `tensors` by name, and the record in the header."""
    return save_tensors(tensors, {"record": json.dumps(vars(record), allow_nan=False)})


def decode(content: bytes) -> tuple[dict[str, np.ndarray], Record]:
    """Reverses `encode`.

    Raises:
        DamagedFileError: The bytes hold no tensors, no record, values of wrong types, or images without keys.
    """
    try:
        tensors, header = load_tensors(content), _header(content)["__metadata__"]
        record = _records().validate_json(header["record"])
    except ValidationError as error:
        raise DamagedFileError(f"its record is damaged: {error.errors()[0]['msg']}") from None
    except (KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        raise DamagedFileError(f"it cannot be read: {error}".partition("\n")[0]) from None
    if not all(map(_is_row, record.rows)):
        raise DamagedFileError("a row of its record has no step, or a value of a wrong type")
    pixels = record.shape.pixels
    images = tensors.get("images", np.empty((0, pixels), np.uint8))
    if images.dtype != np.uint8 or images.shape != (len(record.images), pixels):
        raise DamagedFileError(f"it must hold {len(record.images)} images, but holds {images.dtype} {images.shape}")
    return tensors, record


def _is_row(row: dict[str, Any]) -> bool:
    """Whether a row has a step, `collapsed` is a truth value, and all else are numbers or null."""
    numbers = [value for name, value in row.items() if value is not None and name != "collapsed"]
    return (
        type(row.get("step")) is int
        and 0 <= row["step"] < 10**9
        and type(row.get("collapsed", False)) is bool
        and all(type(value) in (int, float) and abs(value) < 1e300 for value in numbers)
    )


@cache
def _records() -> TypeAdapter[Record]:
    return TypeAdapter(Record)  # takes a tenth of a second to make


def _header(content: bytes) -> dict[str, dict[str, str]]:
    """A safetensors file's header: eight bytes of its length, then JSON."""
    header: dict[str, dict[str, str]] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header


def _has_former_digest(content: bytes) -> bool:
    """Whether a file from before names held digests matches the one in its header."""
    try:
        header = _header(content)
        former = header.pop("__metadata__")
        payload = content[8 + int.from_bytes(content[:8], "little") :]
        return former["sha256"] == _sha256(
            json.dumps(header, sort_keys=True).encode() + former["record"].encode() + payload
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return False


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
