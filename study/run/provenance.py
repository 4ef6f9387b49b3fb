"""Where a result comes from: commit, versions, machine, data; written beside the tables and into each record."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trainables.numerics import processor
from trainables.schema import RESULTS_VERSION

PACKAGES = ("torch", "numpy", "ray", "optuna", "pandas", "pyarrow")
_ROOT = Path(__file__).resolve().parents[1]


def collect(data_digests: Mapping[str, str]) -> dict[str, Any]:
    """Everything that is known on the driver before a run starts.

    Args:
        data_digests: Each dataset's digest by name.
    """
    return {
        "git_commit": git_commit(),
        "lock_sha256": _lock_digest(),
        "results_version": RESULTS_VERSION,
        "data_digests": dict(data_digests),
        "python": platform.python_version(),
        "versions": {name: installed(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "command": " ".join([Path(sys.argv[0]).name, *map(_portable, sys.argv[1:])]),
    }


def _portable(argument: str) -> str:
    """A path within the folder where the command was given, or its name: a machine's other folders are its own."""
    path = Path(argument)
    if not path.is_absolute():
        return argument
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


def git_commit() -> str | None:
    """The commit that this code was checked out at, with `+` if files differ from it; None outside a checkout."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("+" if uncommitted() else "")


def uncommitted() -> list[str]:
    """Files of the checkout that differ from its commit."""
    return [line[2:].strip() for line in (_git("status", "--porcelain", "--untracked-files=no") or "").splitlines()]


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _lock_digest() -> str | None:
    lock = _ROOT / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:16] if lock.is_file() else None


def installed(package: str) -> str | None:
    """A package's version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
