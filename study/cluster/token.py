"""The token that Ray asks for. Whoever reaches Ray's ports and has the token can run code as the user of that Ray."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = "~/.ray/auth_token"
"""Where Ray looks for a cluster's token, on every machine."""
_MODE, _TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"


def file() -> Path:
    """The file from which a process on this machine reads a cluster's token."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or FILE).expanduser()


def open_to_others(path: Path) -> bool:
    """Whether somebody else than its owner may read or write the file."""
    return bool(path.stat().st_mode & 0o077)


def close(path: Path) -> None:
    """Leaves the file to its owner alone; raises PermissionError if it is another user's."""
    path.chmod(0o600)


@contextmanager
def environment(address: str | None) -> Iterator[None]:
    """Has this process, and the Ray processes that it starts in the block, use a token.

    A Ray of this machine's own gets a new random token, which lives in the environment of its processes alone. For a
    cluster, the cluster's token is used, unless the user has exported RAY_AUTH_MODE=disabled.

    Args:
        address: The cluster to join, or None for a Ray of this machine's own.
    """
    former = {key: os.environ.get(key) for key in (_MODE, _TOKEN)}
    if address is None:
        os.environ |= {_MODE: "token", _TOKEN: secrets.token_hex(32)}
    else:
        os.environ.setdefault(_MODE, "token")
    _read_again()
    try:
        yield
    finally:
        for key, value in former.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
        _read_again()


def _read_again() -> None:
    """Has Ray read the environment again: it did so when it was imported, perhaps long before, and keeps a token."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
