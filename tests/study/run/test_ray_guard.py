"""The watch on Ray: a launch whose Ray hangs or dies ends with one line. Ports of the test take the place of Ray's."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

PROGRAM = """
import signal, sys, threading, time
from rich.console import Console
from study.cli.common import readable_errors
from study.run import ray_guard
from study.run.stop import Stop

ray_guard.PERIOD_S, ray_guard.YIELDS_WITHIN_S = {period}, 0.5
ports = [int(port) for port in sys.argv[1:]]
with readable_errors(Console(width=200)), Stop() as stop, ray_guard.Guard(stop) as guard:
    if "hang" == {kind!r}:  # as in C++: Python's handlers are not run
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    if ports:
        guard.watch({{f"part {{index}}": ("127.0.0.1", port) for index, port in enumerate(ports)}})
    else:
        guard.expect({seconds}, "Ray has not started.")
    print("ready", flush=True)
    while not stop.asked():
        time.sleep({step})
print("ended by itself")
"""


@pytest.fixture
def run() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the program."""
    started = []

    def start(
        *ports: int, kind: str = "", seconds: float = 60, step: float = 0.05, period: float = 0.1
    ) -> subprocess.Popen[str]:
        program = PROGRAM.format(kind=kind, seconds=seconds, step=60 if kind == "hang" else step, period=period)
        words = [sys.executable, "-c", program, *map(str, ports)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def ports() -> Iterator[list[socket.socket]]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    yield servers
    for server in servers:
        server.close()


def numbers(servers: list[socket.socket]) -> list[int]:
    return [server.getsockname()[1] for server in servers]


@pytest.mark.parametrize("kind", ["", "hang"])
@pytest.mark.parametrize("index", [0, 1])
def test_guard_of_a_launch_that_loses_ray_ends_it_with_one_line(run, ports, kind, index):
    process = run(*numbers(ports), kind=kind)
    time.sleep(0.3)
    assert process.poll() is None
    ports[index].close()
    output, _ = process.communicate(timeout=20)
    line = f"Error: Ray's part {index} was lost. The newest checkpoints are intact. Go on with the same command.\n"
    assert (process.returncode, output) == (1, line)


def test_guard_of_a_launch_that_loses_ray_ends_it_before_ray_does_so_without_a_word(run, ports):
    process = run(*numbers(ports), period=30)
    time.sleep(0.5)  # until it is connected
    ports[1].close()
    output, _ = process.communicate(timeout=5)
    assert process.returncode == 1 and output.startswith("Error: Ray's part 1 was lost. "), output


def test_guard_of_a_launch_whose_connection_ends_goes_on_while_ray_answers(run, ports):
    process = run(*numbers(ports), period=30)
    for _ in range(3):
        connection, _ = ports[0].accept()
        connection.close()
    time.sleep(0.3)
    assert process.poll() is None


def test_guard_of_a_launch_that_is_stopped_together_with_ray_says_that_it_was_interrupted(run, ports):
    process = run(*numbers(ports), step=30)
    time.sleep(1)  # until it sleeps
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)  # a process of Ray that is signalled at the same time takes a moment to end
    ports[0].close()
    output, _ = process.communicate(timeout=20)
    line = "Interrupted: SIGTERM received, and Ray's part 0 ended too. The newest checkpoints are intact. "
    assert (process.returncode, output) == (130, f"{line}Go on with the same command.\n")


def test_guard_of_a_start_that_takes_too_long_ends_it_with_its_line(run):
    output, _ = run(seconds=0.3, kind="hang").communicate(timeout=20)
    assert output == "Error: Ray has not started.\n"


@pytest.mark.parametrize("phase", ["starting", "running"])
def test_guard_of_a_launch_that_lets_no_signal_through_ends_it_at_a_signal(run, ports, phase):
    process = run(*(numbers(ports) if phase == "running" else []), kind="hang")
    time.sleep(1)  # until it sleeps
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (130, "Interrupted.\n")


def test_guard_of_a_launch_that_stops_when_asked_to_leaves_it_alone(run, ports):
    process = run(*numbers(ports))
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (0, "ended by itself\n")
