"""The provenance of a run: commit, versions, machine, data, command.

`provenance.json` beside the tables holds all of it, each replicate's record the commit and the lock file's digest.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trainables.numerics import processor
from trainables.schema import RESULTS_VERSION
from trainables.storage import without_secrets

PACKAGE = "mnist-autoencoder-study"
PACKAGES = (PACKAGE, "torch", "numpy", "ray", "optuna", "pandas", "pyarrow")
_LOG = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]


def collect(data_digests: Mapping[str, str]) -> dict[str, Any]:
    """Collects the provenance that the driver knows before a run starts.

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
        "command": shlex.join([Path(sys.argv[0]).name, *map(_portable, sys.argv[1:])]),
    }


def _portable(argument: str) -> str:
    """A path within the folder where the command was given, or its name: a machine's other folders are its own."""
    if argument.startswith("-") and "=" in argument:
        option, _, value = argument.partition("=")
        return f"{option}={_portable(value)}"
    shown = without_secrets(argument)
    if "://" in shown:
        return shown
    path = Path(os.path.normpath(Path(shown).expanduser()))
    if not (path.is_absolute() or ".." in path.parts):
        return shown
    inside = Path(os.path.normpath(Path.cwd() / path))
    return str(inside.relative_to(Path.cwd())) if inside.is_relative_to(Path.cwd()) else path.name


def command_line(*arguments: str) -> str:
    """A command for the user to paste, without secrets."""
    return shlex.join(map(_without_secrets, arguments))


def _without_secrets(argument: str) -> str:
    option, mark, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    return f"{option}{mark}{without_secrets(value)}" if value else argument


def git_commit() -> str | None:
    """The commit that this code was checked out at, with `+` if files differ from it; None outside a checkout."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("+" if uncommitted() else "")


def program() -> str:
    """Names this program with its version and, in a checkout, the commit and its day."""
    named = f"{PACKAGE} {installed(PACKAGE) or ''}".strip()
    commit = git_commit()
    if commit is None:
        return named
    changed = ", changed since" if commit.endswith("+") else ""
    return f"{named}, commit {commit[:12]} of {_git('log', '-1', '--format=%cs')}{changed}"


def uncommitted() -> list[str]:
    """Files of the checkout that differ from its commit."""
    return [line[2:].strip() for line in (_git("status", "--porcelain", "--untracked-files=no") or "").splitlines()]


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, timeout=10, check=True)
    except subprocess.CalledProcessError as error:
        if "safe.directory" in error.stderr:
            _LOG.warning("The commit is not recorded, since git refuses another user's checkout: see safe.directory.")
        return None
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _lock_digest() -> str | None:
    lock = _ROOT / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:16] if lock.is_file() else None


@cache
def installed(package: str) -> str | None:
    """A package's version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
