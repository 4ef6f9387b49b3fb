"""Ray Tune as the scheduler: one Ray trial per pack, actors reused, Ray's own output and logs off unless asked for."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from typing import Any

from study.launch import MAX_RETRIES, Job, Options, give_up
from study.progress import Display
from trainables.trial import Progress

_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new engine prints boxes at any verbosity
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run folder is the log; Ray's loses rows after a recovery
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_worker_niceness": "0",  # Ray would run the trials at 15, behind anything else on the machine
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
for _key, _value in _QUIET.items():
    os.environ.setdefault(_key, _value)

import ray  # noqa: E402 (ray reads the environment when it is imported)
from ray import tune  # noqa: E402

from trainables.trainable import train_pack  # noqa: E402


class _Watch(tune.Callback):
    """Passes the trials' reports on to the display."""

    def __init__(self, display: Display, tick: Callable[[], None]):
        self._display, self._tick = display, tick
        self.errors: dict[int, str] = {}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        if "step" in result:
            report = Progress(*(result[key] for key in ("step", "steps", "members", "ended")))
            self._display.report(trial.config["pack"], report)
            self._tick()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.errors[trial.config["pack"]] = _reason(trial.get_error())

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; a display is not for that, nor ever restored


def run(job: Job, options: Options, display: Display, tick: Callable[[], None]) -> None:
    """Runs the packs as Ray trials; those that fail for good are marked as failed."""
    connect(options)
    watch = _Watch(display, tick)
    resources: dict[str, float] = {"cpu": 1} if job.device == "cpu" else {"cpu": 1, "gpu": 1}
    shared = {"packs": job.packs, "data": job.data, "folder": job.replicates}
    trainable = tune.with_resources(
        tune.with_parameters(train_pack, **shared, device=job.device, provenance=job.provenance), resources
    )
    with tempfile.TemporaryDirectory(prefix="study-ray-") as logs:
        tuner = tune.Tuner(
            trainable,
            param_space={"pack": tune.grid_search(list(range(len(job.packs))))},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=options.concurrency),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=logs,
                verbose=1 if options.ray_output else 0,
                failure_config=tune.FailureConfig(max_failures=MAX_RETRIES),
                callbacks=[watch],
            ),
        )
        try:
            tuner.fit()
        finally:
            ray.shutdown()
    for pack, reason in watch.errors.items():
        give_up(job, pack, reason, display)


def connect(options: Options) -> None:
    """Starts Ray on this machine, or joins the cluster at `options.address`."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_AUTH_MODE", "disabled" if options.address is None else "token")
    local: dict[str, Any] = (
        {"num_cpus": options.concurrency, "include_dashboard": False} if options.address is None else {}
    )
    ray.init(
        address=options.address or "local",
        log_to_driver=options.ray_output,
        logging_level=logging.INFO if options.ray_output else logging.ERROR,
        **local,
    )


def cluster_device(options: Options) -> str:
    """The device of a cluster's trials: "cuda" if it has a GPU, else "cpu"."""
    connect(options)
    return "cuda" if ray.cluster_resources().get("GPU", 0) else "cpu"


def _reason(error: Exception | None) -> str:
    """What the trial raised, in one line, without Ray's wrapping."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[-1] if lines else ''}"
