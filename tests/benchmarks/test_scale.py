"""The benchmark of many trials: its stand-in does what a trial does but for training, and its sums are right."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from study.tables.columns import SCHEMAS, rows_of
from tests.benchmarks import scale_lines, scale_worker
from tests.benchmarks.scale_driver import Measured
from tests.benchmarks.scale_lines import Setting
from trainables import checkpoint, trial
from trainables.datasets import Dataset
from trainables.schema import Replicate, TrialConfig
from trainables.storage import Folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def replicate(small: Callable[..., TrialConfig], tiny: Dataset) -> Replicate:
    return Replicate("elu", small(), 0, tiny.digest)


def measured(trials: int, *, report_s: float, per_trial_s: float = 0.0, work_s: float = 1e-3) -> Measured:
    """What a driver would have measured whose reports take `report_s`, and more with each trial before."""
    trial_of = np.arange(trials * scale_worker.REPORTS) / scale_worker.REPORTS
    cpu = np.cumsum(report_s + per_trial_s * trial_of)
    reports = [(float(s), 2 * float(s), work_s) for s in cpu]
    done = (trials * 1e-3, work_s)
    return Measured(reports, whole_s=2 + float(cpu[-1]), build=done, rebuild=done, peak_mib=300 + trials / 10)


def test_scale_worker_leaves_what_a_trial_leaves(replicate, tiny, tmp_path):
    rows = {}
    for name, run in {"trial": trial.run, "stand-in": scale_worker.run}.items():
        folder = Folder(str(tmp_path / name / "replicates")).create()
        reports = list(run([replicate], tiny, folder, provenance={}))
        assert reports[-1].ended == {replicate.hash: "finished"} and reports[-1].step == replicate.config.steps
        rows[name] = rows_of("scale", replicate, checkpoint.standing(folder.child(replicate.hash)))
    assert len(reports) == scale_worker.REPORTS
    assert {n: rows["trial"][n].schema for n in SCHEMAS} == {n: rows["stand-in"][n].schema for n in SCHEMAS}
    assert rows["stand-in"]["results"]["step"] == rows["trial"]["results"]["step"]
    assert {n: len(rows["trial"][n]) for n in SCHEMAS} == {n: len(rows["stand-in"][n]) for n in SCHEMAS}


def test_scale_worker_in_a_worker_takes_the_place_of_trial_without_torch():
    code = (
        "import sys, tests.benchmarks.scale_worker as w; from trainables import trial; print(trial is w, *sys.modules)"
    )
    environment = os.environ | {scale_worker.PRELOAD: scale_worker.__name__}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    stands_in, *modules = done.stdout.split()
    assert stands_in == "True" and "torch" not in modules, done.stderr


def test_costs_of_a_driver_whose_reports_take_ever_longer_find_both_parts():
    found = scale_lines.costs(
        {Setting(4, 10, size): measured(size, report_s=4e-3, per_trial_s=1e-6) for size in (100, 1000)}
    )
    limits = scale_lines.limits(scale_lines.curves(found), workers=10)
    assert {limit.what: limit.value for limit in limits} == pytest.approx(
        {"cores for reports": 100 * (4e-3 + 1e-6 * 10_000), "memory": (300 + 1000) / 1024, "age of the tables": 200},
        rel=1e-3,
    )
    assert [limit.times for limit in limits] == pytest.approx([1 / 1.4, 16, 3], rel=0.1)
    assert "after 6,000 trials" in limits[0].note
    assert scale_lines.extrapolated(limits)[-1].verdict.startswith("missed")


def test_costs_of_a_slow_machine_are_those_of_a_fast_one():
    fast, slow = measured(200, report_s=4e-3), measured(200, report_s=8e-3, work_s=2e-3)
    found = scale_lines.costs({Setting(1, 10, 200): fast, Setting(2, 10, 200): slow})
    assert [cost.report_s for cost in found.values()] == pytest.approx([4e-3, 4e-3])
    assert [cost.slowness for cost in found.values()] == pytest.approx([1, 2])


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_exponent_of_a_power_is_the_power(power):
    assert scale_lines.exponent([[size, 3 * size**power] for size in (1, 2, 8)]) == pytest.approx(power)


@pytest.mark.slow
def test_scale_in_small_measures_every_setting():
    sizes = ["--trials", "10", "20", "--nodes", "1", "2", "--workers", "1", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.scale", *sizes], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("of the driver's processor\n") == 4
    assert "the first limit" in done.stdout and "not measured" not in done.stdout
