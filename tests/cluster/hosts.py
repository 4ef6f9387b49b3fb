"""Real hosts on one Linux machine: each has its own address, process table, home and temporary folders, and runs sshd.

`ray up` reaches them over SSH as it would reach machines on a LAN. Needs root, openssh-server, iproute2 and rsync. What
they share is the disk (as machines share NFS), apart from the home, `/tmp/ray` and `/dev/shm`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NETWORK, BRIDGE = "10.78.0", "study78"
GATEWAY = f"{NETWORK}.1"
"""This machine's own address, as the hosts see it."""
SSH_OPTIONS = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]


def missing() -> str | None:
    """Why hosts cannot be started here, or None."""
    if os.geteuid() != 0:
        return "hosts need root"
    tools = [tool for tool in ("ip", "unshare", "ssh", "ssh-keygen", "rsync") if shutil.which(tool) is None]
    if not Path("/usr/sbin/sshd").exists():
        tools.append("sshd")
    return f"hosts need {', '.join(tools)}" if tools else None


class Hosts:
    """Hosts number 1, 2, ...; their files lie in `folder`, the key to them is `key`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.key = folder / "id"
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    def address(self, number: int) -> str:
        """The host's address."""
        return f"{NETWORK}.{10 + number}"

    def home(self, number: int) -> Path:
        """The host's home folder, as this machine sees it."""
        return self.folder / f"h{number}" / "home"

    def up(self, count: int) -> None:
        """Starts hosts 1 ... count."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.key.exists():
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        Path("/run/sshd").mkdir(exist_ok=True)
        Path("/tmp/ray").mkdir(exist_ok=True)
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "addr", "add", f"{GATEWAY}/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        for number in range(1, count + 1):
            self.start(number)

    def start(self, number: int) -> None:
        """Starts one host, or starts it again after `kill`, with what its disk held."""
        own = self.folder / f"h{number}"
        home = self.folder / "home"
        for made in (own / "home" / ".ssh", own / "ray", home):
            made.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.key.with_suffix(".pub"), own / "home" / ".ssh" / "authorized_keys")
        (own / "home" / ".bashrc").touch()
        if not (own / "hostkey").exists():
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(own / "hostkey"))
        passwd = Path("/etc/passwd").read_text().splitlines()
        entries = [
            ":".join([*e.split(":")[:5], str(home), "/bin/bash"]) if e.startswith("root:") else e for e in passwd
        ]
        (own / "passwd").write_text("\n".join(entries) + "\n")
        self._plug(number)
        inside = f"""
            hostname host{number}
            mount --bind {own}/passwd /etc/passwd
            mount --bind {own}/home {home}
            mount --bind {own}/ray /tmp/ray
            mount -t tmpfs tmpfs /dev/shm
            exec /usr/sbin/sshd -D -e -h {own}/hostkey -o PermitRootLogin=yes -o StrictModes=no -o PidFile=none
        """
        apart = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--uts", "--ipc", "--kill-child"]
        with (own / "sshd.log").open("ab") as log:
            self._started[number] = subprocess.Popen(
                ["ip", "netns", "exec", _name(number), *apart, "bash", "-ec", inside],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            )
        self._answers(number)

    def cut(self, number: int) -> None:
        """Unplugs a host from the network."""
        _run("ip", "link", "set", f"sv{number}", "down")

    def mend(self, number: int) -> None:
        """Plugs it back."""
        _run("ip", "link", "set", f"sv{number}", "up")

    def kill(self, number: int) -> None:
        """Kills a host and all that runs on it, at once."""
        if pids := _pids(number):
            subprocess.run(["kill", "-9", *pids], check=False, stderr=subprocess.DEVNULL)
        if number in self._started:
            self._started.pop(number).wait()
        _until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids), 10)

    def alive(self, number: int) -> bool:
        """Whether anything runs on a host."""
        return bool(_pids(number))

    def down(self) -> None:
        """Stops all hosts and removes the network."""
        for name in (name for name in _namespaces() if name.startswith("study-")):
            number = int(name.removeprefix("study-"))
            self.kill(number)
            subprocess.run(["ip", "link", "del", f"sv{number}"], check=False, stderr=subprocess.DEVNULL)
            _run("ip", "netns", "del", name)
        subprocess.run(["ip", "link", "del", BRIDGE], check=False, stderr=subprocess.DEVNULL)

    def ssh(self, number: int, command: str, timeout: float = 60) -> str:
        """What a shell command prints on a host."""
        words = ["ssh", *SSH_OPTIONS, "-i", str(self.key), f"root@{self.address(number)}"]
        done = subprocess.run([*words, command], capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"host {number}: {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def _plug(self, number: int) -> None:
        """Makes the host's network, if it is not there."""
        name, outside = _name(number), f"sv{number}"
        if name in _namespaces():
            return
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", outside, "type", "veth", "peer", "name", "e0", "netns", name)
        _run("ip", "link", "set", outside, "master", BRIDGE, "up")
        _run("ip", "-n", name, "addr", "add", f"{self.address(number)}/24", "dev", "e0")
        _run("ip", "-n", name, "link", "set", "e0", "up")
        _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", name, "route", "add", "default", "via", GATEWAY)  # without one Ray takes 127.0.0.1 as its own

    def _answers(self, number: int) -> None:
        def answers() -> bool:
            with contextlib.suppress(OSError), socket.create_connection((self.address(number), 22), timeout=1):
                return True
            return False

        if not _until(answers, 20):
            raise RuntimeError(f"host {number}: {(self.folder / f'h{number}' / 'sshd.log').read_text()}")


@contextlib.contextmanager
def running(folder: Path, count: int) -> Iterator[Hosts]:
    """Hosts within the block."""
    hosts = Hosts(folder)
    hosts.down()  # what a killed test has left
    try:
        hosts.up(count)
        yield hosts
    finally:
        hosts.down()


def _name(number: int) -> str:
    return f"study-{number}"


def _namespaces() -> list[str]:
    """The network namespaces of this machine."""
    found = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return [line.split()[0] for line in found.stdout.splitlines()]


def _pids(number: int) -> list[str]:
    """The processes of a host."""
    found = subprocess.run(["ip", "netns", "pids", _name(number)], capture_output=True, text=True, check=False)
    return found.stdout.split()


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits for a condition; whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}: {done.stderr}"
