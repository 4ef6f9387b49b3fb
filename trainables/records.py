"""The records of a trial: what a replicate has measured, how far it is, and its progress. Neither torch nor Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field

from trainables.shape import MNIST, Shape

if TYPE_CHECKING:
    import numpy as np

Status = Literal["pending", "running", "finished", "stopped", "failed", "diverged"]
Count = Annotated[int, Field(ge=0, lt=10**9)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Profile(NamedTuple):
    """The values of a quantity of `trainables.quantities` at a step; one that is not finite is None."""

    step: Count
    quantity: str
    values: list[Number | None]


class ImageKey(NamedTuple):
    """The columns of an image: its step, its kind in `trainables.quantities`, its `index`, and that kind's two."""

    step: Count
    kind: str
    place: Count
    axis: Count | None
    value: Number | None


@dataclass
class Record:
    """A replicate's measurements so far.

    `rows`: one dict of metrics per evaluated step; `images`: a key for each row of the uint8 array `(n, pixels)` that
    is stored beside the record; `train_s`, `evaluate_s`: seconds spent, over all attempts that this one continues.
    """

    replicate: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    images: list[ImageKey] = field(default_factory=list)
    train_s: Number = 0.0
    evaluate_s: Number = 0.0
    provenance: dict[str, str | None] = field(default_factory=dict)
    shape: Shape = MNIST
    """The images' shape; records that are older than it are of MNIST's."""


@dataclass(frozen=True)
class Standing:
    """A replicate's standing: its status, the reason if it failed, its record, its images, uint8 `(n, pixels)`."""

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
    """The row of each running member at a pause, by hash; its `step` is the pause's."""
