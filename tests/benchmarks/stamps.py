"""Loaded into Ray's workers by `orchestration`: writes down when they train, save, and wait for the driver.

Each process appends lines of JSON to a file of its own in `$STUDY_STAMPS`: `[what, begin, end]`, in seconds since 1970.
`step`: the first training step of a pack; `save`: a checkpoint; `work`: from being resumed to the next report; `trial`:
taking another pack to run.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainables import ray_trainable, trial
from trainables.pack import Pack

FOLDER = "STUDY_STAMPS"


def stamped(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        begin = time.time()
        try:
            return function(*arguments)
        finally:
            write(what, begin)

    return call


def write(what: str, begin: float) -> None:
    with (Path(os.environ[FOLDER]) / f"{os.getpid()}.jsonl").open("a") as file:
        file.write(json.dumps([what, begin, time.time()]) + "\n")


def first_step_stamped(step: Callable[[Pack], None]) -> Callable[[Pack], None]:
    stamping = stamped("step", step)
    return lambda pack: step(pack) if pack.steps_done else stamping(pack)


if FOLDER in os.environ:
    classes: list[tuple[Any, str, Any]] = [
        (Pack, "step", first_step_stamped(Pack.step)),
        (trial._Trial, "save", stamped("save", trial._Trial.save)),
        (ray_trainable.PackTrainable, "step", stamped("work", ray_trainable.PackTrainable.step)),
        (ray_trainable.PackTrainable, "reset_config", stamped("trial", ray_trainable.PackTrainable.reset_config)),
    ]
    for owner, name, wrapped in classes:
        setattr(owner, name, wrapped)
