"""Checks before compute is spent: room on the disk, a plugin's models, that every node has the folder and the code."""

from __future__ import annotations

import hashlib
import platform
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import trainables
from study.cost import num_weights
from study.plan import Plan
from study.run.lock import RunError
from study.run.provenance import installed
from study.spec import SpecError
from trainables.registry import LABELS, NEEDS, added
from trainables.schema import CONTENT, Replicate, TrialConfig
from trainables.shape import most_components
from trainables.storage import Folder

if TYPE_CHECKING:
    from trainables.datasets import Dataset

BYTES_PER_WEIGHT = 4


def check_room(run: Folder, todo: Sequence[Replicate], plan: Plan) -> None:
    """Refuses a run folder on a local disk that cannot hold even the weights of the replicates to run.

    Raises:
        RunError: Too little room; names how much there is and how much is needed.
    """
    path = run.local
    if path is None or not todo:
        return
    weights = [num_weights(replicate.config, plan.size(replicate.config).shape) for replicate in todo]
    needed = BYTES_PER_WEIGHT * (sum(weights) + 3 * max(weights))  # a checkpoint holds Adam's two moments too
    free = shutil.disk_usage(path).free
    if needed > free:
        raise RunError(
            f"{run.url} has {free / 1e6:,.1f} MB free, but the {len(todo)} replicates to run need at least "
            f"{needed / 1e6:,.1f} MB: make room, or use another --run."
        )


def check_models(plan: Plan) -> None:
    """Tries a plugin's models and activations, each once, with the config of the first cell that has it.

    Raises:
        SpecError: One does not work, or not as ours do.
    """
    new = {(kind, name) for kind, names in added().items() for name in names}
    for label, config in plan.cells.items():
        used = {("MODELS", config.model), ("ACTIVATIONS", config.activation)} & new
        new -= used
        if used:
            from trainables import models  # loads torch

            try:
                models.check(config, plan.size(config).shape)
            except Exception as error:
                reason = str(error).partition("\n")[0]
                raise SpecError(f"study {plan.spec.name}, cell {label!r}: {type(error).__name__}: {reason}") from error


def check_data(plan: Plan, data: Mapping[str, Dataset]) -> None:
    """Refuses what the data cannot give: more components than there can be, more images than there are, a class.

    Raises:
        SpecError: A cell wants it, or two names stand for the same images.
    """
    own = {name: dataset.digest for name, dataset in data.items() if dataset.digest.startswith(CONTENT)}
    for name, digest in own.items():
        if same := next((other for other in own if other < name and own[other] == digest), None):
            raise SpecError(
                f"study {plan.spec.name}: `data` must hold different images, but {same} and {name} are equal."
            )
    for label, config in plan.cells.items():
        dataset = data[config.dataset]
        if problem := _problem(config, dataset):
            raise SpecError(f"study {plan.spec.name}, cell {label!r}: {problem}. The data are {dataset.description}.")


def _problem(config: TrialConfig, dataset: Dataset) -> str | None:
    """The rule that a config breaks on a dataset, with the config's value; None if it breaks none."""
    if config.task == "pca":
        most = most_components(dataset.size.train, dataset.shape.pixels)
        return f"`latent_dim <= {most}` must hold for PCA, but got {config.latent_dim}" if config.width > most else None
    if config.task == "train":
        return None
    images, labels = dataset.size.train, dataset.labels.get("train")
    if config.digit is not None:
        if labels is None:
            return f"`digit` must be left out where images have no labels, but got {config.digit}"
        images = int(np.count_nonzero(labels == config.digit))
    if (config.sample_size or 0) > images:
        return f"`sample_size <= {images:,}`, the training images there are, must hold, but got {config.sample_size:,}"
    return None


def data_lines(plan: Plan, data: Mapping[str, Dataset]) -> Iterator[str]:
    """Describes each dataset of the user's own, and what its images do without, with the reason."""
    for name in plan.spec.data:
        if name not in data:
            continue
        yield data[name].description
        images = data[name].size.train
        if any((config.batch_size or 0) > images for config in plan.cells.values() if config.dataset == name):
            yield f"{name}: a batch holds all {images:,} training images, for there are fewer than `batch_size`."
        for measurement in plan.spec.measurements:
            reason = NEEDS.get(measurement)
            if reason is not None and (reason != LABELS or not data[name].labels):
                yield f"{name}: `{measurement}` is left out: {reason}."


@dataclass(frozen=True)
class NodeCheck:
    """A check that each node of a cluster makes of itself. Plain data, sent also to nodes that join later."""

    folder: Folder
    """The folder into which workers will write; the driver has left a file in it."""
    name: str
    software: Mapping[str, str]
    """The driver's software: see `software`."""

    @classmethod
    def begin(cls, folder: Folder) -> NodeCheck:
        """Writes the driver's file, which stays until `end`."""
        check = cls(folder, f".probe-{uuid.uuid4().hex[:8]}", software())
        folder.write(_file(check.name), check.name.encode())
        return check

    def end(self) -> None:
        """Deletes the driver's file."""
        self.folder.delete(_file(self.name))

    def ask(self, everywhere: Callable[[NodeCheck], Mapping[str, str | None]]) -> None:
        """Refuses a cluster in which a node has a problem.

        Args:
            everywhere: Calls `answer(node)` on every node; returns the answers by the node's name.

        Raises:
            RunError: The first node's problem, by the node's name.
        """
        answers = everywhere(self)
        arrived = {node for node in answers if self.folder.exists(_file(self.name, node))}
        for node in answers:
            self.folder.delete(_file(self.name, node))
        for node, problem in answers.items():
            if problem is None and node not in arrived:
                problem = self._unshared("what it wrote did not arrive")
            if problem is not None:
                raise RunError(f"Node {node}: {problem}.")

    def answer(self, node: str) -> str | None:
        """Returns this node's problem, or None; then it has left a file in the folder for the driver to find."""
        problem = self.problem()
        if problem is None:
            try:
                self.folder.write(_file(self.name, node), b"")
            except OSError as error:
                return self._unshared(str(error))
        return problem

    def problem(self) -> str | None:
        """Returns this node's problem, or None, as far as it can tell without writing."""
        differing = [
            f"{what} {here} (the driver: {self.software[what]})"
            for what, here in software().items()
            if here != self.software[what]
        ]
        if differing:
            return f"all nodes must have the driver's software, but this one has {', '.join(differing)}"
        try:
            left = self.folder.read(_file(self.name))
        except FileNotFoundError:
            return self._unshared("what the driver wrote is not there")
        except OSError as error:
            return self._unshared(str(error))
        return None if left == self.name.encode() else self._unshared("it holds something else than the driver wrote")

    def _unshared(self, problem: str) -> str:
        return f"{self.folder.url} must be one folder that all nodes share (NFS, s3://...), but {problem}"


def software() -> dict[str, str]:
    """Lists what must be the same on every node, since it may change numbers: versions, and the code of a trial."""
    package = Path(str(trainables.__file__)).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    versions = {name: str(installed(name)) for name in ("torch", "numpy", "ray")}
    return {"Python": platform.python_version()} | versions | {"code of trainables/": digest.hexdigest()[:8]}


def _file(name: str, node: str = "driver") -> str:
    """Names a node's file like an unfinished write: hidden, and deleted by the next launch if this one dies."""
    return f"{name}-{node}.tmp"
