"""The token without which Ray lets nobody in: whoever reaches Ray's ports and has it can run code as Ray's user.

A launch's own Ray gets a new random token. All nodes of a cluster, and a launch that joins it, read the same one from
`FILE`.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from trainables.errors import ReadableError

FILE = "~/.ray/auth_token"
"""The file in which Ray looks for a cluster's token, on every machine."""
_LOG = logging.getLogger(__name__)
MODE, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"


class TokenError(ReadableError):
    """A token that is not safe."""


def file() -> Path:
    """The file from which a process on this machine reads a cluster's token."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or FILE).expanduser()


def open_to_others(path: Path) -> bool:
    """Whether somebody else than its owner may read or write the file."""
    return bool(path.stat().st_mode & 0o077)


def close(path: Path) -> None:
    """Leaves the file to its owner alone, and warns if others could read it.

    Raises:
        TokenError: Others can, and it is another user's file.
    """
    if not open_to_others(path):
        return
    try:
        path.chmod(0o600)
    except OSError:
        raise TokenError(f"{path} must be yours alone, but others can read it, and you may not change that.") from None
    _LOG.warning("%s could be read by others, who could run code on the cluster. It is yours alone now.", path)


def variables(address: str | None) -> dict[str, str]:
    """Environment variables for a launch: of the cluster at an address, or of a Ray of this machine's own (None).

    The latter gets a new random token, which lives in the environment of its processes alone. A cluster's own token is
    used, unless the user has exported RAY_AUTH_MODE=disabled.
    """
    if address is None:
        return {MODE: "token", TOKEN: secrets.token_hex(32)}
    return {MODE: os.environ.get(MODE, "token")}


@contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Sets variables within the block, and has Ray read them, which did so when it was imported and keeps a token."""
    former = {key: os.environ.get(key) for key in changes}
    os.environ.update(changes)
    _read_again()
    try:
        yield
    finally:
        for key, value in former.items():
            os.environ.pop(key)
            if value is not None:
                os.environ[key] = value
        _read_again()


def _read_again() -> None:
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
