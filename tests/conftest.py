"""What several test modules share: the real MNIST, a small dataset that trains in a moment, and a small config."""

from __future__ import annotations

import gc
import logging
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from threadpoolctl import threadpool_limits

from tests.support import faults, ours  # noqa: F401 (`ours` before a test adds names)
from trainables import datasets, strokes
from trainables.datasets import Dataset
from trainables.registry import DATASETS
from trainables.schema import TrialConfig

NUM_TINY_TRAIN, NUM_TINY_VAL, NUM_TINY_TEST = 600, 300, 300
LONGEST = ("browser", "optuna_search", "extending", "own_images", "page", "pack", "launch", "closed_forms")
"""The files of tests that take longest: begun first, so that at the end no worker waits for another."""

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the LONGEST to the front; pytest-xdist keeps the order with `--no-loadscope-reorder`."""
    names = [f"test_{name}" for name in LONGEST]
    items.sort(key=lambda item: names.index(item.path.stem) if item.path.stem in names else len(names))


@pytest.fixture(autouse=True)
def data_sets_as_they_were() -> Iterator[None]:
    """Forgets the data sets of a test's specs, which a process knows from then on."""
    before = dict(DATASETS)
    yield
    DATASETS.clear()
    DATASETS.update(before)


def pytest_collection_finish() -> None:
    """Leaves the other cores to the other workers, and what has been imported out of each garbage collection."""
    threadpool_limits(1)  # of the libraries beside torch, which are loaded by now
    gc.collect()
    gc.freeze()


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
def fashion_mnist() -> Path:
    """The folder of the real Fashion-MNIST's files; the test is skipped where they are absent."""
    raw = Path(os.environ.get("STUDY_DATA_DIR", "")).expanduser() / "FashionMNIST" / "raw"
    if "STUDY_DATA_DIR" not in os.environ or not raw.is_dir():
        pytest.skip("needs the real Fashion-MNIST: set STUDY_DATA_DIR to the folder that holds FashionMNIST/raw")
    return raw


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """Drawn digits: 600 to train on, 300 to validate on, 300 to test on."""
    drawn = strokes.draw(NUM_TINY_VAL + NUM_TINY_TRAIN + NUM_TINY_TEST, factors=4, seed=0)
    train, test = slice(None, -NUM_TINY_TEST), slice(-NUM_TINY_TEST, None)
    learned, tested = ((drawn.images[part], drawn.labels[part]) for part in (train, test))
    return datasets.split("tiny", learned, tested, num_val=NUM_TINY_VAL)


@pytest.fixture(scope="session")
def small() -> Callable[..., TrialConfig]:
    """A config of a network that trains in a moment; what is given replaces its fields."""

    def make(**changes: Any) -> TrialConfig:
        given = {"hidden_dims": (16,), "latent_dim": 3, "steps": 12, "batch_size": 20, "evaluations": 3}
        return TrialConfig(**(given | changes))

    return make


@pytest.fixture(scope="session")
def s3_server() -> Iterator[dict[str, str]]:
    """A server of the S3 protocol on this machine; the environment in which processes find it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    server.stop()


@pytest.fixture
def bucket(s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new bucket, reachable from this process and those that it starts."""
    import boto3

    for key, value in s3_server.items():
        monkeypatch.setenv(key, value)
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    boto3.session.Session().client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def spec_path(mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small study that faults happen to."""
    path = tmp_path_factory.mktemp("spec") / "small.yaml"
    path.write_text(faults.SPEC)
    return path


@pytest.fixture(scope="session")
def whole(spec_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of it that nothing disturbed, made by the first of pytest-xdist's workers that needs it."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    run = shared / "whole"
    with FileLock(shared / "whole.lock"):
        return run if (run / "results.parquet").exists() else faults.undisturbed(spec_path, run)
