"""Machines on which Ray cannot start, and clusters that it cannot join."""

from __future__ import annotations

import errno
import resource
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.cluster import token
from study.run import ray_preflight
from study.run.lock import RunError

RIGHT = "a" * 64
HEAD = """
import ray, sys
context = ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR")
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


# This machine


def test_check_machine_of_one_that_is_as_expected_says_nothing():
    ray_preflight.check_machine()


@pytest.mark.parametrize("folder", ["/" + 60 * "x", "./t ü", "/" + 40 * "é"])
@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_check_machine_with_a_temporary_folder_that_no_socket_fits_in_says_which_to_use(variable, folder, monkeypatch):
    monkeypatch.setenv(variable, folder)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(RunError, match=r"at most 39 ASCII characters, .* launch with RAY_TMPDIR=/tmp"):
        ray_preflight.check_machine()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    ray_preflight.check_machine()


def test_check_machine_with_little_address_space_says_so(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (4_000_000_000, resource.RLIM_INFINITY))
    with pytest.raises(RunError, match=r"`ulimit -v` gives it 4.0 GB: `ulimit -v unlimited`"):
        ray_preflight.check_machine()


class NoLoopback(socket.socket):
    def connect(self, address):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")


class Crowded(socket.socket):
    """A socket on a machine that has `free` ports left."""

    free, reason = 6, errno.EADDRINUSE

    def bind(self, address):
        type(self).free -= 1
        if type(self).free < 0:
            raise OSError(self.reason, "none left")
        super().bind(address)


def test_check_machine_without_loopback_says_how_to_set_it_up(monkeypatch):
    monkeypatch.setattr(socket, "socket", NoLoopback)
    with pytest.raises(RunError, match=r"127.0.0.1 does not answer \(Network is unreachable\): `ip link set lo up`"):
        ray_preflight.check_machine()


def test_check_machine_with_few_free_ports_says_how_many(monkeypatch):
    monkeypatch.setattr(Crowded, "free", 7)
    monkeypatch.setattr(socket, "socket", Crowded)
    with pytest.raises(RunError, match=r"about 40 free ports, but this machine has 6: widen"):
        ray_preflight.check_machine()


def test_check_machine_with_few_open_files_leaves_it_to_ray(monkeypatch):
    monkeypatch.setattr(Crowded, "free", 7)
    monkeypatch.setattr(Crowded, "reason", errno.EMFILE)
    monkeypatch.setattr(socket, "socket", Crowded)
    ray_preflight.check_machine()


def test_check_python_without_docstrings_is_refused():
    program = "from study.run import ray_preflight; ray_preflight.check_python()"
    done = subprocess.run([sys.executable, "-OO", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "PYTHONOPTIMIZE=2 (or -OO) drops them: unset it" in done.stderr, done.stderr


# A cluster


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """The address of a Ray with the token RIGHT."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", RIGHT)
        process = subprocess.Popen(
            [sys.executable, "-c", HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.communicate("", timeout=60)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home without a token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for key in (token.MODE, token.TOKEN, "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(key, raising=False)
    (tmp_path / ".ray").mkdir()
    return tmp_path


def write_token(home: Path, text: str, mode: int = 0o600) -> Path:
    file = home / ".ray" / "auth_token"
    file.write_text(text)
    file.chmod(mode)
    return file


def check(address: str) -> None:
    with token.environment(token.variables(address)):
        ray_preflight.check_cluster(address)


def test_check_cluster_with_its_token_in_the_usual_file_passes_without_an_exported_mode(head, home):
    write_token(home, RIGHT)
    check(head)


def test_check_cluster_without_its_token_says_where_it_belongs(head, home):
    with pytest.raises(RunError, match=rf"needs its token in {home}/.ray/auth_token, which is not there: copy it"):
        check(head)


def test_check_cluster_with_another_token_names_where_that_came_from(head, home, monkeypatch):
    write_token(home, "0" * 64)
    with pytest.raises(RunError, match=rf"another token than the one in {home}/.ray/auth_token"):
        check(head)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "1" * 64)
    with pytest.raises(RunError, match="another token than the one in RAY_AUTH_TOKEN"):
        check(head)


def test_check_cluster_with_the_token_switched_off_here_alone_says_so(head, home, monkeypatch):
    write_token(home, RIGHT)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(RunError, match="needs a token: launch without RAY_AUTH_MODE=disabled"):
        check(head)


def test_check_cluster_that_lets_everybody_in_is_refused_unless_the_user_has_exported_it(head, home, monkeypatch):
    monkeypatch.setattr(ray_preflight, "GcsClient", lambda address: None)
    with pytest.raises(RunError, match="was started without a token, so that whoever reaches it can run code"):
        check(head)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    check(head)


def test_check_cluster_at_a_dead_address_or_none_says_so_at_once(home):
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(RunError, match=f"Ray at 127.0.0.1:{port} cannot be reached: .*refused. Is its head up"):
        check(f"127.0.0.1:{port}")
    with pytest.raises(RunError, match="Ray at foo cannot be reached"):
        check("foo")


def test_check_cluster_closes_a_token_that_others_can_read_and_says_so(head, home, caplog):
    file = write_token(home, RIGHT, 0o644)
    check(head)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "could be read by others" in caplog.text
    caplog.clear()
    check(head)
    assert caplog.text == ""


def test_check_cluster_with_an_open_token_of_another_user_is_refused(head, home, monkeypatch):
    def refuse(*_):
        raise PermissionError

    write_token(home, RIGHT, 0o644)
    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(token.TokenError, match="must be yours alone, but others can read it"):
        check(head)


def test_check_cluster_where_something_else_than_ray_answers_is_refused(home, monkeypatch):
    def talk(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    def give_up(address):
        raise ray_preflight.RayError("Timed out while waiting for GCS to become available.")

    monkeypatch.setattr(ray_preflight, "GcsClient", give_up)  # which takes 40 s
    with socket.create_server(("", 0)) as server:
        threading.Thread(target=talk, args=(server,), daemon=True).start()
        with pytest.raises(RunError, match="cannot be reached: Timed out"):
            check(f"127.0.0.1:{server.getsockname()[1]}")
