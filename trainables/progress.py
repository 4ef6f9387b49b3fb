"""How far a running pack is: what a worker tells the driver, which loads no torch for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.checkpoint import Status


@dataclass(frozen=True)
class Progress:
    """A word from a running pack: steps done by each member, of how many, and who has ended and how."""

    step: int
    steps: int
    members: int
    ended: Mapping[str, Status]
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """At a pause, what each running member measured there, by hash; `step` in it is the pause's."""
