"""What can be known before compute is spent: that the run folder has room, and is one and the same on every node."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence

from study import space
from study.lock import RunError
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


def check_shared(folder: Folder, ask: Callable[[Folder, str], Mapping[str, str | None]]) -> None:
    """Refuses a folder that some node cannot read and write.

    Args:
        folder: What the workers will write into.
        ask: Runs `probe(folder, name)` on every node; returns what each gave, by the node's name.

    Raises:
        RunError: The first node's problem, by the node's name.
    """
    name = f".probe-{uuid.uuid4().hex[:8]}"
    answers: Mapping[str, str | None] = {}
    try:
        folder.write(_file(name), name.encode())
        answers = ask(folder, name)
        arrived = {node for node in answers if folder.exists(_file(name, node))}
    finally:
        for written in (_file(name), *(_file(name, node) for node in answers)):
            folder.delete(written)
    for node, problem in answers.items():
        if problem is not None or node not in arrived:
            raise RunError(
                f"{folder.url} must be one folder that all nodes share (NFS, s3://...), but on node {node}: "
                f"{problem or 'what it wrote there did not arrive here'}."
            )


def probe(folder: Folder, name: str, node: str) -> str | None:
    """On a node: reads what the driver wrote and writes an answer beside it; returns the problem, if there is one."""
    try:
        if folder.read(_file(name)) != name.encode():
            return f"{name} holds something else than the driver wrote"
        folder.write(_file(name, node), b"")
    except FileNotFoundError:
        return "what the driver wrote there is absent"
    except OSError as error:
        return str(error)
    return None


def _file(name: str, node: str = "driver") -> str:
    """Named as an unfinished write is: hidden, and swept away by the next launch if this one dies."""
    return f"{name}-{node}.tmp"
