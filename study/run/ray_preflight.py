"""Checks that this machine, or a cluster to join, has what Ray needs; else Ray would hang, or end the process."""

from __future__ import annotations

import errno
import os
import resource
import socket
import sys
from contextlib import ExitStack

from ray._private import services
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError, RayError

from study.cluster import token
from study.run.lock import RunError

ANSWERS_WITHIN_S = 5.0
NUM_PORTS = 40
"""How many free ports Ray takes with a few workers, generously counted."""
LONGEST_SOCKET = 107 if sys.platform == "linux" else 103
_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
OBJECT_STORE_SHARE, OTHER_BYTES = 0.3, 8e9
"""The addresses that Ray's processes take: a share of this machine's memory, and more."""
_OR_INLINE = "or launch with `--runner inline`, which needs no Ray"


def check_python() -> None:
    """Refuses a Python without docstrings, in which Ray Tune cannot be imported; raises RunError."""
    if sys.flags.optimize >= 2:
        raise RunError(
            f"Ray needs Python's docstrings, but PYTHONOPTIMIZE=2 (or -OO) drops them: unset it, {_OR_INLINE}."
        )


def check_machine() -> None:
    """Refuses a machine on which Ray cannot be started; raises RunError with what to do about it."""
    _check_folder(
        os.environ.get("RAY_TMPDIR") or (os.environ.get("TMPDIR") if sys.platform == "linux" else None) or "/tmp"
    )
    _check_addresses()
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=ANSWERS_WITHIN_S).close()
        _check_ports()
    except OSError as error:
        if error.errno == errno.EMFILE:
            return  # Ray raises the limit of open files
        raise RunError(
            f"Ray needs this machine's own network, but 127.0.0.1 does not answer ({error.strerror or error}): "
            f"`ip link set lo up`, {_OR_INLINE}."
        ) from None


def _check_folder(folder: str) -> None:
    room = LONGEST_SOCKET - len(_SOCKET)
    if not folder.isascii() or len(os.path.abspath(folder)) > room:
        raise RunError(
            f"Ray's temporary folder must have a path of at most {room} ASCII characters, but got {folder}: "
            f"launch with RAY_TMPDIR=/tmp, {_OR_INLINE}."
        )


def _check_addresses() -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = OBJECT_STORE_SHARE * memory + OTHER_BYTES
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise RunError(
            f"Ray needs {needed / 1e9:.0f} GB of addresses, but `ulimit -v` gives it {limit / 1e9:.1f} GB: "
            f"`ulimit -v unlimited`, {_OR_INLINE}."
        )


def _check_ports() -> None:
    with ExitStack() as ports:
        for number in range(NUM_PORTS):
            try:
                ports.enter_context(socket.socket()).bind(("127.0.0.1", 0))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                raise RunError(
                    f"Ray needs about {NUM_PORTS} free ports, but this machine has {number}: widen its "
                    f"net.ipv4.ip_local_port_range, {_OR_INLINE}."
                ) from None


def check_cluster(address: str) -> None:
    """Refuses a cluster that is not there or would not let this process in.

    The environment is that of `study.cluster.token`.

    Raises:
        study.run.lock.RunError: It says what to do.
        study.cluster.token.TokenError: Others can read the token's file, and it cannot be closed to them.
    """
    try:
        head = services.canonicalize_bootstrap_address_or_die(address)
        host, _, port = head.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN_S).close()
    except (ValueError, OSError) as error:
        raise RunError(
            f"Ray at {address} cannot be reached: {str(error).rstrip('.')}. Is its head up? See `ray status`."
        ) from None
    with token.environment({token.MODE: "disabled"}):
        is_open = _let_in(head)
    if os.environ[token.MODE] != "token":
        if not is_open:
            raise RunError(f"Ray at {address} needs a token: launch without RAY_AUTH_MODE=disabled.")
    elif is_open:
        raise RunError(
            f"Ray at {address} was started without a token, so that whoever reaches it can run code: start it with "
            "RAY_AUTH_MODE=token, or launch with RAY_AUTH_MODE=disabled."
        )
    else:
        _check_token(address, head)


def _check_token(address: str, head: str) -> None:
    file, exported = token.file(), token.TOKEN in os.environ
    if file.is_file():
        token.close(file)
    elif not exported:
        raise RunError(
            f"Ray at {address} needs its token in {file}, which is not there: copy it from the head, or launch there."
        )
    if not _let_in(head):
        source = token.TOKEN if exported else file
        raise RunError(f"Ray at {address} has another token than the one in {source}: copy it from the head.")


def _let_in(head: str) -> bool:
    """Whether the cluster's head lets this process in; raises RunError if there is something else than Ray."""
    try:
        GcsClient(address=head)
    except AuthenticationError:
        return False
    except RayError as error:
        raise RunError(f"Ray at {head} cannot be reached: {error}") from None
    return True
