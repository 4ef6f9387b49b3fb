"""Ray Tune as the scheduler: one Ray trial per pack, actors reused, Tune's own output and logs off.

Loaded by `study.run.ray_cluster`, which sets the environment that Ray and Tune read when they are imported.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray import tune
from ray.tune import TuneError
from ray.tune.search import ConcurrencyLimiter, Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.run.deadlines import Deadlines
from study.run.display import Display
from study.run.job import MAX_RETRIES, Job, Options
from study.run.lock import RunError
from study.run.preflight import NodeCheck
from study.run.ray_cluster import capacity, line
from study.run.stop import Stop
from trainables import checkpoint
from trainables.errors import ReadableError
from trainables.ray_trainable import PackTrainable
from trainables.storage import StorageError

if TYPE_CHECKING:
    from study.search.optuna_search import OptunaSearch

_T = TypeVar("_T")
Fit = Callable[[dict[str, Any], tune.TuneConfig], bool]
NodeProblem = Callable[[], str | None]
NODE_ANSWERS_WITHIN_S = 120.0
"""How many seconds a node of a cluster has to answer whether it can take part."""
_GAVE_UP = "Ray gave up (--ray-output shows why). The newest checkpoints are intact; launch again to go on."
_LOG = logging.getLogger(__name__)


class RunState:
    """The driver's state of a run that Tune schedules; Tune's callback, stopper and searcher share it."""

    def __init__(self, job: Job, display: Display, tick: Callable[[], None], stop: Stop):
        self.job, self.display, self.tick = job, display, tick
        self.decisions: dict[int, str] = {}
        """Why the search stops a pack."""
        self.failed: set[int] = set()
        """Packs whose retries are used up."""
        self.fatal: Exception | None = None
        """The error that ends the run."""
        self.deadlines = Deadlines()
        self.hung: dict[int, str] = {}
        """Why the driver has ended a pack's worker."""
        self._stop = stop
        self._stopping = False

    @property
    def over(self) -> bool:
        """Whether no further pack is to be started."""
        return self._stop.asked() or self.fatal is not None

    def stopping(self) -> bool:
        """Whether all packs are to stop; says so once."""
        if self._stop.asked() and not self._stopping:
            self._stopping = True
            self.display.stopping(self._stop.reason)
        return self.over

    def guarded(self, do: Callable[[], _T]) -> _T | None:
        """Calls `do`; an error of the run folder or of the search ends the run, without Tune's traceback."""
        try:
            return do()
        except (ReadableError, OSError) as error:
            self.fatal = error
            return None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks, to restore a driver, which this program does from the run folder


class _Callback(tune.Callback):
    """Passes on what workers report."""

    def __init__(self, state: RunState):
        self._state = state

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Ends the workers of packs that hang; Tune calls this many times a second."""
        state = self._state
        for pack, reason in state.deadlines.hung().items():
            state.deadlines.end(pack)
            worker = next(trial.last_result or {} for trial in trials if trial.config["pack"] == pack)
            if "pid" not in worker:
                state.fatal = RunError(f"{state.job.label(pack)} {reason}: no worker began. Launch again to go on.")
            else:
                state.hung[pack] = reason
                _end_process(worker["node_ip"], worker["pid"])

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._state.deadlines.begin(trial.config["pack"])

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        state = self._state
        if "node_error" in result:
            state.fatal = RunError(result["node_error"])
        elif "storage_error" in result:
            state.fatal = StorageError(result["storage_error"])
        elif "begun" in result:
            state.deadlines.begin(result["pack"])
        elif "progress" in result:
            pack, progress = result["pack"], result["progress"]
            state.deadlines.report(pack, members=progress.members, ended=len(progress.ended))
            state.display.report(pack, progress)
            if pack in state.decisions:
                state.display.stopped(pack, state.decisions[pack])
            state.guarded(state.tick)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        state, pack = self._state, trial.config["pack"]
        state.deadlines.end(pack)
        reason = state.hung.pop(pack, None) or _error(trial)[0]
        state.display.say(f"{state.job.label(pack)}: {reason}; trying again")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        state, pack = self._state, trial.config["pack"]
        state.deadlines.end(pack)
        raised, trace = _error(trial)
        reason = state.hung.pop(pack, raised)
        state.failed.add(pack)
        state.guarded(lambda: state.display.failed(pack, state.job.give_up(pack, reason, trace), reason))
        state.guarded(lambda: state.job.close(pack))  # what a search draws next may depend on it

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._state.deadlines.end(trial.config["pack"])
        self._state.guarded(lambda: self._state.job.close(trial.config["pack"]))


class _Stopper(tune.Stopper):
    """Has the search decide after each report, before Tune calls the callback; stops all packs when the run is over."""

    def __init__(self, state: RunState):
        self._state = state

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if "progress" not in result:
            return False
        state, pack = self._state, result["pack"]
        reason = state.guarded(lambda: state.job.report(pack, result["progress"]))
        if reason:
            state.decisions[pack] = reason
        return reason is not None

    def stop_all(self) -> bool:
        return self._state.stopping()


class _Searcher(Searcher):
    """Has Tune run the trials that the study's search draws. What Tune reports reaches the search by the callback."""

    def __init__(self, state: RunState):
        super().__init__()
        self._state = state

    def suggest(self, trial_id: str) -> Any:
        job = self._state.job
        pack = self._state.guarded(job.next_pack)
        if pack is None:  # if trials are under way, others may wait for how they end
            waiting = job.search is not None and job.search.remaining and self._state.fatal is None
            return None if waiting else Searcher.FINISHED
        return {"pack": pack, "replicates": job.packs[pack], "pauses": job.pauses(pack)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass  # the run folder holds it all

    def restore(self, checkpoint_path: str) -> None:
        pass


def run(job: Job, options: Options, display: Display, tick: Callable[[], None], stop: Stop) -> None:
    """Runs the packs as Ray trials, once Ray runs; marks a pack as failed when its retries are used up.

    Raises:
        study.run.lock.RunError: A node cannot write into the run folder, or has other software than the driver.
        trainables.storage.StorageError: A node could no longer write into it.
        OSError: Ray gave up, again and again.
    """
    state = RunState(job, display, tick, stop)
    with _checked_nodes(job, options) as check:
        fit = partial(_fit, state, options, check)
        _schedule(state, options, fit)
        if job.search is not None:
            _search(state, job.search, options, fit)
    if state.fatal is not None:
        raise state.fatal


@contextmanager
def _checked_nodes(job: Job, options: Options) -> Iterator[NodeProblem | None]:
    """Checks every node of a cluster; yields the check that nodes which join later make themselves."""
    if options.address is None:
        yield None
        return
    check = NodeCheck.begin(job.replicates.absolute())
    try:
        check.ask(_everywhere)
        yield check.problem
    finally:
        check.end()


def _schedule(state: RunState, options: Options, fit: Fit) -> None:
    """Has Ray run the packs; again those that are left when Ray itself gives up, as for a worker out of memory."""
    packs = list(range(len(state.job.packs)))
    for _ in range(MAX_RETRIES + 1):
        if state.over or not packs:
            return
        config = tune.TuneConfig(reuse_actors=True, max_concurrent_trials=options.concurrency)
        if fit({"pack": tune.grid_search(packs)}, config):
            return
        packs = [pack for pack in _left(state.job) if pack not in state.failed]
    raise OSError(_GAVE_UP)


def _search(state: RunState, search: OptunaSearch, options: Options, fit: Fit) -> None:
    """Has Ray run the search's trials; when Ray itself gives up, first those that are left."""
    resource = "CPU" if state.job.device == "cpu" else "GPU"
    concurrency = options.concurrency or search.concurrency or max(1, capacity(resource, options))
    for _ in range(MAX_RETRIES + 1):
        if state.over or not search.remaining:
            return
        searcher = ConcurrencyLimiter(_Searcher(state), max_concurrent=concurrency)
        config = tune.TuneConfig(search_alg=searcher, num_samples=search.remaining, reuse_actors=True)
        if fit({}, config) and not search.remaining:
            return
        search.state.requeue()
    if not state.over:
        raise OSError(_GAVE_UP)


def _left(job: Job) -> list[int]:
    """Returns the packs with a member that has no result."""
    return [
        index
        for index, pack in enumerate(job.packs)
        if any(checkpoint.result(job.replicates.child(replicate.hash)) is None for replicate in pack)
    ]


def _fit(
    state: RunState, options: Options, check: NodeProblem | None, param_space: dict[str, Any], config: tune.TuneConfig
) -> bool:
    """Has Tune run packs; returns False if Ray gave up before all had ended."""
    job = state.job
    resources: dict[str, float] = {"cpu": 1} if job.device == "cpu" else {"cpu": 1, "gpu": 1}
    shared: dict[str, Any] = {"packs": job.packs, "data": job.data, "folder": job.replicates.absolute()}
    shared |= {"options": job.settings, "plugins": job.plugins, "path": sys.path, "check": check}
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
                callbacks=[_Callback(state)],
                stop=_Stopper(state),
            ),
        )
        try:
            tuner.fit()
        except (RuntimeError, TuneError, ray.exceptions.RayError):
            _LOG.warning("Ray gave up", exc_info=options.ray_output)
            return False
    return True


def _everywhere(check: NodeCheck) -> dict[str, str | None]:
    """Calls `check.answer` on every node; returns the answers by the node's address and the start of its id."""
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


def _error(trial: Any) -> tuple[str, str]:
    """Returns a trial's last error in one line, and its traceback."""
    try:
        error = ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    except Exception:  # noqa: BLE001 (Ray kept no error, or one that cannot be made again here)
        return "it ended without saying why", "Ray kept no traceback.\n"
    return line(error), str(error)


def _end_process(address: str, pid: int) -> None:
    """Kills a process of a node; a worker that hangs takes no request of Ray's."""
    if address == ray.util.get_node_ip_address():
        _kill(pid)
        return
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeManagerAddress"] == address]
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        ray.remote(_kill).options(num_cpus=0, scheduling_strategy=there).remote(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
