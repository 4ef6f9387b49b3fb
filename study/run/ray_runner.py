"""Ray Tune as the scheduler: one Ray trial per pack, actors reused, Tune's own output and logs off.

Loaded by `study.run.ray_cluster`, which sets the environment that Ray and Tune read when they are imported.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray import tune
from ray.tune import TuneError
from ray.tune.search import ConcurrencyLimiter, Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.run.display import Display
from study.run.launch import MAX_RETRIES, Job, Options, give_up
from study.run.lock import RunError
from study.run.preflight import NodeCheck
from study.run.ray_cluster import capacity, line
from study.run.stop import Stop
from study.runfolder import TableError
from study.search.journal_reader import JournalError, SearchError
from study.spec import SpecError
from trainables import checkpoint
from trainables.ray_trainable import PackTrainable
from trainables.storage import StorageError

if TYPE_CHECKING:
    from study.search.optuna_search import Search

_T = TypeVar("_T")
NODE_ANSWERS_WITHIN_S = 120.0
_LOG = logging.getLogger(__name__)


class _Watch(tune.Callback, tune.Stopper):
    """Passes the trials' reports on to the display, and stops all of them when asked to or when nobody can write."""

    def __init__(self, job: Job, display: Display, tick: Callable[[], None], stop: Stop):
        self._job, self._display, self._tick, self._stop = job, display, tick, stop
        self._stopping = False
        self._reasons: dict[int, str] = {}
        self.errors: dict[int, str] = {}
        self.fatal: OSError | ValueError | None = None

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        if "node_error" in result:
            self.fatal = RunError(result["node_error"])
        elif "storage_error" in result:
            self.fatal = StorageError(result["storage_error"])
        elif "progress" in result:
            self._display.report(result["pack"], result["progress"])
            if result["pack"] in self._reasons:
                self._display.stopped(result["pack"], self._reasons[result["pack"]])
            self.guarded(self._tick)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._display.say(f"{self._display.name(trial.config['pack'])}: {_reason(trial)}; trying again")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        pack = trial.config["pack"]
        if pack in self._job.trials:  # what the search asks for next depends on it
            self.guarded(lambda: give_up(self._job, pack, _reason(trial), self._display))
            self.guarded(lambda: self._job.end(pack))
        else:
            self.errors[pack] = _reason(trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.guarded(lambda: self._job.end(trial.config["pack"]))

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether a trial is to stop after this report, of which Tune tells the callbacks afterwards."""
        if "progress" not in result:
            return False
        reason = self.guarded(lambda: self._job.hear(result["pack"], result["progress"]))
        if reason:
            self._reasons[result["pack"]] = reason
        return reason is not None

    def guarded(self, do: Callable[[], _T]) -> _T | None:
        """Does what Tune would wrap in a traceback if it failed; a folder that cannot be written ends the study."""
        try:
            return do()
        except (StorageError, TableError, SpecError, SearchError, JournalError) as error:
            self.fatal = error
            return None

    def stop_all(self) -> bool:
        if self._stop.asked() and not self._stopping:
            self._stopping = True
            self._display.stopping(self._stop.reason)
        return self._stopping or self.fatal is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given; a display is not for that, nor ever restored


def run(job: Job, options: Options, display: Display, tick: Callable[[], None], stop: Stop) -> None:
    """Runs the packs as Ray trials, Ray being there; those that fail for good are marked as failed.

    Raises:
        study.lock.RunError: A node cannot write into the run folder, or has another version of something.
        trainables.storage.StorageError: A node could no longer write into it.
        OSError: Ray gave up, again and again.
    """
    job = dataclasses.replace(job, replicates=job.replicates.absolute())
    with _checked_nodes(job, options) as check:
        job = dataclasses.replace(job, check=check)
        watch = _Watch(job, display, tick, stop)
        _schedule(job, options, watch, stop)
        if job.search is not None:
            _search(job, job.search, options, watch, stop)
    if watch.fatal is not None:
        raise watch.fatal
    for pack, reason in watch.errors.items():
        give_up(job, pack, reason, display)


@contextmanager
def _checked_nodes(job: Job, options: Options) -> Iterator[Callable[[], str | None] | None]:
    """Asks every node of a cluster whether it can take part; gives what those that come later are asked."""
    if options.address is None:
        yield None
        return
    check = NodeCheck.begin(job.replicates)
    try:
        check.ask(_everywhere)
        yield check.problem
    finally:
        check.end()


def _schedule(job: Job, options: Options, watch: _Watch, stop: Stop) -> None:
    """Has Ray run the packs, and those that are left again where Ray itself gives up, as for a worker out of memory."""
    packs = list(range(len(job.packs)))
    for _ in range(MAX_RETRIES + 1):
        if stop.asked() or watch.fatal is not None or not packs:
            return
        config = tune.TuneConfig(reuse_actors=True, max_concurrent_trials=options.concurrency)
        if _fit(job, {"pack": tune.grid_search(packs)}, config, options, watch):
            return
        packs = [pack for pack in _left(job) if pack not in watch.errors]
    raise OSError("Ray gave up (--ray-output shows why). What was trained is saved; launch again to go on.")


def _search(job: Job, search: Search, options: Options, watch: _Watch, stop: Stop) -> None:
    """Has Ray run what the search asks for; after Ray has given up, those that were left first."""
    resource = "CPU" if job.device == "cpu" else "GPU"
    wanted = options.concurrency or search.concurrency or max(1, capacity(resource, options))
    for _ in range(MAX_RETRIES + 1):
        if stop.asked() or watch.fatal is not None or not search.left:
            return
        alg = ConcurrencyLimiter(_Asking(job, watch), max_concurrent=wanted)
        config = tune.TuneConfig(search_alg=alg, num_samples=search.left, reuse_actors=True)
        if _fit(job, {}, config, options, watch) and not search.left:
            return
        search.forget()
    if not (stop.asked() or watch.fatal is not None):
        raise OSError("Ray gave up (--ray-output shows why). What was trained is saved; launch again to go on.")


class _Asking(Searcher):
    """Has Tune run what the search asks for. It reads nothing of what Tune passes on: the watch listens."""

    def __init__(self, job: Job, watch: _Watch):
        super().__init__()
        self._job, self._watch = job, watch

    def suggest(self, trial_id: str) -> Any:
        pack = self._watch.guarded(self._job.ask)
        if pack is None:  # if trials are under way, others may wait for how they end
            waiting = self._job.search is not None and self._job.search.left and self._watch.fatal is None
            return None if waiting else Searcher.FINISHED
        return {"pack": pack, "replicates": self._job.packs[pack], "pauses": self._job.pauses(pack)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass  # the run folder holds it all

    def restore(self, checkpoint_path: str) -> None:
        pass

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _left(job: Job) -> list[int]:
    """Packs with a member that has come to no end."""
    return [
        index
        for index, pack in enumerate(job.packs)
        if any(checkpoint.result(job.replicates.child(replicate.hash)) is None for replicate in pack)
    ]


def _fit(job: Job, param_space: dict[str, Any], config: tune.TuneConfig, options: Options, watch: _Watch) -> bool:
    """Runs packs; False if Ray gave up before all had ended."""
    resources: dict[str, float] = {"cpu": 1} if job.device == "cpu" else {"cpu": 1, "gpu": 1}
    shared: dict[str, Any] = {"packs": job.packs, "data": job.data, "folder": job.replicates}
    shared |= {"options": job.options, "plugins": job.plugins, "path": sys.path, "check": job.check}
    with tempfile.TemporaryDirectory(prefix="study-ray-", ignore_cleanup_errors=True) as logs:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(PackTrainable, **shared), resources),
            param_space=param_space,
            tune_config=config,
            run_config=tune.RunConfig(
                name="tune",
                storage_path=logs,
                verbose=1 if options.ray_output else 0,
                failure_config=tune.FailureConfig(max_failures=MAX_RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[watch],
                stop=watch,
            ),
        )
        try:
            tuner.fit()
        except (RuntimeError, TuneError, ray.exceptions.RayError):
            _LOG.warning("Ray gave up", exc_info=options.ray_output)
            return False
    return True


def _everywhere(check: NodeCheck) -> dict[str, str | None]:
    """What `check.answer` gives on every node, by the node's address and the start of its id."""
    answers = {}
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            title = f"{node['NodeManagerAddress']}-{node['NodeID'][:6]}"
            task = ray.remote(NodeCheck.answer).options(num_cpus=0, scheduling_strategy=there)
            answers[title] = task.remote(check, title)
    ray.wait(list(answers.values()), num_returns=len(answers), timeout=NODE_ANSWERS_WITHIN_S)
    return {title: _answer(reference) for title, reference in answers.items()}


def _answer(reference: Any) -> str | None:
    try:
        answer: str | None = ray.get(reference, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return f"no answer within {NODE_ANSWERS_WITHIN_S:.0f} s"
    except ray.exceptions.RayError as error:
        return line(error)
    return answer


def _reason(trial: Any) -> str:
    """What a trial raised last, in one line."""
    try:
        return line(ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes()))
    except Exception:  # noqa: BLE001 (Ray kept no error, or one that cannot be made again here)
        return "it ended without saying why"
