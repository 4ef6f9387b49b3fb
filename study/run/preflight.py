"""What can be known before compute is spent: room, a plugin's models, that every node has the folder and the code."""

from __future__ import annotations

import hashlib
import platform
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trainables
from study import plan as space
from study.provenance import installed
from study.run.lock import RunError
from study.spec import SpecError, StudySpec
from trainables.registry import added
from trainables.schema import Replicate
from trainables.storage import Folder

BYTES_PER_WEIGHT = 4


def check_room(run: Folder, todo: Sequence[Replicate]) -> None:
    """Refuses a run folder on a local disk that cannot hold even the weights of what is to be run.

    Raises:
        RunError: Too little room; what is needed and what there is are named.
    """
    path = run.local
    if path is None or not todo:
        return
    weights = [space.num_weights(replicate.config) for replicate in todo]
    needed = BYTES_PER_WEIGHT * (sum(weights) + 3 * max(weights))  # a checkpoint holds Adam's two moments too
    free = shutil.disk_usage(path).free
    if needed > free:
        raise RunError(
            f"{run.url} has {free / 1e6:,.1f} MB free, but the {len(todo)} replicates to run need at least "
            f"{needed / 1e6:,.1f} MB: make room, or use another --run."
        )


def check_models(spec: StudySpec) -> None:
    """Tries a plugin's models and activations, each once, as the first arm that has one does.

    Raises:
        SpecError: One does not work, or not as ours do.
    """
    new = {(kind, name) for kind, names in added().items() for name in names}
    for label, config in space.cells(spec).items():
        used = {("MODELS", config.model), ("ACTIVATIONS", config.activation)} & new
        new -= used
        if used:
            from trainables import models  # loads torch

            try:
                models.check(config)
            except Exception as error:
                raise SpecError(f"study {spec.name}, cell {label!r}: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class NodeCheck:
    """What every node of a cluster must find. Plain data, sent to each node, also to one that comes later."""

    folder: Folder
    """What the workers will write into; the driver has left a file in it."""
    name: str
    software: Mapping[str, str]
    """What the driver has: see `software`."""

    @classmethod
    def begin(cls, folder: Folder) -> NodeCheck:
        """Leaves the file, which stays until `end`."""
        check = cls(folder, f".probe-{uuid.uuid4().hex[:8]}", software())
        folder.write(_file(check.name), check.name.encode())
        return check

    def end(self) -> None:
        """Takes the file away."""
        self.folder.delete(_file(self.name))

    def ask(self, everywhere: Callable[[NodeCheck], Mapping[str, str | None]]) -> None:
        """Refuses a cluster with a node that something is wrong with.

        Args:
            everywhere: Calls `answer(node)` on every node; returns what each gave, by the node's name.

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
        """On a node: what is wrong with it, or None; leaves an answer in the folder for the driver to find."""
        problem = self.problem()
        if problem is None:
            try:
                self.folder.write(_file(self.name, node), b"")
            except OSError as error:
                return self._unshared(str(error))
        return problem

    def problem(self) -> str | None:
        """On a node: what is wrong with it as far as it can tell without writing, or None."""
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
    """What must be the same on every node, since it may change numbers: versions, and the code of a trial itself."""
    package = Path(str(trainables.__file__)).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    versions = {name: str(installed(name)) for name in ("torch", "numpy", "ray")}
    return {"Python": platform.python_version()} | versions | {"code of trainables/": digest.hexdigest()[:8]}


def _file(name: str, node: str = "driver") -> str:
    """Named as an unfinished write is: hidden, and swept away by the next launch if this one dies."""
    return f"{name}-{node}.tmp"
