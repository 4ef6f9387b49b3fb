"""The work of one launch: its options, its packs, and how often a failed pack is tried again.

A runner, `study.run.ray_runner` or `study.run.inline`, takes the packs from a `Job`, trains them, and tells it how far
each has come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from study.runfolder import ERRORS
from study.spec import SpecError
from trainables import checkpoint
from trainables.pack_key import pack_key
from trainables.records import Progress
from trainables.schema import Replicate
from trainables.storage import Folder

if TYPE_CHECKING:
    from study.search.optuna_search import OptunaSearch
    from trainables.datasets import Dataset

MAX_RETRIES = 2
"""How many times a launch tries a failed pack again, from its newest checkpoint; lost workers and nodes count too."""
GPU_PACK = 64
"""How many replicates share a pack on a GPU, unless the user says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options by which a study is run; none is part of a replicate's hash. See `study launch --help`."""

    runner: Literal["ray", "inline"] = "ray"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    pack: int | None = None
    concurrency: int | None = None
    address: str | None = None
    ray_output: bool = False
    checkpoint_every_s: float = checkpoint.EVERY_S
    first_seed: int = 0
    cells: str = "*"

    @property
    def whole(self) -> bool:
        """Whether the launch runs all of the study, its search included."""
        return self.first_seed == 0 and self.cells == "*"

    def pack_size(self, device: str) -> int:
        """Returns how many replicates train together on a device."""
        return self.pack or (1 if device == "cpu" else GPU_PACK)

    def part(self, replicates: Sequence[Replicate]) -> list[Replicate]:
        """Selects the replicates that the launch is to run; raises SpecError if a part of a study selects none."""
        selected = [r for r in replicates if r.seed >= self.first_seed and fnmatchcase(r.cell, self.cells)]
        if not selected and not self.whole:
            cells = ", ".join(dict.fromkeys(r.cell for r in replicates))
            raise SpecError(
                f"a launch must run something, but no cell matches {self.cells!r} with a seed from "
                f"{self.first_seed} on; the cells are {cells}."
            )
        return selected


class Job:
    """The packs of a launch and everything that a worker needs to train one.

    Args:
        packs: Replicates that train together; a search adds further packs.
        data: The datasets by name.
        run: The run folder; workers write into its `replicates`, tracebacks go into its `errors`.
        device: "cpu" or "cuda".
        provenance: Written into each replicate's record.
        checkpoint_every_s: Seconds between a replicate's checkpoints.
        measurements: Names of what is measured of each trained network.
        plugins: Modules that a worker imports first.
        search: The study's search, if this launch runs it; its trials follow the other packs.
    """

    def __init__(
        self,
        *,
        packs: list[list[Replicate]],
        data: Mapping[str, Dataset],
        run: Folder,
        device: str,
        provenance: Mapping[str, Any],
        checkpoint_every_s: float = checkpoint.EVERY_S,
        measurements: Sequence[str] = (),
        plugins: Sequence[str] = (),
        search: OptunaSearch | None = None,
    ):
        self.packs, self.data, self.plugins, self.search = packs, data, plugins, search
        self.replicates, self.errors = run.child("replicates").create(above=False), run.child(ERRORS)
        self.device = device
        self.settings: dict[str, Any] = {
            "device": device,
            "provenance": provenance,
            "checkpoint_every_s": checkpoint_every_s,
            "measurements": measurements,
        }
        """Keyword arguments of `trainables.trial.run`."""
        self._trials: dict[int, int] = {}
        """Optuna's trial number of each pack that the search added."""

    def next_pack(self) -> int | None:
        """Adds the pack of the search's next trial and returns its index; None if there is none, or none yet."""
        number = None if self.search is None else self.search.next()
        if self.search is None or number is None:
            return None
        self.packs.append(self.search.state.members(number))
        self._trials[len(self.packs) - 1] = number
        return len(self.packs) - 1

    def report(self, pack: int, progress: Progress) -> str | None:
        """Tells the search how far a pack has come; returns the reason if the search stops the pack's training."""
        if self.search is None or pack not in self._trials:
            return None
        return self.search.report(self._trials[pack], progress)

    def close(self, pack: int) -> None:
        """Tells the search that no worker runs a pack any more."""
        if self.search is not None and pack in self._trials:
            self.search.close(self._trials[pack])

    def pauses(self, pack: int) -> list[int]:
        """Training steps at which a worker waits for the search's decision on a pack."""
        return self.search.rungs if self.search is not None and pack in self._trials else []

    def give_up(self, pack: int, reason: str, trace: str) -> int:
        """Marks a pack's members without a result as failed, and writes the traceback; returns how many failed."""
        failed = 0
        for replicate in self.packs[pack]:
            folder = self.replicates.child(replicate.hash)
            if checkpoint.standing(folder).status in ("pending", "running"):
                self.errors.create(above=False).write(
                    f"{replicate.hash}.txt", trace.replace(str(Path.home()), "~").encode()
                )
                checkpoint.cut_short(folder, replicate.described(), "failed", reason)
                failed += 1
        return failed

    def label(self, pack: int) -> str:
        """Names a pack for people."""
        first, *others = self.packs[pack]
        name = f"{first.cell}, seed {first.seed}"
        return f"{name} and {len(others)} more" if others else name


def make_packs(replicates: Sequence[Replicate], size: int, starts: Mapping[str, int]) -> list[list[Replicate]]:
    """Groups replicates that may train together, in the order of each pack's first.

    Args:
        replicates: Replicates to run.
        size: How many replicates a pack holds at most.
        starts: The step from which each replicate goes on, by hash; 0 by default. A pack's members start together.
    """
    packs: list[list[Replicate]] = []
    filling: dict[Any, list[Replicate]] = {}
    for replicate in replicates:
        key = (pack_key(replicate.config), starts.get(replicate.hash, 0))
        pack = filling.get(key) if replicate.config.task == "train" else None
        if pack is None or len(pack) == size:
            pack = filling[key] = []
            packs.append(pack)
        pack.append(replicate)
    return packs
