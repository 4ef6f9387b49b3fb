"""The Ray Tune trainable: one Ray trial trains one pack and reports how far it is. The only module here with ray."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ray import tune

from trainables import trial
from trainables.datasets import Dataset
from trainables.schema import Replicate
from trainables.storage import Folder


def train_pack(
    config: Mapping[str, int],
    *,
    packs: Sequence[Sequence[Replicate]],
    data: Mapping[str, Dataset],
    folder: Folder,
    device: str,
    provenance: Mapping[str, Any],
) -> None:
    """Runs pack number `config["pack"]` to its end, reporting `step`, `steps`, `members` and `ended` on the way.

    Args:
        config: Ray's; holds the pack's number only.
        packs: Every pack of the launch.
        data: Datasets by name, their arrays shared read-only through Ray's object store.
        folder: The run's `replicates` folder, reachable from every node.
        device: "cpu" or "cuda".
        provenance: The driver's, for the records.
    """
    pack = packs[config["pack"]]
    for progress in trial.run(pack, data[pack[0].config.dataset], folder, device=device, provenance=provenance):
        tune.report(dataclasses.asdict(progress))
