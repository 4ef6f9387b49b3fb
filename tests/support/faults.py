"""What tests with real faults share: a small study on the real MNIST, its processes and its tables."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from study import table

ROOT = Path(__file__).resolve().parents[2]
CLOCKS = ["train_s", "evaluate_s"]
CHECKPOINT = r"[0-9a-f]{8}-[0-9a-f]{12}-\d{9}\.safetensors"
SPEC = """
name: small
title: A small grid on the real MNIST
seeds: 1
base: {dataset: mnist, hidden_dims: [32], steps: 600, evaluations: 1, batch_size: 100}
arms:
  elu: {activation: elu}
  vae: {model: vae}
  pca: {task: pca, latent_dim: 5}
grid: {latent_dim: [2, 8]}
"""
REPLICATES = 5


def command(spec_path: Path, run: Path | str, *more: object, killed: tuple[object, ...] = ()) -> list[str]:
    """`study launch`, or the same in a process that kills itself."""
    rest = ["launch", spec_path, "--run", run, "--device", "cpu", *more]
    if not killed:
        return program("study", *rest)
    return [sys.executable, str(ROOT / "tests" / "support" / "killed.py"), *map(str, [*killed, *rest])]


def program(package: str, *words: object) -> list[str]:
    """`study` or `analysis` with these words."""
    module = {"study": "study.cli.app", "analysis": "analysis.cli"}[package]
    return [sys.executable, "-c", f"from {module} import main; main()", *map(str, words)]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.Popen(
        arguments,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # as from a terminal, also under nohup
    )


def finish(process: subprocess.Popen[str], timeout: float = 240) -> tuple[int, str]:
    output, _ = process.communicate(timeout=timeout)
    return process.returncode, output


def undisturbed(spec_path: Path, run: Path) -> Path:
    """Runs a study in one process, from start to end; returns its run folder."""
    code, output = finish(start(command(spec_path, run, "--runner", "inline")), timeout=600)
    assert code == 0, output
    return run


def results(run: Path | str) -> pd.DataFrame:
    return table.load_tables(str(run)).results.drop(columns=CLOCKS)


def assert_same(whole: Path, run: Path | str, *, ordered: bool = True) -> None:
    """Every table equals that of the undisturbed run, bit for bit, times aside; merged ones in another order."""
    expected, found = table.load_tables(str(whole)), table.load_tables(str(run))
    frames = [(results(whole), results(run)), (expected.profiles, found.profiles), (expected.images, found.images)]
    for first, second in frames:
        if not ordered:
            first, second = (
                frame.sort_values("replicate", kind="stable", ignore_index=True) for frame in (first, second)
            )
        pd.testing.assert_frame_equal(first, second, check_exact=True)


def checkpoints(run: Path) -> set[Path]:
    return {path for path in run.glob("replicates/*/*.safetensors") if re.fullmatch(CHECKPOINT, path.name)}


def ends(run: Path) -> dict[Path, int]:
    """Finished markers with their times."""
    return {path: path.stat().st_mtime_ns for path in run.glob("replicates/*/*.done.json")}


def until(condition: Callable[[], object], process: subprocess.Popen[str], timeout: float = 120) -> None:
    started = time.monotonic()
    while not condition():
        assert process.poll() is None, f"it ended before: {process.communicate()[0]}"
        assert time.monotonic() - started < timeout
        time.sleep(0.02)


def descendants(pid: int) -> dict[int, str]:
    """Every process below this one, by its id, with its command line."""
    parents, titles = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            titles[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return {child: titles[child] for child in below - {pid}}


def trials(pid: int) -> list[int]:
    """Ray's workers that have a trial, below this driver or raylet."""
    return sorted(child for child, title in descendants(pid).items() if re.match(r"ray::\w*Trainable\.train", title))
