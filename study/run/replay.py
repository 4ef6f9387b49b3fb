"""One replicate trained again, alone and without Ray."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from trainables import checkpoint, datasets, trial
from trainables.schema import Replicate
from trainables.storage import Folder


def train_again(replicate: Replicate, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Trains a replicate in a folder of its own, which is deleted; returns its rows, a dict of metrics for each step.

    Args:
        replicate: What to train.
        say: Told how far it is.

    Raises:
        trainables.datasets.DataError: The data at hand are not those that it was trained on.
    """
    dataset = datasets.load(replicate.config.dataset)
    if dataset.digest != replicate.data_digest:
        raise datasets.DataError(f"`data` must have the digest {replicate.data_digest}, but got {dataset.digest}.")
    with tempfile.TemporaryDirectory(prefix="study-replay-") as scratch:
        for progress in trial.run([replicate], dataset, Folder(scratch)):
            say(f"step {progress.step:,} of {progress.steps:,}")
        record = checkpoint.outcome(Folder(scratch).child(replicate.hash)).record
    return record.rows if record else []
