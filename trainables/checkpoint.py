"""A replicate's files and what they mean: checkpoints while it runs, then its result and a finished marker.

A checkpoint is one file in one write: the weights, the optimiser's moments and the images recorded so far, with the
record in its header. Each attempt writes under its own id and overwrites nothing. Two attempts of one replicate do no
harm, since both give the same numbers. Needs neither torch nor Ray: tables are built from here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from trainables import replicate_file
from trainables.records import Record, Standing, Status
from trainables.replicate_file import MARKER, TENSORS, DamagedFileError, FileName, encode
from trainables.storage import Folder

EVERY_S = 30.0
"""Seconds between a trial's checkpoints, which a kill can cost."""
KEPT = 2
"""How many checkpoints are kept, so that a damaged one falls back to the one before."""
_LOOKS = 5
_LOG = logging.getLogger(__name__)


class _Checkpoint(NamedTuple):
    name: FileName
    tensors: dict[str, np.ndarray]
    record: Record


_Name = Annotated[str, BeforeValidator(lambda value: value.get("name") if isinstance(value, dict) else value)]
"""A file's name; old markers have its digest beside it."""


class _Files(BaseModel):
    model_config = ConfigDict(extra="forbid")
    record: _Name
    weights: _Name | None = None


class _Marker(BaseModel):
    """The last file of an attempt: how it has ended, the names of its result's files, and which replicate it is."""

    model_config = ConfigDict(extra="forbid")
    status: Literal["finished", "stopped", "failed", "diverged"]
    error: str | None
    files: _Files
    replicate: dict[str, Any] | None = None
    """The replicate's description: by it, a search that has lost its journal knows a trial with a damaged record."""
    step: int | None = None
    """The step at which it has ended, for the same use; absent from old markers."""


class Remains(NamedTuple):
    """Evidence of a replicate's former run, from those of its files that are undamaged.

    `replicate`: its description; `step`: the furthest step that it is known to have reached; `stopped`: whether it was
    stopped there.
    """

    replicate: dict[str, Any]
    step: int
    stopped: bool


def write_checkpoint(folder: Folder, attempt: str, step: int, tensors: dict[str, np.ndarray], record: Record) -> None:
    """Writes a checkpoint, then deletes older ones but the newest KEPT.

    The one just written stays, even where damaged files claim a later step.
    """
    written = replicate_file.write(folder, attempt, f"-{step:09d}{TENSORS}", encode(tensors, record))
    for name in _checkpoints(_list(folder))[KEPT:]:
        if name.text != written:
            folder.delete(name.text)


def read_checkpoint(folder: Folder, at_most: int | None = None) -> tuple[int, dict[str, np.ndarray], Record] | None:
    """Reads the newest valid checkpoint, of a step up to `at_most` if that is given; logs damaged ones.

    Returns:
        Its step, tensors and record, or None if there is none.
    """
    names = _checkpoints(_list(folder))
    newest = _newest(folder, [name for name in names if at_most is None or _step(name) <= at_most])
    return None if newest is None else (_step(newest.name), newest.tensors, newest.record)


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

    When all of it can be read back, checkpoints are deleted, and the files of other attempts without a valid result. A
    failed replicate keeps them, to be tried again from there.
    """
    images_of_record = {} if images is None else {"images": images}
    files = {"record": replicate_file.write(folder, attempt, f"-record{TENSORS}", encode(images_of_record, record))}
    if weights is not None:
        content = encode(weights, Record(record.replicate, provenance=record.provenance))
        files["weights"] = replicate_file.write(folder, attempt, f"-weights{TENSORS}", content)
    marker = {"status": status, "error": error, "files": files, "replicate": record.replicate, "step": _last(record)}
    replicate_file.write(folder, attempt, MARKER, json.dumps(marker).encode())
    names = _list(folder)
    ended = _by_marker(folder, names, thorough=True) if status != "failed" else None
    if ended is not None and ended.status != "failed":
        attempts = _ended_attempts(folder, names)
        for name in names:
            if name.step is not None or name.attempt not in attempts:
                folder.delete(name.text)


def standing(folder: Folder, *, thorough: bool = False) -> Standing:
    """Reads how far the replicate of this folder is, by the first valid marker, else the newest valid checkpoint.

    A result counts before a failure: a replicate that failed once and was finished by a later attempt is finished. A
    result counts only where its weights are there; `thorough` reads and checks these too.
    """
    return _look(folder, thorough)[0]


def result(folder: Folder) -> Standing | None:
    """Reads the end that the replicate of this folder has come to; None if there is none but a failure."""
    ended = _by_marker(folder, _list(folder))
    return None if ended is None or ended.status == "failed" else ended


def remains(folder: Folder) -> Remains | None:
    """Reads the evidence of a replicate's former run, for a search that has lost its journal; None if all is damaged.

    A replicate that was stopped has a result, but neither weights nor a checkpoint of that step.
    """
    replicate: dict[str, Any] = {}
    ends, trained = [0], [0]
    for name in _list(folder):
        try:
            if name.marker:
                marker = _marker(folder, name)
                described, step = marker.replicate, marker.step
            else:
                record = replicate_file.read_tensors(folder, name.text)[1]
                described, step = record.replicate, _last(record) if name.step is None else name.step
        except (DamagedFileError, FileNotFoundError):
            continue
        replicate = replicate or described or {}
        (ends if name.step is None else trained).append(step or 0)
    if not replicate:
        return None
    if any(name.weights for name in _list(folder)):
        trained.append(replicate["config"]["steps"] or 0)
    return Remains(replicate, max(ends + trained), max(ends) > max(trained))


def read_weights(folder: Folder, ended: Standing) -> dict[str, np.ndarray]:
    """Reads the final weights of a replicate by parameter name, checked.

    Raises:
        DamagedFileError: They are damaged, or the replicate has none.
        FileNotFoundError: Their file is absent.
    """
    return replicate_file.read_tensors(folder, ended.weights or "")[0]


def write_measurement(folder: Folder, ended: Standing, name: str, record: Record, images: np.ndarray) -> None:
    """Writes one measurement of a finished replicate's weights, then deletes damaged files of the same measurement.

    `record`: its profiles and the keys of its images, the rest is not read; an empty one says that it was made;
    `images`: uint8 `(len(record.images), pixels)`.
    """
    former = _measured(ended, _list(folder)).get(name, [])
    attempt = _attempt(ended)
    written = replicate_file.write(folder, attempt, f"-measured-{name}{TENSORS}", encode({"images": images}, record))
    for file in former:
        if file.text != written:
            folder.delete(file.text)


def unmeasured(folder: Folder, ended: Standing, names: Iterable[str]) -> list[str]:
    """Lists the measurements among `names` that have to be made of a finished replicate; damaged ones count as missing.

    Nothing is measured of a replicate that has not finished, or without weights.
    """
    wanted = list(names)
    if not wanted or ended.status != "finished" or ended.weights is None:
        return []
    files = _measured(ended, _list(folder))
    return [name for name in wanted if _first_valid(folder, files.get(name, [])) is None]


def with_measurements(folder: Folder, ended: Standing) -> Standing:
    """Adds the measurements of a replicate's weights to its record and its images; logs damaged ones."""
    if ended.record is None or ended.images is None or ended.weights is None:
        return ended
    profiles, keys, pixels = ended.record.profiles, ended.record.images, [ended.images]
    for _, files in sorted(_measured(ended, _list(folder)).items()):
        measurement = _first_valid(folder, files)
        if measurement is not None:
            tensors, record = measurement
            profiles, keys, pixels = profiles + record.profiles, keys + record.images, [*pixels, tensors["images"]]
    record = replace(ended.record, profiles=profiles, images=keys)
    return replace(ended, record=record, images=np.concatenate(pixels))


def cut_short(folder: Folder, replicate: dict[str, Any], status: Literal["failed", "stopped"], reason: str) -> None:
    """Ends a replicate where it is, with what its newest checkpoint had recorded; a failed one may be tried again."""
    newest = read_checkpoint(folder)
    record, images = (newest[2], newest[1]["images"]) if newest else (Record(replicate), None)
    finish(folder, uuid.uuid4().hex[:8], status, record, images=images, error=reason)


def tidy(folder: Folder) -> Standing:
    """Deletes former failures, damaged files and cut-off writes, before a launch tries a replicate again.

    Valid checkpoints stay, and so do the files of an attempt without a marker, which may still be at work. A replicate
    that has come to its end keeps all but cut-off writes and attempts whose result is damaged.

    Returns:
        How far it was before, its weights checked; with the checkpoint from which it goes on, a failed one too.
    """
    folder.sweep()
    before, names = _look(folder, thorough=True)
    if before.ended:
        damaged_attempts = {name.attempt for name in names if name.marker} - _ended_attempts(folder, names)
        for name in names:
            if name.attempt in damaged_attempts:
                folder.delete(name.text)
        return before
    checkpoints = _checkpoints(names)
    if before.status == "failed":
        newest = _newest(folder, checkpoints)
        if newest is not None:
            before = replace(before, checkpoint=newest.name.text, step=_step(newest.name))
    valid = next((place for place, name in enumerate(checkpoints) if name.text == before.checkpoint), len(checkpoints))
    damaged = checkpoints[:valid]
    ended = {name.attempt for name in names if name.marker}
    for name in [*damaged, *(name for name in names if name.step is None and name.attempt in ended)]:
        folder.delete(name.text)
    return before


def _look(folder: Folder, thorough: bool) -> tuple[Standing, list[FileName]]:
    """The standing, and the names of the files that it was read from."""
    current, names = Standing("pending"), _list(folder)
    for _ in range(_LOOKS):
        current = _standing(folder, names, thorough)
        if current.status != "pending" or not names:
            break
        before, names = names, _list(folder)
        if before == names:
            break  # else files came or went meanwhile: look again
    return current, names


def _standing(folder: Folder, names: list[FileName], thorough: bool) -> Standing:
    ended = _by_marker(folder, names, thorough=thorough)
    if ended is not None:
        return ended
    newest = _newest(folder, _checkpoints(names))
    if newest is None:
        return Standing("pending")
    name, tensors, record = newest
    return Standing("running", record=record, images=tensors["images"], checkpoint=name.text, step=_step(name))


def _newest(folder: Folder, checkpoints: Sequence[FileName]) -> _Checkpoint | None:
    """The first valid one of `checkpoints`; logs damaged ones."""
    for name in checkpoints:
        try:
            tensors, record = replicate_file.read_tensors(folder, name.text)
            if "images" not in tensors:
                raise DamagedFileError(f"{folder.url}/{name.text} is damaged: it holds no images")
        except FileNotFoundError:
            continue  # another attempt has deleted it
        except DamagedFileError as error:
            _LOG.warning("%s; falling back to the checkpoint before it.", error)
            continue
        return _Checkpoint(name, tensors, record)
    return None


def _by_marker(folder: Folder, names: Sequence[FileName], *, thorough: bool = False) -> Standing | None:
    """The first valid result, else the last valid failure; logs damaged ones."""
    failure = None
    for name in (name for name in names if name.marker):
        try:
            ended = _read_marker(folder, name, names, thorough)
        except (DamagedFileError, FileNotFoundError) as error:
            _LOG.warning("%s/%s does not count: %s.", folder.url, name.text, error)
            continue
        if ended.status != "failed":
            return ended
        failure = ended
    return failure


def _ended_attempts(folder: Folder, names: Sequence[FileName]) -> set[str]:
    """The attempts with a valid result, of a folder that is known to have one: a single marker is not read again."""
    markers = [name for name in names if name.marker]
    if len(markers) == 1:
        return {markers[0].attempt}
    attempts = set()
    for name in markers:
        with contextlib.suppress(DamagedFileError, FileNotFoundError):
            _read_marker(folder, name, names, True)
            attempts.add(name.attempt)
    return attempts


def _read_marker(folder: Folder, name: FileName, names: Sequence[FileName], thorough: bool) -> Standing:
    marker = _marker(folder, name)
    weights = marker.files.weights
    if weights is not None and weights not in {file.text for file in names}:
        raise DamagedFileError(f"{weights}, the weights, is absent: the network is trained again")
    tensors, record = replicate_file.read_tensors(folder, marker.files.record)
    if weights is not None and thorough:
        replicate_file.read_tensors(folder, weights)
    return Standing(marker.status, marker.error, record, tensors.get("images"), weights)


def _marker(folder: Folder, name: FileName) -> _Marker:
    try:
        return _Marker.model_validate_json(replicate_file.read(folder, name.text))
    except ValidationError as error:
        raise DamagedFileError(f"it is no marker ({error.errors()[0]['msg']})") from None


def _list(folder: Folder) -> list[FileName]:
    """Names of the files that attempts have written."""
    return [name for name in map(FileName.parse, folder.files()) if name is not None]


def _checkpoints(names: Iterable[FileName]) -> list[FileName]:
    """Checkpoints among `names`, the newest step first."""
    return sorted((name for name in names if name.step is not None), key=lambda name: (_step(name), name), reverse=True)


def _last(record: Record) -> int | None:
    """The step of a record's last row."""
    return record.rows[-1]["step"] if record.rows else None


def _step(checkpoint: FileName) -> int:
    return checkpoint.step or 0


def _attempt(ended: Standing) -> str:
    """The attempt that left the weights; measurements of them are its files."""
    return (ended.weights or "")[:8]


def _measured(ended: Standing, names: Iterable[FileName]) -> dict[str, list[FileName]]:
    """Files with measurements of the weights, by measurement; two where two workers made one at once."""
    files: dict[str, list[FileName]] = {}
    for name in names:
        if name.measurement is not None and name.attempt == _attempt(ended):
            files.setdefault(name.measurement, []).append(name)
    return files


def _first_valid(folder: Folder, measured: Iterable[FileName]) -> tuple[dict[str, np.ndarray], Record] | None:
    """Reads the first valid file of a measurement; logs damaged ones."""
    for name in measured:
        try:
            tensors, record = replicate_file.read_tensors(folder, name.text)
            return {"images": tensors["images"]}, record
        except (DamagedFileError, FileNotFoundError, KeyError) as error:
            _LOG.warning("%s. The next launch makes this measurement again.", error)
    return None
