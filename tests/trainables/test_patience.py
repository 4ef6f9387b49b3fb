"""Patience with object stores: what passes is tried again, what does not ends in one line and in time."""

import socket
import threading
import time

import pytest

from trainables import patience
from trainables.storage import _SYSTEMS, Folder, StorageError


@pytest.fixture(autouse=True)
def short(monkeypatch):
    for name, value in {"PATIENCE_S": 0.6, "PAUSE_S": 0.05, "CONNECT_S": 0.5, "REQUEST_S": 0.5}.items():
        monkeypatch.setattr(patience, name, value)
    monkeypatch.setattr(patience, "_given_up", False)


def failing(times, message="AWS Error SLOW_DOWN"):
    calls = []

    def do():
        calls.append(1)
        if len(calls) <= times:
            raise OSError(message)
        return len(calls)

    return do, calls


def test_failure_that_passes_is_tried_again():
    do, _ = failing(3)
    assert patience.patiently(do) == 4


@pytest.mark.parametrize("message", ["AWS Error ACCESS_DENIED", "AWS Error NO_SUCH_BUCKET"])
def test_answer_that_stays_is_raised_at_once(message):
    do, calls = failing(9, message)
    with pytest.raises(OSError, match=message):
        patience.patiently(do)
    assert len(calls) == 1


def test_store_that_was_given_up_gets_one_try_until_it_answers():
    do, calls = failing(1000)
    with pytest.raises(OSError, match="SLOW_DOWN"):
        patience.patiently(do)
    tries = len(calls)
    assert tries > 2
    with pytest.raises(OSError, match="SLOW_DOWN"):
        patience.patiently(do)
    assert len(calls) == tries + 1
    assert patience.patiently(failing(0)[0]) == 1
    assert patience.patiently(failing(2)[0]) == 3


def test_absent_file_is_an_answer():
    def absent():
        raise FileNotFoundError("x")

    with pytest.raises(FileNotFoundError):
        patience.patiently(absent)


@pytest.fixture
def silent():
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted = []
        threading.Thread(target=lambda: [accepted.append(server.accept()) for _ in range(100)], daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
    _SYSTEMS.clear()


@pytest.mark.parametrize("call", ["read", "write", "names", "exists", "delete"])
def test_store_that_never_answers_ends_in_one_line(silent, call):
    folder = Folder(f"s3://key:secret@bucket/run?endpoint_override={silent}&scheme=http&region=us-east-1")
    arguments = {"read": ("a",), "write": ("a", b""), "names": (), "exists": ("a",), "delete": ("a",)}[call]
    began = time.monotonic()
    with pytest.raises(OSError, match=r"[Tt]imeout|timed out|NETWORK_CONNECTION") as error:
        getattr(folder, call)(*arguments)
    assert time.monotonic() - began < 15
    assert call == "delete" or (isinstance(error.value, StorageError) and "\n" not in str(error.value))
