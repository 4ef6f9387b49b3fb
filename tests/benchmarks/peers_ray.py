"""Two trials at a time under Ray Tune: ours by `study launch`, and a function trainable with a DataLoader."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# As `study launch` has it, before Ray is imported: full priority, nothing printed.
os.environ |= {"RAY_worker_niceness": "0", "RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_AIR_NEW_OUTPUT": "0"}
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

import numpy as np
import ray
import torch
import yaml
from ray import tune

from tests.benchmarks.peers_work import Clock, Setting, Work, torchs_own_kernels, train_loop
from trainables import checkpoint
from trainables.schema import TrialConfig
from trainables.storage import Folder

CORES = 2
FIRST = 0.2
"""The share of the steps before the clock starts: there our trial has an evaluation, which is not counted."""

Steps = dict[str, float]
"""Seconds per step of a trial, by model."""


def compare(
    models: Sequence[str], settings: Sequence[Setting], steps: int, images: np.ndarray
) -> tuple[dict[str, Steps], dict[str, float]]:
    """One round: the function trainable in each setting, then ours, each in a Ray of its own.

    Args:
        models: One trial of each, with seed 0; as many as CORES, so that all run at once.
        settings: Of the function trainable.
        steps: A trial.
        images: Training images, uint8 `(n, 784)`.

    Returns:
        Seconds per training step, and the wall-clock seconds of each whole run, by setting and "ours".
    """
    found: dict[str, Steps] = {}
    walls: dict[str, float] = {}
    for setting in settings:
        started = time.perf_counter()
        found[str(setting)] = _function_trainable(models, setting, steps, images)
        walls[str(setting)] = time.perf_counter() - started
    started = time.perf_counter()
    found["ours"] = _ours(models, steps)
    walls["ours"] = time.perf_counter() - started
    return found, walls


def train(params: Mapping[str, Any], *, images: np.ndarray, steps: int, setting: Mapping[str, Any]) -> None:
    """The function trainable: it evaluates and saves nothing, and reports once, at its end."""
    torch.set_num_threads(1)
    clock = Clock(round(FIRST * steps), steps)
    work = Work(TrialConfig(model=params["model"]), 0, steps, torch.tensor(images), clock)
    with torchs_own_kernels():
        train_loop(work, Setting(**setting))
    tune.report({"step_s": clock.step_s})


def _function_trainable(models: Sequence[str], setting: Setting, steps: int, images: np.ndarray) -> Steps:
    given = {"images": images, "steps": steps, "setting": dataclasses.asdict(setting)}
    ray.init(address="local", num_cpus=CORES, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with tempfile.TemporaryDirectory(prefix="peers-ray-", ignore_cleanup_errors=True) as folder:
            results = tune.Tuner(
                tune.with_resources(tune.with_parameters(train, **given), {"cpu": 1}),
                param_space={"model": tune.grid_search(list(models))},
                tune_config=tune.TuneConfig(max_concurrent_trials=CORES),
                run_config=tune.RunConfig(storage_path=folder, verbose=0),
            ).fit()
    finally:
        ray.shutdown()
    found: Steps = {}
    for result in (results[index] for index in range(len(results))):
        if result.error is not None:
            raise result.error
        assert result.config is not None and result.metrics is not None
        found[result.config["model"]] = result.metrics["step_s"]
    return found


def _ours(models: Sequence[str], steps: int) -> Steps:
    arms = {model: {"model": model} for model in models}
    spec = {"name": "peers", "base": {"steps": steps, "evaluations": 1}, "arms": arms}
    found: Steps = {}
    first = round(FIRST * steps)
    with tempfile.TemporaryDirectory(prefix="peers-study-") as folder:
        path, run = Path(folder, "peers.yaml"), f"{folder}/run"
        path.write_text(yaml.safe_dump(spec))
        arguments = ["launch", str(path), "--run", run, "--concurrency", str(CORES), "--device", "cpu"]
        code = "from study.cli.app import main; main()"
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)
        replicates = Folder(run).child("replicates")
        for name in replicates.names():
            record = checkpoint.standing(replicates.child(name)).record
            assert record is not None, f"{name} did not finish"
            train_s = {row["step"]: row["train_s"] for row in record.rows}
            model = record.replicate["config"]["model"]
            found[model] = (train_s[steps] - train_s[first]) / (steps - first)
    return found
