"""Runs a study: reads how far each replicate has come, has Ray Tune or this process run the rest, builds the tables.

The run folder is the truth; Ray (in `study.run.ray_runner`) or this process only schedules. Launching again continues.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from rich.console import Console

from study import runfolder
from study.cluster.clusterfile import PLACEHOLDER
from study.plan import Plan
from study.run import lock, preflight, provenance
from study.run.backlog import Backlog, Counts
from study.run.display import Display
from study.run.job import Job, Options, make_packs
from study.run.lock import RunError
from study.run.stop import Stop
from study.spec import StudySpec
from study.tables.build import Builder
from study.tables.files import Tables
from trainables import datasets
from trainables.registry import added
from trainables.storage import Folder, StorageError

if TYPE_CHECKING:
    from study.search.optuna_search import OptunaSearch

TABLE_EVERY_S = 60.0
"""How many seconds pass at least between two rebuilds of the tables."""
TABLE_SHARE = 0.05
"""The share of the driver's time that rebuilding the tables may take."""
_LOG = logging.getLogger(__name__)


def launch(spec: StudySpec, url: str, options: Options, console: Console) -> Counts:
    """Runs what is not finished of a study in the run folder `url`, with its progress on `console`.

    Returns:
        How many of the launch's replicates ended in each way; some are left if somebody stopped the launch.

    Raises:
        RunError: The folder is in use, cannot be written, has no room, or belongs to another spec.
        trainables.storage.StorageError: The folder could no longer be written.
        trainables.errors.DataError: A dataset is absent or damaged.
        study.spec.SpecError: A cell is no valid config or wants what its data do not have, or a plugin's model does not
            have the form of ours.
    """
    spec = spec.with_asked([])
    unchecked = Plan(spec)
    unchecked.check()
    with Stop() as stop, lock.held(Folder(url), stop.ask) as run:
        data = {name: datasets.load(name, spec.data.get(name)) for name in unchecked.datasets}
        sizes = {name: dataset.size for name, dataset in data.items()}
        spec = spec.fitted(sizes)
        plan = Plan(spec, {name: dataset.digest for name, dataset in data.items()}, sizes)
        preflight.check_models(plan)
        preflight.check_data(plan, data)
        for line in preflight.data_lines(plan, data):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        whole, origin = _claim(run, plan)
        opened = _open_search(run, plan, whole)
        search = opened if options.whole else None
        drawn = plan if search is None else plan.with_asked(search.fields)
        replicates = options.part(drawn.replicates)
        if search is not None:
            search.catch_up()
        final = set() if opened is None else opened.state.hashes(ended=True)
        backlog = Backlog.read(run, plan, replicates, final)
        if search is not None:
            search.reopen(backlog.lost(final))
        _announce(console, run, backlog, search)
        todo = backlog.unfinished(replicates, but=set() if search is None else search.state.hashes())
        preflight.check_room(run, todo + ([] if search is None else search.expected()), plan)
        builder = Builder(run)
        if (todo or (search is not None and search.remaining)) and not stop.asked():
            with _ray(options, stop, console):
                device = _device(options)
                job = Job(
                    packs=make_packs(todo, options.pack_size(device), backlog.starts(todo)),
                    data=data,
                    run=run,
                    device=device,
                    provenance=origin,
                    checkpoint_every_s=options.checkpoint_every_s,
                    measurements=spec.measurements,
                    plugins=spec.plugins,
                    search=search,
                )
                _run(job, builder, options, console, stop)
        counts = _count(builder.build(), {r.hash for r in replicates}, search)
        if spec.final_measurements:
            missing = len(runfolder.unmeasured(run, spec, runfolder.outcomes(run, todo)))
            counts = counts.without_measurements(missing, stopped=stop.asked())
        return counts


def _claim(run: Folder, plan: Plan) -> tuple[Plan, dict[str, Any]]:
    """Writes the spec and the provenance into the run folder, if it is new or its spec may grow into this one.

    Returns:
        The plan of all that the run folder holds, and the part of the provenance that each record carries.

    Raises:
        RunError: The folder belongs to another spec, to other data, or is no run folder.
    """
    origin = provenance.collect(dict(plan.digests)) | ({runfolder.ADDED: added()} if plan.spec.plugins else {})
    whole = plan.spec
    if run.exists(runfolder.SPEC):
        old, former = runfolder.read_former(run, plan)
        whole = _grown(run, old, plan, former["data_digests"])
        digests = former["data_digests"] | origin["data_digests"]
        origin = runfolder.with_added(origin, former) | {"data_digests": digests}
    elif (strangers := set(run.names()) - runfolder.RUN_FILES) and not run.child("replicates").names():
        raise RunError(
            f"{run.url} is no run folder: it has no spec.yaml, but {', '.join(sorted(strangers)[:3])}. "
            "Use another --run."
        )
    for name in set(Plan(whole).datasets) - origin["data_digests"].keys():
        origin["data_digests"][name] = datasets.load(name, whole.data.get(name)).digest
    whole = whole.with_asked([])
    runfolder.write_run(run, whole, origin)
    return Plan(whole, origin["data_digests"]), {key: origin[key] for key in ("git_commit", "lock_sha256")}


def _grown(run: Folder, former: StudySpec, plan: Plan, digests: dict[str, str]) -> StudySpec:
    """Joins a run folder's spec with the launch's. Raises RunError where they differ in more than what may grow."""
    conflicts = runfolder.differences(former, plan.spec)
    if conflicts:
        raise RunError(f"{run.url} belongs to another spec: {'; '.join(conflicts)}. Use another --run.")
    changed = {name: digest for name, digest in digests.items() if plan.digests.get(name, digest) != digest}
    if changed:
        raise RunError(
            f"{run.url} was run on other data: "
            + "; ".join(
                f"{name} had the digest {digest}, but has {plan.digests[name]}" for name, digest in changed.items()
            )
            + ". Use another --run."
        )
    return runfolder.grown(former, plan.spec)


def _open_search(run: Folder, plan: Plan, whole: Plan) -> OptunaSearch | None:
    """Opens the study's search, if it has one, and recovers the trials that its journal may have lost.

    Optuna takes seconds to import, and other studies never need it.
    """
    if plan.spec.search is None:
        return None
    from study.search.optuna_search import OptunaSearch

    search = OptunaSearch(run, plan)
    search.recover(set(run.child("replicates").names()) - {replicate.hash for replicate in whole.replicates})
    return search


def _announce(console: Console, run: Folder, backlog: Backlog, search: OptunaSearch | None) -> None:
    number = len(backlog.standings)
    line = f"{run.url}: {number} replicate{'' if number == 1 else 's'}, {backlog}"
    if search is not None:
        line += f", {search.ended} of the search's {search.trials} trials done"
    console.print(line, highlight=False)


def _run(job: Job, builder: Builder, options: Options, console: Console, stop: Stop) -> None:
    """Has the runner train the packs, and rebuilds the tables from time to time."""
    members = [replicate for pack in job.packs for replicate in pack]
    steps = sum(replicate.config.steps or 1 for replicate in members)
    pending = len(members)
    if job.search is not None:
        pending += job.search.remaining * job.search.seeds
        steps += job.search.remaining * job.search.seeds * job.search.usual_steps
    tables = _Rebuilds(builder)
    with Display(job.label, pending, steps, console) as display:
        if options.runner == "inline":
            from study.run import inline

            inline.run(job, display, tables.rebuild_if_due, stop)
        else:
            from study.run import ray_runner

            ray_runner.run(job, options, display, tables.rebuild_if_due, stop)


class _Rebuilds:
    """Rebuilds the tables while a study runs, so seldom that it costs little of the driver's time."""

    def __init__(self, builder: Builder):
        self._builder = builder
        self._due = time.monotonic() + TABLE_EVERY_S

    def rebuild_if_due(self) -> None:
        started = time.monotonic()
        if started <= self._due:
            return
        try:
            self._builder.build()
        except StorageError:
            raise
        except OSError as error:  # of a remote folder, and it may pass
            _LOG.warning("%s: the tables could not be rebuilt: %s", self._builder.run.url, error)
        ended = time.monotonic()
        self._due = ended + max(TABLE_EVERY_S, (ended - started) / TABLE_SHARE)


def _count(tables: Tables, hashes: set[str], search: OptunaSearch | None) -> Counts:
    """Counts how the replicates of a launch ended, by the tables; those that the search has yet to draw are pending."""
    searched = set() if search is None else search.state.hashes()
    ends = tables.rows("results", ["replicate", "status"], {"replicate": sorted(hashes | searched)})
    ends = ends.drop_duplicates("replicate")
    apart = ends["replicate"].isin(searched) & (ends["status"] == "diverged")
    counts = Counter(ends["status"].mask(apart, "diverged_in_search"))
    counts["pending"] += 0 if search is None else search.undrawn * search.seeds
    return Counts(**counts)


def _ray(options: Options, stop: Stop, console: Console) -> AbstractContextManager[None]:
    """Starts or joins Ray if it is to run the study. Ray takes seconds to import; the inline runner never needs it."""
    if options.runner == "inline":
        return nullcontext()
    what = "Starting Ray" if options.address is None else f"Joining the Ray cluster at {options.address}"
    console.print(f"{what}; the first trial begins in 5 to 20 s.", highlight=False, markup=False)
    from study.run import ray_cluster

    return ray_cluster.joined(options, stop)


def _device(options: Options) -> str:
    """Chooses the trials' device: "cuda" where there is a GPU, or a cluster may start one, else "cpu".

    Raises:
        RunError: `--device cuda` without a GPU.
    """
    if options.device == "cpu":
        return "cpu"
    if options.runner == "ray":
        from study.run import ray_cluster

        has_gpu, user = ray_cluster.has_gpu(options), "Ray"
    else:
        import torch

        has_gpu, user = torch.cuda.is_available(), "torch"
    if options.device == "cuda" and not has_gpu:
        where = "this machine" if options.address is None else f"the Ray cluster at {options.address}"
        raise RunError(f"`--device cuda` must have a GPU, but {where} has none that {user} can use.")
    return "cuda" if has_gpu else "cpu"


def run_path(name: str) -> str:
    """Returns a study's default run folder: in `STUDY_RUNS` (a path or a URL), else in `runs`.

    Raises:
        RunError: `STUDY_RUNS` is that of a cluster file which nobody has edited.
    """
    folder = (os.environ.get("STUDY_RUNS") or "runs").rstrip("/")
    if PLACEHOLDER in folder:
        raise RunError(
            f"STUDY_RUNS must be a folder of yours, but it is still {folder}: edit cluster.yaml, `ray up` it."
        )
    return f"{folder}/{name}"
