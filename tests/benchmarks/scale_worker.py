"""Takes the place of `trainables.trial` in the workers of `scale`: reports and leaves a record as a trial does.

It trains nothing and loads no torch: a worker takes 0.1 and not 0.4 GB, and two cores run two dozen of them. Ray loads
this module into each worker at its start, and `PackTrainable` then finds it as `trainables.trial`.
"""

from __future__ import annotations

import functools
import os
import sys
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import trainables
from trainables import checkpoint
from trainables.datasets import Dataset
from trainables.records import ImageKey, Profile, Progress, Record
from trainables.schema import METRICS, Replicate, TrialConfig
from trainables.storage import Folder

PRELOAD = "RAY_preload_python_modules"
"""The environment variable by which a worker is told to load this module."""
PAUSE_S, WORKERS = "STUDY_SCALE_PAUSE_S", "STUDY_SCALE_WORKERS"
"""Environment variables: seconds between two reports of a trial; how many workers there will be."""
REPORTS = 5
"""Reports of a trial, that of its end included."""
DEVICE = "none"
"""The device in the tables, so that nobody takes them for results."""
MEET_WITHIN_S = 240.0
_BLOCK, _SHOWN = 100, 10


def run(
    replicates: Sequence[Replicate], data: Dataset, folder: Folder, *, provenance: Mapping[str, Any], **_: Any
) -> Generator[Progress, None, None]:
    """Does what `trainables.trial.run` does but for training: reports, and leaves a result, without weights."""
    meet(folder)
    pause, size = float(os.environ.get(PAUSE_S, "0")), len(replicates)
    for replicate in replicates:
        steps = replicate.config.steps or 1
        for report in range(1, REPORTS):
            time.sleep(pause)
            yield Progress(steps * report // REPORTS, steps, size, {})
        time.sleep(pause)
        record, images = made_up(replicate, data)
        record.provenance = {"device": DEVICE} | dict(provenance)
        own, attempt = folder.child(replicate.hash), uuid.uuid4().hex[:8]
        checkpoint.finish(own, attempt, "finished", record, images=images)
        yield Progress(steps, steps, size, {replicate.hash: "finished"})


def made_up(replicate: Replicate, data: Dataset) -> tuple[Record, np.ndarray]:
    """A record with as many rows, values and images as an auto-encoder's; the images, uint8 `(n, 784)`."""
    config, rng = replicate.config, np.random.default_rng(replicate.seed)
    record = Record(replicate.described(), [_row(config, step, rng) for step in config.evaluation_steps])
    blocks = len(data.images["test"]) // _BLOCK
    sizes = {"test_nll_by_block": blocks, "code_variance": config.width}
    quantities = [(step, *quantity) for step in config.image_steps for quantity in sizes.items()]
    quantities += [(0, name, 1) for name in ("test_nll_floor", "test_nll_mean_image")]
    record.profiles = [Profile(step, quantity, rng.random(size).tolist()) for step, quantity, size in quantities]
    kinds = [(0, "input"), *((step, "reconstruction") for step in config.image_steps)]
    record.images = [ImageKey(step, kind, index, None, None) for step, kind in kinds for index in range(_SHOWN)]
    return record, data.images["test"][: len(record.images)]


def place_of(run: str) -> Path:
    """The folder in which the workers of a launch into the run folder `run` meet: a file for each."""
    return Path(f"{run}.workers")


@functools.cache
def meet(folder: Folder) -> None:
    """In a worker's first trial, waits for the other workers.

    Trials of minutes would find all workers started; of trials of a second, the first two workers would run most, since
    Ray hands a trial to a worker that is free and ends the one that it was starting for it.
    """
    place, deadline = place_of(str(Path(folder.location).parent)), time.monotonic() + MEET_WITHIN_S
    place.mkdir(exist_ok=True)
    (place / str(os.getpid())).touch()
    while len(list(place.iterdir())) < int(os.environ.get(WORKERS, "1")) and time.monotonic() < deadline:
        time.sleep(0.2)


def _row(config: TrialConfig, step: int, rng: np.random.Generator) -> dict[str, Any]:
    clock = {"step": step, "epoch": step * (config.batch_size or 1) / 55_000, "collapsed": False}
    spent = {"train_s": round(step / 65, 3), "evaluate_s": 1.0}
    return clock | dict(zip(METRICS, rng.random(len(METRICS)).tolist(), strict=True)) | spent


if __name__ in os.environ.get(PRELOAD, "").split(","):
    sys.modules["trainables.trial"] = trainables.trial = sys.modules[__name__]  # type: ignore[attr-defined]
