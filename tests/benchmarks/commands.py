"""Measures the commands of a user who has many replicates: `python -m tests.benchmarks.commands`, about four minutes.

It makes a run folder of 10,000 finished replicates, whose networks and records are small, and times each command as a
process of its own. Each file is written onto the disk, which takes most of the four minutes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from study import spec
from study.plan import Plan
from study.run import provenance
from study.runfolder import write_run
from tests.benchmarks.lines import Line, finish
from trainables import checkpoint, datasets
from trainables.records import Record
from trainables.schema import METRICS
from trainables.storage import Folder

REPLICATES, TIMES = 10_000, 3
STUDY = str(Path(sys.executable).with_name("study"))
SPEC = """
name: many
seeds: {seeds}
base: {{dataset: strokes, activation: elu, hidden_dims: [8], steps: 100, evaluations: 4}}
grid: {{latent_dim: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}}
arms: {{elu: {{}}}}
"""


def make_run(folder: Folder, path: Path) -> None:
    """Makes a run folder in which every replicate of the study at `path` has finished."""
    study, digests = spec.load(str(path)), {"strokes": datasets.load("strokes").digest}
    replicates, rng = folder.create().child("replicates").create(), np.random.default_rng(0)
    for replicate in Plan(study, digests).replicates:
        rows = [
            {"step": step, "epoch": step / 540, "collapsed": False, "train_s": 1.0, "evaluate_s": 0.1}
            | {name: float(rng.normal()) for name in METRICS}
            for step in replicate.config.evaluation_steps
        ]
        checkpoint.finish(
            replicates.child(replicate.hash),
            "aaaaaaaa",
            "finished",
            Record(replicate.described(), rows),
            images=np.zeros((0, 784), np.uint8),
            weights={"weight": rng.normal(size=100).astype(np.float32)},
        )
    write_run(folder, study, provenance.collect(digests))


def command_seconds(*words: str, code: int = 0) -> float:
    """Wall-clock seconds of a command of `study`, the median of TIMES.

    Raises:
        RuntimeError: It ended with another exit code.
    """
    taken = []
    for _ in range(TIMES):
        started = time.perf_counter()
        ended = subprocess.run([STUDY, *words], capture_output=True, text=True, check=False)
        taken.append(time.perf_counter() - started)
        if ended.returncode != code:
            raise RuntimeError(f"`study {' '.join(words)}` ended with {ended.returncode}: {ended.stderr}")
    return statistics.median(taken)


def main() -> None:
    """Measures, prints the lines and writes `results/commands.json`."""
    with tempfile.TemporaryDirectory(prefix="study-commands-") as scratch:
        path, run = Path(scratch) / "many.yaml", str(Path(scratch) / "run")
        path.write_text(SPEC.format(seeds=REPLICATES // 10))
        make_run(Folder(run), path)
        launch = ["launch", str(path), "--run", run, "--runner", "inline"]
        many = f"{REPLICATES:,} replicates"
        few, few_run = Path(scratch) / "few.yaml", str(Path(scratch) / "few")
        few.write_text(SPEC.format(seeds=1))
        make_run(Folder(few_run), few)
        lines = [
            Line("`study --help`", command_seconds("--help"), "s", 0.5),
            Line("`study status`, 10 replicates", command_seconds("status", few_run), "s", 0.5),
            Line(f"`study show`, {many}", command_seconds("show", str(path)), "s", 5.0),
            Line(f"`study status`, {many}, before there are tables", command_seconds("status", run), "s", 5.0),
            Line(f"`study table`, {many}", command_seconds("table", run), "s", note="the tables are up to date"),
            Line(f"`study launch`, {many}, all finished", command_seconds(*launch), "s", 10.0),
            Line(f"`study status`, {many}", command_seconds("status", run), "s", 5.0),
        ]
        path.write_text(SPEC.format(seeds=10**7))
        lines.append(Line("10^8 replicates refused", command_seconds("show", str(path), code=2), "s", 5.0))
    finish("commands", lines)


if __name__ == "__main__":
    main()
