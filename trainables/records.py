"""The records of a trial: what a replicate has measured, how far it is, and its progress. Neither torch nor Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

Status = Literal["pending", "running", "finished", "stopped", "failed", "diverged"]


class Profile(NamedTuple):
    """The values of a quantity of `trainables.quantities` at a step; one that is not finite is None."""

    step: int
    quantity: str
    values: list[float | None]


class ImageKey(NamedTuple):
    """The columns of an image: its step, its kind in `trainables.quantities`, its `index`, and that kind's two."""

    step: int
    kind: str
    place: int
    axis: int | None
    value: float | None


@dataclass
class Record:
    """A replicate's measurements so far.

    `rows`: one dict of metrics per evaluated step; `images`: a key for each row of the uint8 array `(n, 784)` that is
    stored beside the record; `train_s`, `evaluate_s`: seconds spent, over all attempts that this one continues.
    """

    replicate: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    images: list[ImageKey] = field(default_factory=list)
    train_s: float = 0.0
    evaluate_s: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Standing:
    """How far a replicate is: its status, the reason if it failed, its record, its images, uint8 `(n, 784)`."""

    status: Status
    error: str | None = None
    record: Record | None = None
    images: np.ndarray | None = None
    weights: str | None = None
    """Name of the file with the final weights, in the replicate's folder."""
    checkpoint: str | None = None
    """Name of the newest valid checkpoint, from which a running replicate goes on."""
    step: int = 0
    """Step of that checkpoint; 0 where there is none."""

    @property
    def ended(self) -> bool:
        """Whether nothing changes it any more: it has finished, was stopped, or diverged; a failure is tried again."""
        return self.status in ("finished", "stopped", "diverged")


@dataclass(frozen=True)
class Progress:
    """A worker's message about its pack: steps done by each member, of how many, and who has ended and how."""

    step: int
    steps: int
    members: int
    ended: Mapping[str, Status]
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """At a pause, what each running member measured there, by hash; `step` in it is the pause's."""
