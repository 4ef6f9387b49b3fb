"""What a replicate leaves in its folder: checkpoints while it runs, then its result and a finished marker.

A checkpoint is one safetensors file in one write. Its tensors are the weights, the optimiser's moments and the images
recorded so far; its header holds the record (config, metric history, profiles) and a digest of all of it, so a damaged
file is known when it is read. Each attempt writes under its own id and overwrites nothing; two attempts of one
replicate do no harm, since both give the same numbers. Needs neither torch nor ray: tables are built from here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import uuid
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any, Literal, get_args

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from trainables.errors import ReadableError
from trainables.records import ImageKey, Profile, Record, Standing, Status
from trainables.storage import Folder

Outcome = Standing  # the former name, to be deleted when every branch uses the new one
EVERY_S = 30.0
"""Seconds between a trial's checkpoints: what a kill can cost."""
KEPT = 2
"""Checkpoints kept, so that a damaged one falls back to the one before."""

_SUFFIX = ".safetensors"
_CHECKPOINT = re.compile(r"[0-9a-f]{8}-\d{9}\.safetensors")
_MARKER = re.compile(r"[0-9a-f]{8}\.done\.json")
_LOOKS = 5
_LOG = logging.getLogger(__name__)


class DamagedFileError(ReadableError):
    """A checkpoint or marker whose content does not match its digest."""


def encode(tensors: dict[str, np.ndarray], record: Record) -> bytes:
    """A checkpoint's bytes: `tensors` by name, and the record and the digest of both in the header."""
    text = json.dumps(asdict(record), allow_nan=False)
    layout, payload = _parse(save_tensors(tensors))
    return save_tensors(tensors, {"record": text, "sha256": _digest(layout, text, payload)})


def decode(content: bytes) -> tuple[dict[str, np.ndarray], Record]:
    """Reverses `encode`.

    Raises:
        DamagedFileError: The bytes are not what `encode` gave.
    """
    try:
        layout, payload = _parse(content)
        metadata = layout.pop("__metadata__")
        if _digest(layout, metadata["record"], payload) != metadata["sha256"]:
            raise DamagedFileError("its digest does not match its content")
        return load_tensors(content), _record(json.loads(metadata["record"]))
    except (KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        raise DamagedFileError(str(error)) from None


def write_checkpoint(folder: Folder, attempt: str, step: int, tensors: dict[str, np.ndarray], record: Record) -> None:
    """Writes a checkpoint, then drops all but the newest KEPT and this one, which damaged ones may lie before."""
    written = f"{attempt}-{step:09d}.safetensors"
    folder.write(written, encode(tensors, record))
    for name in _checkpoints(folder.files())[KEPT:]:
        if name != written:
            folder.delete(name)


def read_checkpoint(folder: Folder, at_most: int | None = None) -> tuple[int, dict[str, np.ndarray], Record] | None:
    """The newest valid checkpoint, of a step up to `at_most` if given: its step, tensors and record.

    None if there is none. Damaged ones are named.
    """
    names = _checkpoints(folder.files())
    newest = _newest(folder, [name for name in names if at_most is None or _step(name) <= at_most])
    return None if newest is None else (_step(newest[0]), *newest[1:])


def finish(
    folder: Folder,
    attempt: str,
    status: Status,
    record: Record,
    *,
    images: np.ndarray | None,
    weights: dict[str, np.ndarray] | None = None,
    error: str | None = None,
) -> None:
    """Writes the result, the small record apart from the weights, then the marker that makes it count.

    When that can be read back, checkpoints are dropped, and what other attempts have left without a marker. A failed
    replicate keeps them, to be tried again from there.
    """
    parts = {"record": encode({} if images is None else {"images": images}, record)}
    if weights is not None:
        parts["weights"] = encode(weights, Record(record.replicate, provenance=record.provenance))
    files = {}
    for kind, content in parts.items():
        name = f"{attempt}-{kind}.safetensors"
        folder.write(name, content)
        files[kind] = {"name": name, "sha256": hashlib.sha256(content).hexdigest()}
    folder.write(f"{attempt}.done.json", json.dumps({"status": status, "error": error, "files": files}).encode())
    if status != "failed" and result(folder) is not None:
        names = folder.files()
        ended = {_attempt(name) for name in filter(_MARKER.fullmatch, names)}
        for old in names:
            if _CHECKPOINT.fullmatch(old) or _attempt(old) not in ended:
                folder.delete(old)


def outcome(folder: Folder) -> Standing:
    """How the replicate of this folder stands, by the first valid marker, else the newest valid checkpoint.

    A result counts before a failure: a replicate that failed once and was finished by a later attempt is finished.
    """
    return _look(folder)[0]


def result(folder: Folder) -> Standing | None:
    """The end that the replicate of this folder has come to, if it has, other than a failure."""
    found = _by_marker(folder, folder.files())
    return None if found is None or found.status == "failed" else found


def write_measurement(folder: Folder, found: Standing, name: str, record: Record, images: np.ndarray) -> None:
    """Writes what one measurement has found of a finished replicate's weights; an empty record says that it was made.

    Args:
        folder: The replicate's.
        found: The replicate's outcome.
        name: The measurement's.
        record: Its profiles and the index of its images; what stands for the rest is not read.
        images: uint8 `(len(record.images), 784)`.
    """
    folder.write(_measurement(found, name), encode({"images": images}, record))


def unmeasured(folder: Folder, found: Standing, names: Iterable[str]) -> list[str]:
    """Measurements among `names` that have yet to be made of a replicate; none of one that has not finished."""
    wanted = list(names)
    if not wanted or found.status != "finished" or found.weights is None:
        return []
    there = set(folder.files())
    return [name for name in wanted if _measurement(found, name) not in there]


def with_measurements(folder: Folder, found: Standing) -> Standing:
    """The outcome with what was measured of its weights, measurement by measurement; a damaged one is named."""
    if found.record is None or found.images is None or found.weights is None:
        return found
    profiles, index, pixels = found.record.profiles, found.record.images, [found.images]
    prefix = _measurement(found, "").removesuffix(_SUFFIX)
    for name in sorted(name for name in folder.files() if name.startswith(prefix)):
        try:
            tensors, record = decode(folder.read(name))
        except (DamagedFileError, FileNotFoundError) as error:
            _LOG.warning("%s/%s does not count: %s. Delete it to have it measured again.", folder.url, name, error)
            continue
        profiles, index, pixels = profiles + record.profiles, index + record.images, [*pixels, tensors["images"]]
    record = replace(found.record, profiles=profiles, images=index)
    return replace(found, record=record, images=np.concatenate(pixels))


def cut_short(folder: Folder, replicate: dict[str, Any], status: Literal["failed", "stopped"], reason: str) -> None:
    """Ends a replicate where it is, with what its newest checkpoint had measured; a failed one may be tried again."""
    newest = read_checkpoint(folder)
    record, images = (newest[2], newest[1]["images"]) if newest else (Record(replicate), None)
    finish(folder, uuid.uuid4().hex[:8], status, record, images=images, error=reason)


def tidy(folder: Folder) -> Standing:
    """Before a replicate is tried again, drops former failures, damaged checkpoints and cut-off writes.

    Valid checkpoints stay, and so does what an attempt without a marker has written, which may still be at work. Does
    nothing to a replicate that has come to its end.

    Returns:
        How it stood before, and the checkpoint from which it goes on, a failed one too.
    """
    found, names = _look(folder)
    if found.ended:
        return found
    folder.sweep()
    if found.status == "failed":
        newest = _newest(folder, names)
        if newest is not None:
            found = replace(found, checkpoint=newest[0], step=_step(newest[0]))
    checkpoints = _checkpoints(names)
    damaged = checkpoints[: checkpoints.index(found.checkpoint)] if found.checkpoint else checkpoints
    over = {_attempt(name) for name in filter(_MARKER.fullmatch, names)}
    for name in names:
        if name in damaged if _CHECKPOINT.fullmatch(name) else _attempt(name) in over:
            folder.delete(name)
    return found


def _look(folder: Folder) -> tuple[Standing, list[str]]:
    """The outcome, and the names of the files that it was read from."""
    found, names = Standing("pending"), folder.files()
    for _ in range(_LOOKS):
        found = _outcome(folder, names)
        if found.status != "pending" or not names:
            break
        seen, names = names, folder.files()
        if seen == names:
            break  # else files came or went while this one looked: look again
    return found, names


def _outcome(folder: Folder, names: list[str]) -> Standing:
    found = _by_marker(folder, names)
    if found is not None:
        return found
    newest = _newest(folder, names)
    if newest is None:
        return Standing("pending")
    name, tensors, record = newest
    return Standing("running", record=record, images=tensors["images"], checkpoint=name, step=_step(name))


def _newest(folder: Folder, names: list[str]) -> tuple[str, dict[str, np.ndarray], Record] | None:
    """The newest valid checkpoint among `names`: its name, tensors and record. Damaged ones are named."""
    for name in _checkpoints(names):
        try:
            return name, *decode(folder.read(name))
        except FileNotFoundError:
            continue  # another attempt has dropped it
        except DamagedFileError as error:
            _LOG.warning("%s/%s is damaged (%s); falling back to the checkpoint before it.", folder.url, name, error)
    return None


def _by_marker(folder: Folder, names: list[str]) -> Standing | None:
    failed = None
    for name in filter(_MARKER.fullmatch, names):
        try:
            found = _read_marker(folder, name)
        except (DamagedFileError, FileNotFoundError) as error:
            _LOG.warning("%s/%s does not count: %s.", folder.url, name, error)
            continue
        if found.status != "failed":
            return found
        failed = found
    return failed


def _read_marker(folder: Folder, name: str) -> Standing:
    try:
        marker = json.loads(folder.read(name))
        files = marker["files"]
        content = folder.read(files["record"]["name"])
        status, error, digest = marker["status"], marker["error"], files["record"]["sha256"]
        weights = files["weights"]["name"] if "weights" in files else None
    except (KeyError, TypeError, ValueError, IsADirectoryError) as problem:  # ValueError: JSON, UTF-8, file names
        raise DamagedFileError(f"it is no marker ({problem})") from None
    if status not in get_args(Status):
        raise DamagedFileError(f"its status is {status!r}")
    if hashlib.sha256(content).hexdigest() != digest:
        raise DamagedFileError(f"{files['record']['name']} does not match its digest")
    tensors, record = decode(content)
    return Standing(status, error, record, tensors.get("images"), weights)


def _record(fields: dict[str, Any]) -> Record:
    """A Record from its JSON."""
    record = Record(**fields)
    record.profiles = [Profile(*profile) for profile in record.profiles]
    record.images = [ImageKey(*key) for key in record.images]
    return record


def _checkpoints(names: list[str]) -> list[str]:
    """Checkpoint names among `names`, the newest step first."""
    return sorted(filter(_CHECKPOINT.fullmatch, names), key=lambda name: (_step(name), name), reverse=True)


def _measurement(found: Standing, name: str) -> str:
    """The file of a measurement, which belongs to the attempt that left the weights."""
    return f"{_attempt(found.weights or '')}-measured-{name}{_SUFFIX}"


def _step(checkpoint: str) -> int:
    return int(checkpoint.removesuffix(".safetensors").partition("-")[2])


def _attempt(name: str) -> str:
    return name[:8]


def _parse(content: bytes) -> tuple[dict[str, Any], bytes]:
    """A safetensors file's header and payload: 8 bytes of length, JSON, tensors."""
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def _digest(layout: dict[str, Any], record: str, payload: bytes) -> str:
    digest = hashlib.sha256(json.dumps(layout, sort_keys=True).encode())
    digest.update(record.encode())
    digest.update(payload)
    return digest.hexdigest()
