"""One replicate on its way: where it writes, what it has measured so far, how it is saved and how it ends."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from trainables import checkpoint
from trainables.models import PIXELS
from trainables.numerics import continued
from trainables.records import ImageKey, Profile, Record, Status
from trainables.schema import COLLAPSED_PIXEL_VARIANCE, METRICS, Replicate
from trainables.storage import Folder

NO_IMAGES = np.empty((0, PIXELS), np.uint8)


@dataclass
class Member:
    """A replicate, its folder, the attempt that writes there, its record, and its images, `(n, 784)` uint8 each."""

    replicate: Replicate
    folder: Folder
    attempt: str
    record: Record
    images: list[np.ndarray] = field(default_factory=list)
    status: Status = "running"
    noise: dict[str, Tensor] = field(default_factory=dict)
    """What the evaluation of each split samples z with, once it has been drawn."""
    shown: dict[str, Tensor] = field(default_factory=dict)
    """What the network is given for the images of each of these splits, uint8 `(n, 784)`."""

    @classmethod
    def start(cls, replicate: Replicate, folder: Folder, stamp: dict[str, Any]) -> Member:
        """A new attempt at a replicate, in its folder in the run's `replicates` folder."""
        record = Record(replicate.described(), provenance=stamp)
        return cls(replicate, folder.child(replicate.hash), uuid.uuid4().hex[:8], record)

    def resume(self, at_most: int | None = None) -> tuple[int, dict[str, np.ndarray]]:
        """Goes on from the newest valid checkpoint: the step that it was written at, 0 without one, and its tensors.

        Args:
            at_most: Goes on from this step at the latest.
        """
        stamp = self.record.provenance
        self.record = Record(self.replicate.described(), provenance=stamp)
        self.images = []
        found = checkpoint.read_checkpoint(self.folder, at_most)
        if found is None:
            return 0, {}
        step, tensors, self.record = found
        self.record.provenance = continued(self.record.provenance, stamp)
        self.images = [tensors.pop("images")]
        return step, tensors

    def append(self, row: Mapping[str, Any]) -> None:
        """Records an evaluation: `step`, `epoch` and METRICS, of which those that are absent or not finite are null."""
        values = {name: finite(row.get(name)) for name in METRICS}
        variance = values["test_pixel_variance"]
        collapsed = variance is not None and variance < COLLAPSED_PIXEL_VARIANCE
        clock = {"train_s": round(self.record.train_s, 3), "evaluate_s": round(self.record.evaluate_s, 3)}
        self.record.rows.append({"step": row["step"], "epoch": row["epoch"], "collapsed": collapsed} | values | clock)

    def note(self, step: int, profiles: Mapping[str, Sequence[float]]) -> None:
        """Records values by quantity; those that are not finite are null."""
        self.record.profiles += [Profile(step, name, list(map(finite, values))) for name, values in profiles.items()]

    def keep(self, step: int, kind: str, images: Tensor) -> None:
        """Records images, uint8 `(n, 784)`."""
        self.record.images += [ImageKey(step, kind, index, None, None) for index in range(len(images))]
        self.images.append(images.cpu().numpy())

    def save(self, step: int, state: dict[str, Tensor]) -> None:
        """Writes a checkpoint."""
        tensors = _to_numpy(state) | {"images": np.concatenate(self.images)}
        checkpoint.write_checkpoint(self.folder, self.attempt, step, tensors, self.record)

    def finish(self, model: nn.Module | None, status: Status, error: str | None = None) -> None:
        """Writes the result, with the model's weights where there is one."""
        self.status = status
        images = np.concatenate([NO_IMAGES, *self.images])
        weights = None if model is None else _to_numpy(dict(model.named_parameters()))
        checkpoint.finish(self.folder, self.attempt, status, self.record, images=images, weights=weights, error=error)


def charge(members: Sequence[Member], *, train_s: float = 0.0, evaluate_s: float = 0.0) -> None:
    """Adds seconds to the members' records, shared equally between those of a pack."""
    for member in members:
        member.record.train_s += train_s / len(members)
        member.record.evaluate_s += evaluate_s / len(members)


def finite(value: float | None) -> float | None:
    """The value, or None where it is not finite: tables hold no NaN."""
    return value if value is not None and math.isfinite(value) else None


def all_finite(values: Iterable[float | None]) -> bool:
    """Whether every value that there is is finite."""
    return all(math.isfinite(value) for value in values if value is not None)


def _to_numpy(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}  # () stays ()
