"""A cluster of real hosts, brought up by `ray up` as a user would, from docs/clusters/on-premises.yaml."""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.hosts import Hosts

ROOT = Path(__file__).resolve().parents[2]
HEAD = 1


class Cluster:
    """Hosts under one cluster file. A user's machine is this one, with a home of its own."""

    def __init__(self, folder: Path, machines: Hosts, count: int):
        self.hosts, self.count, self.folder = machines, count, folder
        self.runs = folder / "runs"
        self.file = folder / "cluster.yaml"
        self.home = folder / "me"
        for made in (self.runs, self.home):
            made.mkdir()
        (folder / "token").write_text(secrets.token_hex(32))
        self.file.write_text(yaml.safe_dump(self._config(), sort_keys=False))

    def _config(self) -> dict[str, Any]:
        """The file of the project as its user edits it, except that nothing is installed: the hosts share this disk."""
        text = (ROOT / "docs" / "clusters" / "on-premises.yaml").read_text()
        config: dict[str, Any] = yaml.safe_load(text.replace("/EDIT-ME/runs", str(self.runs)))
        addresses = [self.hosts.address(number) for number in range(1, self.count + 1)]
        config["provider"] |= {"head_ip": addresses[0], "worker_ips": addresses[1:]}
        config["auth"] = {"ssh_user": "root", "ssh_private_key": str(self.hosts.key)}
        config |= {"min_workers": self.count - 1, "max_workers": self.count - 1}
        config["file_mounts"] = {
            "~/.autoencoder-study.git": f"{ROOT}/.git",
            "~/.ray/auth_token": f"{self.folder}/token",
        }
        clone, *install, environment, profile = config["setup_commands"]
        assert len(install) == 3 and "STUDY_RUNS" in environment
        environment = environment.replace("\nEND", f"\nexport STUDY_DATA_DIR={os.environ['STUDY_DATA_DIR']}\nEND")
        config["setup_commands"] = [clone, f"ln -sfn {sys.prefix} ~/study-venv", environment, profile]
        for kind in ("head", "worker"):  # one core each, as on a machine of their own
            config[f"{kind}_start_ray_commands"][-1] += " --num-cpus=1"
        return config

    def ray(self, *words: str, timeout: float = 300) -> str:
        """What `ray` prints to its user, whose words are given; it must succeed."""
        environment = os.environ | {
            "HOME": str(self.home),
            "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        done = subprocess.run(
            ["ray", *words], env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"ray {shlex.join(words)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def up(self) -> None:
        """`ray up`, until all nodes have joined."""
        self.ray("up", "--yes", "--no-config-cache", str(self.file))
        self.until(lambda: self.nodes() == self.count, "all nodes joined", 300)

    def complete(self) -> bool:
        """Whether all nodes are up and have joined."""
        return all(self.running()) and self.nodes() == self.count

    def down(self) -> None:
        """`ray down`."""
        self.ray("down", "--yes", str(self.file))

    def exec(self, command: str, timeout: float = 120) -> str:
        """`ray exec`: a command on the head."""
        return self.ray("exec", str(self.file), command, timeout=timeout)

    def nodes(self) -> int:
        """How many nodes are alive, as the head sees it."""
        program = "import ray; ray.init('auto', logging_level=50); print('alive', sum(n['Alive'] for n in ray.nodes()))"
        found = self._on_head(f"python -c {shlex.quote(program)}")
        return int(found.rpartition("alive ")[2].split()[0])  # the autoscaler may say something after it

    def submit(self, name: str, command: str) -> None:
        """Submits a job, as docs/cluster.md says, and lets go of it."""
        self.exec(f"ray job submit --no-wait --submission-id {name} -- {command}")

    def state(self, name: str) -> str:
        """A job's state: RUNNING, SUCCEEDED, FAILED ..."""
        found = self._on_head(f"ray job status {name} 2>&1")
        return next(
            (state for state in ("SUCCEEDED", "FAILED", "STOPPED", "RUNNING") if state in found.upper()), "PENDING"
        )

    def logs(self, name: str) -> str:
        """What a job has printed."""
        return self._on_head(f"ray job logs {name} 2>&1")

    def finish(self, name: str, timeout: float = 300) -> str:
        """Waits for a job to succeed; returns what it has printed."""
        self.until(lambda: self.state(name) not in ("RUNNING", "PENDING"), f"{name} ended", timeout)
        logs = self.logs(name)
        assert self.state(name) == "SUCCEEDED", logs
        return logs

    def _on_head(self, command: str) -> str:
        """What a command prints on the head, without the words that `ray exec` puts around it."""
        return self.hosts.ssh(HEAD, f"source ~/.study-env; {command}")

    def until(self, condition: Callable[[], object], what: str, timeout: float = 120) -> None:
        """Waits until something is so."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
            time.sleep(0.5)

    def training(self) -> list[int]:
        """The hosts on which trials are being trained right now."""
        counts = self._processes("ray::[A-Za-z]*Trainable.train")
        return [number for number, count in enumerate(counts, 1) if count]

    def running(self) -> list[int]:
        """How many processes of Ray's own each host runs."""
        return self._processes("[^ ]*/raylet/raylet ")

    def _processes(self, start: str) -> list[int]:
        """How many processes each host runs whose command line begins so."""
        command = f"ps -eo args | grep -c {shlex.quote('^' + start)} || true"
        return [int(self.hosts.ssh(number, command)) for number in range(1, self.count + 1)]
