"""Builds and arms `faulty_calls.c`, which lets the system calls of a process fail."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("faulty_calls.c")
KINDS = {"open": 1, "write": 2, "fsync": 4, "rename": 8, "unlink": 16, "read": 32, "mkdir": 64}
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EMFILE", "ESTALE")
SHORT, KILL = -1, -9


@dataclass(frozen=True)
class CallFault:
    """The `after`-th call of a kind fails; with `again`, all later ones fail too, as on a disk that is full."""

    kind: str
    after: int
    what: int
    again: bool = False

    def __str__(self) -> str:
        names = {SHORT: "short write", KILL: "SIGKILL"}
        what = names.get(self.what) or errno.errorcode[self.what]
        return f"{what} in {self.kind} {self.after}{' and all later ones' if self.again else ''}"

    @classmethod
    def draw(cls, rng: random.Random) -> CallFault:
        """Draws a fault; half of them kill the process within the call."""
        if rng.random() < 0.2:
            return cls("write", rng.randrange(1, 120), errno.ENOSPC, again=True)
        kind = rng.choice(list(KINDS))
        choices = [getattr(errno, name) for name in ERRORS] + [KILL] * 5 + [SHORT] * 2 * (kind == "write")
        return cls(kind, int(rng.expovariate(1 / 40)) + 1, rng.choice(choices))


class Counter:
    """A number that a process and those that it forks share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4)
        self.pointer = ctypes.byref(ctypes.c_int32.from_buffer(self._memory))

    @property
    def value(self) -> int:
        """How often it was counted up."""
        return int.from_bytes(self._memory[:4], "little")


def build(folder: Path) -> Path | None:
    """Compiles the library into `folder`; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "faulty_calls.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def arm(fault: CallFault, folder: Path, counter: Counter) -> None:
    """Arms the library that this process was started with, for files below `folder`."""
    kind, again = KINDS[fault.kind], int(fault.again)
    path = f"{folder}/".encode()
    ctypes.CDLL(os.environ["LD_PRELOAD"]).faulty_arm(path, kind, fault.after, fault.what, again, counter.pointer)


def record(folder: Path, to: int) -> None:
    """Writes every change of the files below `folder` to the file descriptor `to`."""
    ctypes.CDLL(os.environ["LD_PRELOAD"]).faulty_record(f"{folder}/".encode(), to)
