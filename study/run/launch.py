"""Runs a study: from replicates to packs, to Ray Tune or this process, to the run folder.

The run folder is the truth. A launch reads how each replicate stands, runs what is not finished and rebuilds the
tables; Ray (in `study.run.ray_runner`) or this process only schedules. Launching again continues.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from study import plan as space
from study import provenance
from study import runfolder as table
from study.cluster.clusterfile import PLACEHOLDER
from study.run import lock, preflight
from study.run.display import Display
from study.run.lock import RunError
from study.run.stop import Stop
from study.runfolder import Tables
from study.spec import SpecError, StudySpec
from trainables import checkpoint, datasets
from trainables.packing import shared_fields
from trainables.progress import Progress
from trainables.records import Standing as Outcome
from trainables.registry import added
from trainables.schema import Replicate
from trainables.storage import Folder, StorageError

if TYPE_CHECKING:
    from study.search.optuna_search import Search

TABLE_EVERY_S, TABLE_SHARE = 60.0, 0.05
"""The tables are rebuilt after so many seconds at the soonest, and for no more than this share of the driver's time."""
MAX_RETRIES = 2
"""Times that a pack is tried again, from its newest checkpoint, before its replicates count as failed."""
GPU_PACK = 64
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How to run, none of which changes a number: see `study launch --help`."""

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
        """Whether this launch is to run all of the study, its search too."""
        return self.first_seed == 0 and self.cells == "*"

    def part(self, replicates: Sequence[Replicate], *, more: bool) -> list[Replicate]:
        """Those that this launch is to run; raises SpecError where there are none, and there will be no `more`."""
        chosen = [r for r in replicates if r.seed >= self.first_seed and fnmatchcase(r.cell, self.cells)]
        if not chosen and not more:
            known = ", ".join(dict.fromkeys(r.cell for r in replicates))
            raise SpecError(
                f"a launch must run something, but no cell matches {self.cells!r} with a seed from "
                f"{self.first_seed} on; the cells are {known}."
            )
        return chosen


@dataclass(frozen=True)
class Job:
    """What a runner is given: the packs, their data, where they write, and the other arguments of `trial.run`."""

    packs: list[list[Replicate]]
    data: dict[str, datasets.Dataset]
    replicates: Folder
    device: str
    provenance: dict[str, Any]
    checkpoint_every_s: float
    measurements: Sequence[str] = ()
    plugins: Sequence[str] = ()
    search: Search | None = None
    """Where packs come from after those that are there; `trials` has the search's number of each pack of it."""
    trials: dict[int, int] = field(default_factory=dict)
    check: Callable[[], str | None] | None = None
    """Says what is wrong with the node that asks, if anything; in a cluster, to which nodes come while a study runs."""

    def ask(self) -> int | None:
        """The index of a further pack, of a trial that the search has left or asks for; None at its end."""
        number = None if self.search is None else self.search.next()
        if self.search is None or number is None:
            return None
        self.packs.append(self.search.members(number))
        self.trials[len(self.packs) - 1] = number
        return len(self.packs) - 1

    def hear(self, pack: int, progress: Progress) -> str | None:
        """Passes on what a pack reports; a reason to stop it, where there is one. It is stopped in the run folder."""
        if self.search is None or pack not in self.trials:
            return None
        return self.search.hear(self.trials[pack], progress)

    def end(self, pack: int) -> None:
        """Passes on that a pack runs no more."""
        if self.search is not None and pack in self.trials:
            self.search.end(self.trials[pack])

    def pauses(self, pack: int) -> list[int]:
        """Steps at which a pack is to wait for what the search says."""
        return self.search.rungs if self.search is not None and pack in self.trials else []

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of `trial.run`."""
        return {
            "device": self.device,
            "provenance": self.provenance,
            "checkpoint_every_s": self.checkpoint_every_s,
            "measurements": self.measurements,
        }


def launch(spec: StudySpec, url: str, options: Options, console: Console) -> Counter[str]:
    """Runs what is not finished of a study in a run folder.

    Args:
        spec: The study.
        url: The run folder.
        options: How to run.
        console: For progress.

    Returns:
        How many of the study's replicates stand how, by status; "pending" and "running" ones and those "to measure"
        were left undone, since somebody asked to stop; "unmeasured" ones have finished, but measuring them failed.

    Raises:
        RunError: The folder is in use, cannot be written, has no room, or belongs to another spec.
        trainables.storage.StorageError: The folder could no longer be written.
        trainables.datasets.DataError: A dataset is not to be had.
        study.spec.SpecError: A cell is no valid config, or a plugin's model does not have the form of ours.
    """
    run, spec = Folder(url), spec.with_asked([])
    space.check(spec)
    preflight.check_models(spec)
    with Stop() as stop, lock.held(run, stop.ask):
        data = {name: datasets.load(name) for name in space.datasets(spec)}
        digests = {name: dataset.digest for name, dataset in data.items()}
        origin = _claim(run, spec, digests)
        known = _search(run, spec, digests)
        search = known if options.whole else None
        whole = spec if search is None else spec.with_asked(search.asked)
        wanted = options.part(space.replicates(whole, digests), more=search is not None)
        if search is not None:
            search.settle()
        standing = _tidy(run, wanted, kept=set() if known is None else known.told_hashes)
        unmeasured = table.unmeasured(run, spec, standing)
        _announce(console, run, standing, len(unmeasured), search)
        searched = set() if search is None else search.hashes
        todo = [r for r in wanted if r.hash in unmeasured or not (standing[r.hash].ended or r.hash in searched)]
        starts = {r.hash: -1 if r.hash in unmeasured else standing[r.hash].step for r in todo}
        builder = table.Builder(run)
        preflight.check_room(run, todo + ([] if search is None else search.expected()))
        if (todo or (search is not None and search.left)) and not stop.asked():
            with _ray(options, stop):
                device = _device(options)
                packs = plan(todo, options.pack or (1 if device == "cpu" else GPU_PACK), starts)
                folder, every = run.child("replicates").create(), options.checkpoint_every_s
                job = Job(packs, data, folder, device, origin, every, spec.measurements, spec.plugins, search)
                _run(job, builder, options, console, stop)
        counts = _counts(builder.build(), {r.hash for r in wanted}, search)
        left = len(table.unmeasured(run, spec, table.outcomes(run, todo if spec.final_measurements else [])))
        return +(counts + Counter({"to measure" if stop.asked() else "unmeasured": left}) - Counter(finished=left))


def _counts(tables: Tables, wanted: set[str], search: Search | None) -> Counter[str]:
    """How many replicates stand how; what a search has yet to ask for is pending.

    One that diverges in a search is an answer like others, so that it is not "diverged" but "diverged in the search".
    """
    searched = set() if search is None else search.hashes
    ends = tables.rows("results", ["replicate", "status"], {"replicate": sorted(wanted | searched)})
    ends = ends.drop_duplicates("replicate")
    expected = ends["replicate"].isin(searched) & (ends["status"] == "diverged")
    counts = Counter[str](ends["status"].mask(expected, "diverged in the search"))
    if search is not None:
        counts.update({"pending": search.left * search.seeds - search.unended})
    return counts


def plan(replicates: Sequence[Replicate], size: int, starts: Mapping[str, int]) -> list[list[Replicate]]:
    """Packs of at most `size` replicates that may share one, in the order of the first of each.

    Args:
        replicates: What is to be run.
        size: Members of a pack.
        starts: The step from which each goes on, by hash; 0 if it is not there. Those of a pack start together.
    """
    packs: list[list[Replicate]] = []
    filling: dict[Any, list[Replicate]] = {}
    for replicate in replicates:
        alike = (shared_fields(replicate.config), starts.get(replicate.hash, 0))
        home = filling.get(alike) if replicate.config.task == "train" else None
        if home is None or len(home) == size:
            home = filling[alike] = []
            packs.append(home)
        home.append(replicate)
    return packs


def label(pack: Sequence[Replicate]) -> str:
    """A pack's name for people."""
    first = f"{pack[0].cell}, seed {pack[0].seed}"
    return first if len(pack) == 1 else f"{first} and {len(pack) - 1} more"


def give_up(job: Job, index: int, reason: str, display: Display) -> None:
    """Marks the members of a pack that have no result as failed."""
    lost = 0
    for replicate in job.packs[index]:
        folder = job.replicates.child(replicate.hash)
        if checkpoint.outcome(folder).status in ("pending", "running"):
            checkpoint.cut_short(folder, replicate.described(), "failed", reason)
            lost += 1
    display.failed(index, lost, reason)


def _run(job: Job, builder: table.Builder, options: Options, console: Console, stop: Stop) -> None:
    members = [replicate for pack in job.packs for replicate in pack]
    steps = sum(replicate.config.steps or 1 for replicate in members)
    pending = len(members)
    if job.search is not None:
        pending += job.search.left * job.search.seeds
        steps += job.search.left * job.search.seeds * job.search.usual_steps
    due = time.monotonic() + TABLE_EVERY_S

    def tick() -> None:
        nonlocal due
        started = time.monotonic()
        if started > due:
            try:
                builder.build()
            except StorageError:
                raise
            except OSError as error:  # of a remote folder, and it may pass
                _LOG.warning("%s: the tables could not be rebuilt: %s", builder.run.url, error)
            ended = time.monotonic()
            due = ended + max(TABLE_EVERY_S, (ended - started) / TABLE_SHARE)

    with Display(lambda index: label(job.packs[index]), pending, steps, console) as display:
        if options.runner == "inline":
            from study.run import inline

            inline.run(job, display, tick, stop)
        else:
            from study.run import ray_runner

            ray_runner.run(job, options, display, tick, stop)


def _tidy(run: Folder, replicates: Sequence[Replicate], kept: Collection[str]) -> dict[str, Outcome]:
    """Clears away what killed and failed attempts have left; returns how each replicate stood, without its record.

    Of those in `kept`, whose failures are final, nothing is cleared away.
    """
    run.sweep()
    folder = run.child("replicates")
    folder.sweep()
    begun = set(folder.names())
    standing = {}
    for name in (replicate.hash for replicate in replicates):
        look = checkpoint.outcome if name in kept else checkpoint.tidy
        found = look(folder.child(name)) if name in begun else Outcome("pending")
        standing[name] = dataclasses.replace(found, record=None, images=None)
    return standing


def _claim(run: Folder, spec: StudySpec, digests: dict[str, str]) -> dict[str, Any]:
    """Writes the spec and the provenance into the run folder, if what is there may grow into them.

    Returns the part of the provenance that each record carries.
    """
    origin = provenance.collect(digests) | ({table.ADDED: added()} if spec.plugins else {})
    whole = spec
    if run.exists("spec.yaml"):
        former = table.read_provenance(run) if run.exists("provenance.json") else {"data_digests": {}}
        old = table.read_spec(run, former)
        conflicts = table.differences(old, spec)
        if conflicts:
            raise RunError(f"{run.url} belongs to another spec: {'; '.join(conflicts)}. Use another --run.")
        changed = {k: v for k, v in former["data_digests"].items() if digests.get(k, v) != v}
        if changed:
            raise RunError(f"{run.url} was run on other data: {changed} there, {digests} here. Use another --run.")
        whole = table.grown(old, spec)
        origin = table.with_added(origin, former) | {"data_digests": former["data_digests"] | digests}
    elif (strangers := set(run.names()) - table.RUN_FILES) and not run.child("replicates").names():
        raise RunError(
            f"{run.url} is no run folder: it has no spec.yaml, but {', '.join(sorted(strangers)[:3])}. "
            "Use another --run."
        )
    for name in set(space.datasets(whole)) - origin["data_digests"].keys():
        origin["data_digests"][name] = datasets.load(name).digest
    for problem in table.damage(run):
        _LOG.warning("%s. It is made anew.", problem.rstrip("."))
    table.write_run(run, whole.with_asked([]), origin)
    return {key: origin[key] for key in ("git_commit", "lock_sha256")}


def _search(run: Folder, spec: StudySpec, digests: dict[str, str]) -> Search | None:
    """The study's search, as far as it has come; Optuna takes seconds to import, and other studies never need it."""
    if spec.search is None:
        return None
    from study.search.optuna_search import Search

    return Search(run, spec, digests)


def _announce(
    console: Console, run: Folder, standing: dict[str, Outcome], unmeasured: int, search: Search | None
) -> None:
    counts = Counter[str](outcome.status for outcome in standing.values())
    counts.update({"finished": -unmeasured, "to measure": unmeasured})
    known = {"running": "to continue", "failed": "to retry", "pending": "to start"}  # others are left as they are
    parts = [f"{count} {known.get(status, status)}" for status, count in sorted((+counts).items())]
    if search is not None:
        parts.append(f"{search.told} of the search's {search.trials} trials done")
    console.print(f"{run.url}: {len(standing)} replicates, {', '.join(parts)}", highlight=False)


def _ray(options: Options, stop: Stop) -> AbstractContextManager[None]:
    """Ray, if it is to run the study; it takes seconds to import, and the inline runner never needs it."""
    if options.runner == "inline":
        return nullcontext()
    from study.run import ray_cluster

    return ray_cluster.joined(options, stop)


def _device(options: Options) -> str:
    """The device of the trials: "cuda" where there is a GPU, or a cluster may start one, else "cpu".

    Raises:
        RunError: A GPU was asked for, and there is none.
    """
    if options.device == "cpu":
        return "cpu"
    if options.runner == "ray":
        from study.run import ray_cluster

        found, user = ray_cluster.has_gpu(options), "Ray"
    else:
        import torch

        found, user = torch.cuda.is_available(), "torch"
    if options.device == "cuda" and not found:
        where = "this machine" if options.address is None else f"the Ray cluster at {options.address}"
        raise RunError(f"`--device cuda` must have a GPU, but {where} has none that {user} can use.")
    return "cuda" if found else "cpu"


def run_path(name: str) -> str:
    """The default run folder of a study: in `STUDY_RUNS` (a path or a URL), else in `runs`.

    Raises:
        RunError: `STUDY_RUNS` is that of a cluster file which nobody has edited.
    """
    folder = os.environ.get("STUDY_RUNS", "runs").rstrip("/")
    if PLACEHOLDER in folder:
        raise RunError(
            f"STUDY_RUNS must be a folder of yours, but it is still {folder}: edit ray_cluster.yaml, `ray up` it."
        )
    return f"{folder}/{name}"
