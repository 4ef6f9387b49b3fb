"""A power cut, played back: `python -m tests.soak.power_cut --cuts 200 --seed 1`; four minutes of one core.

One launch is recorded: every file that it creates, writes, syncs, renames and deletes. A cut after any of these leaves
on the disk what was synced, and of the rest an arbitrary part: a file without its last writes, a name that is not in
its folder yet, a folder that its parent does not know. Each such disk is laid out in files and launched again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

KEPT = 0.5
"""How likely what was not synced is on the disk all the same."""


@dataclass(frozen=True)
class Change:
    """A change of one file: `kind` is a letter of `faulty_calls.c`, `other` the new name of a rename."""

    kind: str
    path: str
    other: str = ""
    offset: int = 0
    data: bytes = b""


@dataclass
class Inode:
    """A file or a folder: its content on the disk, and the writes that are not there for certain."""

    folder: bool = False
    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        """Puts every write on the disk."""
        for write in self.pending:
            _apply(self.synced, write)
        self.pending.clear()

    def after_cut(self, rng: random.Random) -> bytes:
        """Returns the content after a power cut: what was synced, and some of the later writes."""
        content = bytearray(self.synced)
        for write in self.pending:
            if rng.random() < KEPT:
                _apply(content, write)
        return bytes(content)


@dataclass
class Disk:
    """The names and contents on a disk: `names` as a process sees them, `synced` as a cut is sure to leave them."""

    names: dict[str, Inode] = field(default_factory=dict)
    synced: dict[str, Inode] = field(default_factory=dict)
    pending: list[tuple[str, str, Inode | None]] = field(default_factory=list)
    """Changes of names that no sync has put on the disk: the old name ("" if none), the new one, and its file."""

    def change(self, change: Change) -> None:
        """Plays back one change."""
        inode = self.names.get(change.path)
        match change.kind:
            case "C" | "M":
                self.names[change.path] = made = Inode(folder=change.kind == "M")
                self.pending.append(("", change.path, made))
            case "R" if inode is not None:
                self.names[change.other] = self.names.pop(change.path)
                self.pending.append((change.path, change.other, inode))
            case "U":
                self.names.pop(change.path, None)
                self.pending.append((change.path, "", None))
            case "S" if inode is not None and not inode.folder:
                inode.sync()
            case "S":
                self._sync_folder(change.path)
            case "W" if inode is not None:
                inode.pending.append((change.offset, change.data))
            case "T" | "Z" if inode is not None:
                inode.pending.append((change.offset, None))

    def _sync_folder(self, folder: str) -> None:
        mine = [change for change in self.pending if os.path.dirname(change[1] or change[0]) == folder]
        for old, new, inode in mine:
            _rename(self.synced, old, new, inode)
        self.pending = [change for change in self.pending if change not in mine]

    def after_cut(self, rng: random.Random) -> dict[str, bytes | None]:
        """Returns what a power cut leaves: the content of each file by its path, None for a folder."""
        names = dict(self.synced)
        for old, new, inode in self.pending:
            if rng.random() < KEPT:
                _rename(names, old, new, inode)
        folders = {path for path, inode in names.items() if inode.folder}
        return {
            path: None if inode.folder else inode.after_cut(rng)
            for path, inode in sorted(names.items())
            if all(str(parent) in folders for parent in _parents(path, self._root))
        }

    _root: str = ""


def _parents(path: str, root: str) -> Iterator[Path]:
    for parent in Path(path).parents:
        if str(parent) == root or len(str(parent)) < len(root):
            return
        yield parent


def _rename(names: dict[str, Inode], old: str, new: str, inode: Inode | None) -> None:
    names.pop(old, None)
    if new and inode is not None:
        names[new] = inode


def _apply(content: bytearray, write: tuple[int, bytes | None]) -> None:
    offset, data = write
    if data is None:
        del content[offset:]
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def parse(log: bytes) -> list[Change]:
    """Reads what `faulty_record` has written."""
    changes, place = [], 0
    while place < len(log):
        end = log.index(b"\n", place)
        kind, path, other, offset, size = log[place:end].decode(errors="surrogateescape").split("\t")
        place = end + 1
        data = log[place : place + int(size)]
        place += int(size)
        changes.append(Change(kind, path, other, int(offset), data))
    return changes


def lay_out(files: dict[str, bytes | None], old: Path, new: Path) -> None:
    """Writes what a cut has left of `old` into `new`."""
    for path, content in files.items():
        target = new / Path(path).relative_to(old)
        if content is None:
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def cut(changes: Iterable[Change], root: Path, rng: random.Random) -> dict[str, bytes | None]:
    """Returns the disk after these changes and a power cut, below the folder `root`, which was there before."""
    disk = Disk(_root=str(root))
    for change in changes:
        disk.change(change)
    return disk.after_cut(rng)


def main() -> int:
    """Records a launch of each study and cuts the power after random changes; exit code 1 if one does not recover."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.power_cut", description=__doc__)
    parser.add_argument("--cuts", type=int, default=200, help="How many power cuts.")
    parser.add_argument("--seed", type=int, default=1, help="What the cuts are drawn from.")
    options = parser.parse_args()
    from tests.soak.__main__ import preload

    preload("tests.soak.power_cut")
    rng, lost = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory(prefix="power-cut-") as scratch:
        for index, study in enumerate(("grid", "search")):
            recorded = record(study, Path(scratch) / study)
            for number in range(options.cuts // 2 + (index < options.cuts % 2)):
                at = rng.randrange(1, len(recorded.changes) + 1)
                problems = recovers(recorded, at, rng, Path(scratch) / f"{study}-{number}")
                lost += bool(problems)
                print(f"{study}, cut after {at} of {len(recorded.changes)} changes: {problems or 'sound'}", flush=True)
    print(f"{options.cuts} power cuts, {lost} not recovered.")
    return 1 if lost else 0


@dataclass(frozen=True)
class Recorded:
    """A launch that was recorded: its study, the folder that it began with, its run folder, the changes."""

    study: str
    root: Path
    run: Path
    changes: list[Change]


def record(study: str, root: Path) -> Recorded:
    """Launches a study and records every change of its files."""
    from tests.soak.campaign import SPECS
    from tests.soak.faulty_calls import record as record_calls
    from tests.soak.processes import Command

    root.mkdir()
    spec, log, run = root.with_suffix(".yaml"), root.with_suffix(".changes"), root / "run"
    spec.write_text(SPECS[study])
    words = ["study", "launch", str(spec), "--run", str(run), "--runner", "inline", "--device", "cpu"]
    with log.open("wb") as file:
        to = os.dup(file.fileno())
        command = Command(
            [*words, "--checkpoint-every", "0.05"], root.with_suffix(".log"), lambda: record_calls(root, to)
        )
        ended = command.wait()
        os.close(to)
    if ended.code:
        raise RuntimeError(f"the recorded launch failed: {ended.output}")
    return Recorded(study, root, run, parse(log.read_bytes()))


def recovers(recorded: Recorded, at: int, rng: random.Random, root: Path) -> list[str]:
    """Cuts the power after `at` changes, launches until the study is done, and names what is wrong then."""
    from tests.soak.campaign import Campaign

    root.mkdir()
    lay_out(cut(recorded.changes[:at], recorded.root, rng), recorded.root, root)
    campaign = Campaign(at, 0, recorded.study, root, recorded.run)
    campaign.finish()
    if not campaign.problems:
        shutil.rmtree(root)
    return campaign.problems


if __name__ == "__main__":
    sys.exit(main())
