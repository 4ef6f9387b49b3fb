"""Runs a study: from replicates to packs, to Ray Tune or this process, to the run folder.

The run folder is the truth. A launch reads how each replicate stands, runs what is not finished and rebuilds the
tables; Ray (in `study.raytune`) or this process only schedules. Launching again continues.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from rich.console import Console

from study import provenance, space, table
from study.progress import Display
from study.spec import StudySpec
from trainables import checkpoint, datasets, trial
from trainables.checkpoint import Outcome
from trainables.pack import compatible
from trainables.schema import Replicate
from trainables.storage import Folder

TABLE_EVERY_S = 60.0
MAX_RETRIES = 2
"""Times that a pack is tried again, from its newest checkpoint, before its replicates count as failed."""
GPU_PACK = 64
_LOG = logging.getLogger(__name__)

Packs = Sequence[Sequence[Replicate]]


class RunError(ValueError):
    """A run folder that cannot be used; its text is one readable line."""


@dataclass(frozen=True)
class Options:
    """How to run, none of which changes a number: see `study launch --help`."""

    runner: Literal["ray", "inline"] = "ray"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    pack: int | None = None
    concurrency: int | None = None
    address: str | None = None
    ray_output: bool = False


@dataclass(frozen=True)
class Job:
    """What a runner is given: the packs, their data, and where they write."""

    packs: Packs
    data: dict[str, datasets.Dataset]
    replicates: Folder
    provenance: dict[str, Any]
    device: str


def launch(spec: StudySpec, url: str, options: Options, console: Console) -> Counter[str]:
    """Runs what is not finished of a study in a run folder.

    Args:
        spec: The study.
        url: The run folder.
        options: How to run.
        console: For progress.

    Returns:
        How many of the study's replicates stand how, by status; "pending" and "running" ones were left undone.

    Raises:
        RunError: The folder is in use, cannot be written, or belongs to another spec.
        trainables.datasets.DataError: A dataset is not to be had.
        study.spec.SpecError: A cell is no valid config.
    """
    run = Folder(url)
    with _locked(run):
        data = {name: datasets.load(name) for name in space.datasets(spec)}
        digests = {name: dataset.digest for name, dataset in data.items()}
        origin = _claim(run, spec, digests)
        wanted = space.replicates(spec, digests)
        standing = table.outcomes(run, wanted)
        todo = [r for r in wanted if standing[r.hash].status not in ("finished", "diverged", "stopped")]
        _announce(console, run, standing)
        for replicate in todo:
            if standing[replicate.hash].status == "failed":
                checkpoint.clear_failures(run.child("replicates").child(replicate.hash))
        if todo:
            device = _device(options)
            packs = plan(todo, options.pack or (1 if device == "cpu" else GPU_PACK))
            job = Job(packs, data, run.child("replicates"), origin, device)
            _run(job, run, options, console)
        rows = table.build(run).results.drop_duplicates("replicate")
        return Counter(rows.loc[rows["replicate"].isin([r.hash for r in wanted]), "status"])


def plan(replicates: Sequence[Replicate], size: int) -> list[list[Replicate]]:
    """Packs of at most `size` replicates that may share one, in the order of the first of each."""
    packs: list[list[Replicate]] = []
    for replicate in replicates:
        home = next(
            (
                pack
                for pack in packs
                if len(pack) < size
                and replicate.config.task == "train"
                and compatible(pack[0].config, replicate.config)
            ),
            None,
        )
        if home is None:
            packs.append([replicate])
        else:
            home.append(replicate)
    return packs


def label(pack: Sequence[Replicate]) -> str:
    """A pack's name for people."""
    first = f"{pack[0].cell}, seed {pack[0].seed}"
    return first if len(pack) == 1 else f"{first} and {len(pack) - 1} more"


def run_inline(job: Job, display: Display, tick: Callable[[], None]) -> None:
    """Runs the packs one after another in this process; ray is never imported."""
    for index, pack in enumerate(job.packs):
        for attempt in range(MAX_RETRIES + 1):
            try:
                for progress in trial.run(
                    pack, job.data[pack[0].config.dataset], job.replicates, device=job.device, provenance=job.provenance
                ):
                    display.report(index, progress)
                    tick()
                break
            except Exception as error:  # noqa: BLE001 (whatever a trial raises is its own failure, and the study goes on)
                reason = f"{type(error).__name__}: {error}"
                _LOG.info("%s", label(pack), exc_info=True)
                if attempt == MAX_RETRIES:
                    give_up(job, index, reason, display)
                else:
                    display.say(f"{label(pack)}: {reason}; trying again")


def give_up(job: Job, index: int, reason: str, display: Display) -> None:
    """Marks the members of a pack that have no result as failed."""
    lost = 0
    for replicate in job.packs[index]:
        folder = job.replicates.child(replicate.hash)
        if checkpoint.outcome(folder).status in ("pending", "running"):
            checkpoint.fail(folder, trial.describe(replicate), reason)
            lost += 1
    display.failed(index, lost, reason)


def _run(job: Job, run: Folder, options: Options, console: Console) -> None:
    members = [replicate for pack in job.packs for replicate in pack]
    steps = sum(replicate.config.steps or 1 for replicate in members)
    last = time.monotonic()

    def tick() -> None:
        nonlocal last
        if time.monotonic() - last > TABLE_EVERY_S:
            table.build(run)
            last = time.monotonic()

    with Display([label(pack) for pack in job.packs], len(members), steps, console) as display:
        if options.runner == "inline":
            run_inline(job, display, tick)
        else:
            from study import raytune  # ray takes seconds to import, and the inline runner never needs it

            raytune.run(job, options, display, tick)


@contextmanager
def _locked(run: Folder) -> Iterator[None]:
    """Holds the run folder, so that a second launch says so and stops; on a local file system."""
    path = run.local
    if path is None:
        yield
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise RunError(f"{run.url} is in use by another `study launch`: wait for it, or use another --run.") from None
    except OSError as error:
        raise RunError(f"{run.url} cannot be written: {error}") from None
    try:
        yield
    finally:
        lock.release()


def _claim(run: Folder, spec: StudySpec, digests: dict[str, str]) -> dict[str, Any]:
    """Writes the spec and the provenance into the run folder, if what is there may grow into them.

    Returns the part of the provenance that each record carries.
    """
    origin = provenance.collect(digests)
    whole = spec
    if run.exists("spec.yaml"):
        old, former = table.read_run(run)
        conflicts = table.differences(old, spec)
        if conflicts:
            raise RunError(f"{run.url} belongs to another spec: {'; '.join(conflicts)}. Use another --run.")
        changed = {k: v for k, v in former["data_digests"].items() if digests.get(k, v) != v}
        if changed:
            raise RunError(f"{run.url} was run on other data: {changed} there, {digests} here. Use another --run.")
        whole = table.grown(old, spec)
        origin["data_digests"] = former["data_digests"] | digests
    elif run.local is not None and any(name != "replicates" for name in run.names()):
        raise RunError(f"{run.url} is not empty and no run folder: it has no spec.yaml. Use another --run.")
    table.write_run(run, whole, origin)
    return {key: origin[key] for key in ("git_commit", "lock_sha256")}


def _announce(console: Console, run: Folder, standing: dict[str, Outcome]) -> None:
    counts = Counter(outcome.status for outcome in standing.values())
    known = {"running": "to continue", "failed": "to retry", "pending": "to start"}
    parts = [f"{count} {known.get(status, status)}" for status, count in sorted(counts.items())]
    console.print(f"{run.url}: {len(standing)} replicates, {', '.join(parts)}", highlight=False)


def _device(options: Options) -> str:
    if options.device != "auto":
        return options.device
    if options.runner == "ray" and options.address is not None:
        from study import raytune

        return raytune.cluster_device(options)
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def run_path(name: str) -> str:
    """The default run folder of a study."""
    return str(Path("runs") / name)
