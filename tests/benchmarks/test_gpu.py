"""The GPU benchmark runs where there is torch and numpy alone, and trains what a TrialConfig would."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.gpu import Settings
from tests.benchmarks.lines import Line
from trainables.schema import TrialConfig

ROOT = Path(__file__).resolve().parents[2]
ABSENT = (
    "pydantic ray pandas pyarrow safetensors filelock rich typer yaml optuna sklearn matplotlib seaborn torchvision"
)


def test_settings_are_the_fields_that_training_reads_with_their_defaults() -> None:
    config, settings = TrialConfig(), Settings()
    assert {name: getattr(config, name) for name in vars(settings)} == vars(settings)
    unread = {"steps", "evaluations", "dataset", "sample_size", "digit"}
    assert set(vars(settings)) == set(TrialConfig.model_fields) - unread
    assert (config.variational, config.width) == (settings.variational, settings.width)


@pytest.mark.thorough
def test_gpu_benchmark_runs_with_torch_and_numpy_alone(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 784), np.uint8)
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        (raw / name).write_bytes(bytes(16) + pixels.tobytes())
    absent = tmp_path / "absent"
    absent.mkdir()
    for package in ABSENT.split():
        (absent / f"{package}.py").write_text("raise ImportError('as if it were not installed')")
    environment = os.environ | {"STUDY_DATA_DIR": str(tmp_path), "PYTHONPATH": str(absent)}
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--device", "cpu", "--quick"]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "2 members in tf32: step / its roofline" in ran.stdout
    assert "bf16: difference of the test NLL to fp32" in ran.stdout


def test_line_verdict_says_by_how_much_a_goal_is_missed() -> None:
    assert Line("a", 1.2, "times", 1.25).verdict == "met"
    assert Line("a", 1.5, "times", 1.25).verdict == "missed by 0.25"
    assert Line("a", 1.0, "times", 1.4, "more").verdict == "missed by 0.4"
    assert Line("a", 1.0, "times").verdict == ""
    assert Line("a", None, "times", 1.4, "more", "no such machine").verdict == "not measured"
