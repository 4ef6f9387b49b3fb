"""What several test modules share: the real MNIST, a small dataset that trains in a moment, and a small config."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables import datasets, strokes
from trainables.datasets import Dataset
from trainables.schema import TrialConfig

NUM_TINY_TRAIN, NUM_TINY_TEST = 600, 300

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws without a generator of its own is the same in every order of tests."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    """The real MNIST; the test is skipped where its files are absent (it is not downloaded for a test)."""
    raw = Path(os.environ.get("STUDY_DATA_DIR", "")).expanduser() / "MNIST" / "raw"
    if "STUDY_DATA_DIR" not in os.environ or not raw.is_dir():
        pytest.skip("needs the real MNIST: set STUDY_DATA_DIR to the folder that holds MNIST/raw")
    return datasets.load("mnist")


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """Drawn digits: 600 to train on, the 5,000 that every split validates on, 300 to test on."""
    drawn = strokes.draw(datasets.NUM_VAL + NUM_TINY_TRAIN + NUM_TINY_TEST, factors=4, seed=0)
    train, test = slice(None, -NUM_TINY_TEST), slice(-NUM_TINY_TEST, None)
    return datasets.split("tiny", (drawn.images[train], drawn.labels[train]), (drawn.images[test], drawn.labels[test]))


@pytest.fixture(scope="session")
def small() -> Callable[..., TrialConfig]:
    """A config of a network that trains in a moment; what is given replaces its fields."""

    def make(**changes: Any) -> TrialConfig:
        given = {"hidden_dims": (16,), "latent_dim": 3, "steps": 12, "batch_size": 20, "evaluations": 3}
        return TrialConfig(**(given | changes))

    return make
