"""Ray's start on this machine, and who is let in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray._private.node import Node
from ray._raylet import AuthenticationMode, get_authentication_mode  # type: ignore[attr-defined]

from study.cluster import token
from study.run import ray_cluster
from study.run.job import Options
from study.run.lock import RunError
from study.run.stop import Stop

STRANGER = "import ray; ray.init(address='{}', logging_level='ERROR'); print('a stranger is in')"


def strangers(address: str, home: Path) -> dict[str, subprocess.Popen[str]]:
    """Processes of another user that know a Ray's address and nothing else."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    clean |= {"HOME": str(home), "RAY_NUM_REDIS_GET_RETRIES": "1"}  # refused once is enough
    guess = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    driver = [sys.executable, "-c", STRANGER.format(address)]
    node = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={address}", "--num-cpus=1"]
    attempts = {"driver": (driver, clean), "driver with a guess": (driver, clean | guess), "node": (node, clean)}
    return {
        name: subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name, (command, env) in attempts.items()
    }


def test_launch_keeps_strangers_out_and_its_token_out_of_files_and_command_lines(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # as exported for some open cluster
    with ray_cluster.joined(Options(concurrency=1), Stop()):
        secret = os.environ["RAY_AUTH_TOKEN"]
        started = ray._private.worker._global_node.all_processes.keys()
        assert started == {"gcs_server", "raylet"}, "a launch waits for nothing else"
        (node,) = ray.nodes()
        assert ray.get(ray.remote(lambda: 1).remote()) == 1, "its own processes are in"
        attempts = strangers(ray.get_runtime_context().gcs_address, tmp_path)
        for name, attempt in attempts.items():
            output, _ = attempt.communicate(timeout=60)
            assert attempt.returncode != 0 and "InvalidAuthToken" in output, f"{name}: {output}"
        assert [found["NodeID"] for found in ray.nodes()] == [node["NodeID"]], "no node has joined"
        session = Path(ray._private.worker._global_node.get_session_dir_path())
        lines = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
        holding = [path for path in session.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
        assert holding == [] and secret not in lines and len(secret) == 64
    assert os.environ["RAY_AUTH_MODE"] == "disabled" and "RAY_AUTH_TOKEN" not in os.environ
    assert Node.start_api_server.__module__ == Node.__module__, "a Ray that others start has all of it"


def test_environment_of_each_local_ray_has_a_token_of_its_own_and_puts_back_what_was_there(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the cluster's")
    seen = set()
    for _ in range(2):
        with token.environment(token.variables(None)):
            seen.add(os.environ["RAY_AUTH_TOKEN"])
            assert get_authentication_mode() == AuthenticationMode.TOKEN
        assert os.environ["RAY_AUTH_TOKEN"] == "the cluster's"
    assert len(seen) == 2 and "the cluster's" not in seen


@pytest.mark.parametrize(("exported", "mode"), [(None, "token"), ("disabled", "disabled")])
def test_environment_for_a_cluster_asks_for_its_token_unless_the_user_has_exported_otherwise(
    exported, mode, monkeypatch
):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if exported is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", exported)
    with token.environment(token.variables("auto")):
        assert os.environ["RAY_AUTH_MODE"] == mode and "RAY_AUTH_TOKEN" not in os.environ
        assert (get_authentication_mode() == AuthenticationMode.TOKEN) == (mode == "token")
    assert os.environ.get("RAY_AUTH_MODE") == exported


@pytest.mark.parametrize("kind", [Exception, OSError, ValueError, ray.exceptions.RaySystemError])
def test_joined_where_ray_does_not_start_ends_in_one_line_of_any_error_that_ray_raises(kind, monkeypatch):
    def fail(**_):
        raise kind("The current node timed out.\nA dump\nof many lines")

    monkeypatch.setattr(ray, "init", fail)
    one_line = pytest.raises(RunError, match=r"cannot be used: .*timed out.* launch with `--runner inline`")
    with one_line as error, ray_cluster.joined(Options(), Stop()):
        pass
    assert "dump" not in str(error.value)
