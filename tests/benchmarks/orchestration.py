"""Measures what Ray, and our use of it, cost on this machine: `python -m tests.benchmarks.orchestration`, 8 minutes.

Three launches from the shell, as a user's: start-up alone, 64 trials of about 10 s, and one trial a core of over a
minute; and trials that have nothing to do, in growing numbers, in one Ray session. `stamps` tells when the workers
train, save and wait. Needs the real MNIST in STUDY_DATA_DIR and an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console

from study import spec
from study.plan import Plan
from study.run import inline
from study.run.display import Display
from study.run.job import Job, Options
from study.run.stop import Stop
from tests.benchmarks import lines
from tests.benchmarks.lines import Line
from trainables import datasets
from trainables.schema import Replicate
from trainables.storage import Folder

ROOT = Path(__file__).resolve().parents[2]
CORES = len(os.sched_getaffinity(0))
SPEC = """
name: orchestration
title: Trials of one kind
question: What does it cost to run them?
seeds: {seeds}
base: {{dataset: mnist, activation: elu, latent_dim: 5, steps: {steps}, evaluations: {evaluations}{more}}}
arms: {{elu: {{}}}}
"""
TINY = ", hidden_dims: [8]"
GROWTH = (8, 32, 128, 512)
"""Numbers of trials that have nothing to do."""


@dataclass(frozen=True)
class Launch:
    """A `study launch` from the shell: when it began and ended, what its workers' stamps say, what its table says."""

    begin: float
    end: float
    stamps: list[list[tuple[str, float, float]]]
    final: list[dict[str, Any]]

    @property
    def first_step(self) -> float:
        """When the first training step began."""
        return min(begin for worker in self.stamps for what, begin, _ in worker if what == "step")

    def spent(self, what: str) -> float:
        """Seconds, over all workers."""
        return sum(end - begin for worker in self.stamps for kind, begin, end in worker if kind == what)

    def waited(self) -> tuple[float, float]:
        """Seconds that workers waited for the driver: within trials, and from the end of one to the next."""
        within = between = 0.0
        for worker in self.stamps:
            calls = [stamp for stamp in worker if stamp[0] in ("work", "trial")]
            for (_, _, before), (what, begin, _) in itertools.pairwise(calls):
                if what == "work":
                    within += begin - before
                else:
                    between += begin - before
        return within, between


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=64, help="trials of the study whose cores are to be busy")
    parser.add_argument("--steps", type=int, default=430, help="steps of each, about 10 s")
    parser.add_argument("--long-steps", type=int, default=3600, help="steps of the long trials, over a minute")
    given = parser.parse_args()
    start = launch(seeds=CORES, steps=1, evaluations=1)
    growth = idle_trials(GROWTH)
    long = launch(seeds=CORES, steps=given.long_steps, evaluations=1)
    many = launch(seeds=given.trials, steps=given.steps, evaluations=1)
    result, detail = busy(many)
    result += start_up([start, long, many], detail) + [per_trial(growth)] + overheads(long, detail)
    lines.finish("orchestration", result, detail | {"growth": {"trials": growth}})


def launch(*, seeds: int, steps: int, evaluations: int, more: str = "") -> Launch:
    """Runs `study launch` on a study of one cell."""
    with tempfile.TemporaryDirectory(prefix="orchestration-") as scratch:
        here = Path(scratch)
        (here / "stamps").mkdir()
        (here / "spec.yaml").write_text(SPEC.format(seeds=seeds, steps=steps, evaluations=evaluations, more=more))
        environment = os.environ | {
            "STUDY_STAMPS": str(here / "stamps"),
            "RAY_preload_python_modules": "trainables.preload,tests.benchmarks.stamps",
            "PYTHONPATH": str(ROOT),
        }
        command: list[str | Path] = [
            Path(sys.executable).with_name("study"),
            "launch",
            here / "spec.yaml",
            "--run",
            here / "run",
        ]
        begin = time.time()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        end = time.time()
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        stamps = [[tuple(json.loads(line)) for line in path.read_text().splitlines()] for path in here.glob("stamps/*")]
        rows = pq.read_table(here / "run" / "results.parquet", filters=[("final", "=", True)]).to_pylist()
        return Launch(begin, end, stamps, rows)


def idle_trials(numbers: Sequence[int]) -> list[tuple[int, float]]:
    """Seconds of Ray trials that find their result in the run folder, in growing numbers, in one Ray session."""
    from study.run import ray_cluster

    study = spec.parse(SPEC.format(seeds=1, steps=1, evaluations=1, more=TINY), "idle")
    data = {"mnist": datasets.load("mnist")}
    replicate = Plan(study, {"mnist": data["mnist"].digest}).replicates[0]
    options, stop = Options(device="cpu"), Stop()
    quiet = Console(file=io.StringIO())
    with tempfile.TemporaryDirectory(prefix="orchestration-") as scratch:
        folder = Folder(scratch)
        inline.run(_job([[replicate]], data, folder), Display(str, 1, 1, quiet), lambda: None, stop)
        with ray_cluster.joined(options, stop):
            from study.run import ray_runner

            def run(number: int) -> float:
                job = _job([[replicate]] * number, data, folder)
                display = Display(str, number, number, quiet)
                return lines.seconds(lambda: ray_runner.run(job, options, display, lambda: None, stop))

            return [(number, run(number)) for number in numbers]


def _job(packs: list[list[Replicate]], data: dict[str, datasets.Dataset], folder: Folder) -> Job:
    return Job(packs=packs, data=data, run=folder, device="cpu", provenance={})


def busy(study: Launch) -> tuple[list[Line], dict[str, Any]]:
    """The cores' busy share of a study after its start-up."""
    train, evaluate = (sum(row[key] for row in study.final) for key in ("train_s", "evaluate_s"))
    room = CORES * (study.end - study.first_step)
    within, between = study.waited()
    last = max(end for worker in study.stamps for _, _, end in worker)
    detail = {
        "trials": len(study.final), "seconds_per_trial": (train + evaluate) / len(study.final),
        "wall_s": study.end - study.begin, "after_start_up_s": study.end - study.first_step,
        "train_s": train, "evaluate_s": evaluate, "waiting_within_trials_s": within,
        "waiting_between_trials_s": between, "from_last_trial_to_exit_s": study.end - last,
    }  # fmt: skip
    note = f"{len(study.final)} trials of {detail['seconds_per_trial']:.1f} s; first step to the command's end"
    return [
        Line("cores' busy share, training and evaluation", (train + evaluate) / room, "", 0.95, "more", note),
        Line("cores' busy share, training alone", train / room, "", note="the same study"),
    ], {"busy": detail}


def start_up(launches: Sequence[Launch], detail: dict[str, Any]) -> list[Line]:
    """From the shell's start of the command to the first training step; also what it is made of."""
    found = [launch.first_step - launch.begin for launch in launches]
    detail["start_up_s"] = found
    setups = [
        min(begin for worker in launch.stamps for what, begin, _ in worker if what == "trial") for launch in launches
    ]
    workers = statistics.median(setup - launch.begin for setup, launch in zip(setups, launches, strict=True))
    note = f"median of {len(found)} launches; a worker has its first trial after {workers:.1f} s"
    return [Line("`study launch` to the first training step", statistics.median(found), "s", 6, note=note)]


def per_trial(growth: Sequence[tuple[int, float]]) -> Line:
    """The slope of the straight line through (trials, seconds)."""
    numbers, walls = np.array(growth).T
    slope = np.polyfit(numbers, walls, 1)[0]
    return Line(
        "a trial that finds its result", float(slope), "s", 0.2, note=f"slope over {GROWTH} trials on {CORES} cores"
    )


def overheads(study: Launch, detail: dict[str, Any]) -> list[Line]:
    """Shares of the time that long trials take."""
    train = sum(row["train_s"] for row in study.final)
    within, _ = study.waited()
    saves = sum(what == "save" for worker in study.stamps for what, _, _ in worker)
    detail["long"] = {"train_s": train, "save_s": study.spent("save"), "saves": saves, "report_s": within}
    note = f"{len(study.final)} trials of {train / len(study.final):.0f} s training"
    return [
        Line("checkpoints, of training time", 100 * study.spent("save") / train, "%", note=f"{saves} of them; {note}"),
        Line("reports, of training time", 100 * within / train, "%", note=note),
        Line("both", 100 * (study.spent("save") + within) / train, "%", 2, note=note),
    ]


if __name__ == "__main__":
    main()
