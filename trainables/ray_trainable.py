"""The Ray Tune trainable: one Ray trial trains one pack and reports how far it is. The only module here with ray."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import ray
from ray import tune

from trainables.datasets import Dataset
from trainables.records import Progress
from trainables.registry import load_plugins
from trainables.schema import Replicate
from trainables.storage import Folder, StorageError


class PackTrainable(tune.Trainable):
    """Runs pack number `config["pack"]` to its end, reporting `step`, `steps`, `members` and `ended` on the way.

    A class rather than a function, since Ray calls `cleanup` when it stops a trial, and gives it ten seconds to save
    its members; where that takes longer, they go on from their newest checkpoints. Tune's own checkpoints are not used:
    the trial writes into the run folder.
    """

    def setup(  # type: ignore[override]  # the keywords come from `tune.with_parameters`
        self,
        config: Mapping[str, Any],
        *,
        packs: Sequence[Sequence[Replicate]],
        data: Mapping[str, Dataset],
        folder: Folder,
        options: Mapping[str, Any],
        plugins: Sequence[str],
        path: Sequence[str],
        check: Callable[[], str | None] | None,
    ) -> None:
        """Takes a pack to run; called once a process.

        Args:
            config: Tune's; holds the pack's number and, for a search's trial, which is not in `packs`, its replicates
                and the `pauses` of `trainables.trial.run`.
            packs: Every pack of the launch.
            data: Datasets by name, their arrays shared read-only through Ray's object store.
            folder: The run's `replicates` folder, reachable from every node.
            options: Keyword arguments of `trainables.trial.run`.
            plugins: Modules that add to the registries.
            path: The driver's `sys.path`, where these modules lie.
            check: Returns what is wrong with this node, or None; a cluster's nodes may join while a study runs.
        """
        self._reports: Generator[Progress, None, None] | None = None
        problem = None if check is None else check()
        self._node_error = None if problem is None else f"Node {ray.util.get_node_ip_address()}: {problem}."
        if self._node_error is not None:
            return
        load_plugins(plugins, path)
        self._packs, self._data, self._folder, self._options = packs, data, folder, options
        self.reset_config(config)

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """Takes another pack to run, in the same process."""
        if self._node_error is not None:
            return True
        from trainables import trial  # loads torch, which the driver, whose Tune needs this class, can do without

        if self._reports is not None:
            self._reports.close()
        self._pack, self._begun = new_config["pack"], False
        pack = new_config.get("replicates") or self._packs[self._pack]
        data, pauses = self._data[pack[0].config.dataset], new_config.get("pauses", ())
        self._reports = trial.run(pack, data, self._folder, pauses=pauses, **self._options)
        return True

    def step(self) -> dict[str, Any]:
        """Trains up to the next report, about a second; the first call reports at once. A bad node ends the study."""
        if self._node_error is not None:
            return {"node_error": self._node_error, "done": True}
        if self._reports is None:
            raise RuntimeError("a trial was stepped before it was given a pack.")
        if not self._begun:  # Tune adds this process's id, so that the driver can end it if it hangs
            self._begun = True
            return {"pack": self._pack, "begun": True}
        try:
            progress = next(self._reports, None)
        except StorageError as error:
            return {"storage_error": str(error), "done": True}
        return {"done": True} if progress is None else {"pack": self._pack, "progress": progress}

    def cleanup(self) -> None:
        """Saves the members' checkpoints."""
        if self._reports is not None:
            self._reports.close()
