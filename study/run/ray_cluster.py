"""Starts Ray on this machine or joins a cluster, for as long as a launch runs, and says what it has: cores and GPUs.

A launch's first training step waits for a chain of starts: Ray's processes, then Tune's workers, which load torch. So
this module imports Ray alone, and loads Tune (`study.run.ray_runner`) while Ray starts. The driver never loads torch,
but to look for a GPU. A worker loads torch before it gets its first trial (`trainables.preload`).
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import yaml

from study.cluster import token
from study.run import ray_preflight
from study.run.lock import RunError
from study.run.ray_guard import GO_ON, Guard

if TYPE_CHECKING:
    from study.run.job import Options
    from study.run.stop import Stop

HUGE_PAGES = ":".join(
    f"glibc.malloc.{setting}" for setting in ("hugetlb=1", "mmap_threshold=268435456", "trim_threshold=268435456")
)
"""Settings of glibc: weights, gradients and moments lie in huge pages where Linux gives them, so a step is faster."""
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new engine prints boxes at any verbosity
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run folder is the log; Ray's loses rows after a recovery
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # `study.run.stop` listens
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_worker_niceness": "0",  # Ray would run the trials at 15, behind anything else on the machine
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_preload_python_modules": "trainables.preload",
    "RAY_prestart_worker_first_driver": "0",  # Tune's workers have an environment of their own: these would lie idle
    "GLIBC_TUNABLES": HUGE_PAGES,
}
for _key, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_key, _value)

import ray  # noqa: E402 (ray reads the environment when it is imported)
from ray._private.node import Node  # noqa: E402

PATIENCE_S = 120.0
HELP = "See why with --ray-output, or launch with `--runner inline`, which needs no Ray."
BOOTSTRAP = Path("~/ray_bootstrap_config.yaml").expanduser()
"""The cluster file that `ray up` leaves on the head."""
MOST = "STUDY_MAX_"
"""Begins the variables that say how far a cluster without such a file may grow: STUDY_MAX_CPU, STUDY_MAX_GPU."""


@contextmanager
def joined(options: Options, stop: Stop) -> Iterator[None]:
    """Ray within the block, and `study.run.ray_runner` loaded; Ray's end after it, unless the caller had started it.

    Raises:
        study.run.lock.RunError: Ray cannot be reached.
    """
    with ThreadPoolExecutor(1) as aside:
        loading = aside.submit(importlib.import_module, "study.run.ray_runner")
        # Ray's processes end with the thread that started them, which is this one
        with nullcontext() if ray.is_initialized() else _connected(options, stop):
            stop.listen()  # Ray has taken SIGTERM
            loading.result()
            yield


@contextmanager
def _connected(options: Options, stop: Stop) -> Iterator[None]:
    """Starts Ray on this machine, with a token of its own, or joins the cluster at `options.address`."""
    with token.environment(token.variables(options.address)), Guard(stop) as guard:
        try:
            guard.expect(PATIENCE_S, f"Ray has not started within {PATIENCE_S:.0f} s. {HELP}")
            ray._private.worker._worker_logs_enabled = options.ray_output  # else it prints how a raylet died
            with nullcontext() if options.ray_output else _muted():
                _connect(options)
            guard.watch(_processes())
            yield
        finally:
            guard.expect(PATIENCE_S, f"Ray has not ended within {PATIENCE_S:.0f} s. {GO_ON}")
            ray.shutdown()
            ray._private.worker._worker_logs_enabled = True


def _connect(options: Options) -> None:
    ray_preflight.check_python()
    if options.address is None:
        ray_preflight.check_machine()
        local: dict[str, Any] = {"num_cpus": options.concurrency, "include_dashboard": False}
    else:
        ray_preflight.check_cluster(options.address)
        local = {}
    try:
        with _no_idle_processes(options):
            ray.init(
                address=options.address or "local",
                log_to_driver=options.ray_output,
                logging_level=logging.INFO if options.ray_output else logging.FATAL,
                **local,
            )
    except Exception as error:  # noqa: BLE001 (Ray raises bare ones too)
        where = "on this machine" if options.address is None else f"at {options.address}"
        raise RunError(f"Ray {where} cannot be used: {line(error)}. {HELP}") from None


def _no_idle_processes(options: Options) -> AbstractContextManager[Any]:
    """Has a Ray of this machine start without the processes that a launch does not use, but would wait for.

    They are the dashboard's server, the autoscaler's monitor and what brings the workers' logs here: two to three
    seconds of a launch. Ray has no setting for that. A Ray without these methods starts as it does.
    """
    unused = ["start_api_server", "start_monitor"] + ["start_log_monitor"] * (not options.ray_output)
    nothing: dict[str, Any] = dict.fromkeys(unused, lambda *_, **__: None)
    without: AbstractContextManager[Any] = patch.multiple(Node, create=True, **nothing)
    return without


@contextmanager
def _muted() -> Iterator[None]:
    """Keeps what Ray's C++ writes to standard error from the terminal; from then on it logs fatal errors only."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    former, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(former, 2)
        os.close(former)
        os.close(nothing)


def _processes() -> dict[str, tuple[str, int]]:
    """Hosts and ports of what no launch can go on without: Ray's head, and its process on this machine."""
    head, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    here = ray.get_runtime_context().get_node_id()
    (node,) = [node for node in ray.nodes() if node["NodeID"] == here]
    return {
        "head": (head.strip("[]"), int(port)),
        "process on this machine": (node["NodeManagerAddress"], node["NodeManagerPort"]),
    }


def has_gpu(options: Options) -> bool:
    """Whether Ray has a GPU or may start one (and, on this machine, torch can use it)."""
    if not capacity("GPU", options):
        return False
    if options.address is not None:
        return True
    import torch

    return torch.cuda.is_available()


def capacity(resource: str, options: Options) -> int:
    """Counts the "CPU" or "GPU" that Ray has, or can have once the autoscaler has started every node it may."""
    now = int(ray.cluster_resources().get(resource, 0))
    if options.address is None:
        return now
    if stated := os.environ.get(f"{MOST}{resource}"):
        if not stated.isdecimal():
            raise RunError(f"`{MOST}{resource}` must be a whole number from 0, but got {stated!r}.")
        return max(now, int(stated))
    if not BOOTSTRAP.is_file():
        return now
    config = yaml.safe_load(BOOTSTRAP.read_text(encoding="utf-8"))
    nodes: list[int] = []
    for name, kind in config.get("available_node_types", {}).items():
        if name != config.get("head_node_type"):
            nodes += [int(kind.get("resources", {}).get(resource, 0))] * kind.get("max_workers", 0)
    return max(now, sum(sorted(nodes, reverse=True)[: config.get("max_workers", 0)]))


def line(error: Exception) -> str:
    """An error in one line, without Ray's wrapping: a worker's own exception, or how Ray lost the worker."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0] if lines else ''}"
