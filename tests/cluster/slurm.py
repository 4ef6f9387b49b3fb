"""A SLURM cluster on one Linux machine: Debian's slurmctld here, a slurmd on each host, munge between them.

Needs root, what hosts need, and the packages slurm-wlm and munge.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cluster import hosts
from tests.cluster.hosts import GATEWAY, Hosts

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "deploy" / "slurm"
_CONFIG = """
ClusterName=study
SlurmctldHost={here}({gateway})
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
MinJobAge=3600
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """The reason why SLURM cannot be started here, or None."""
    tools = [tool for tool in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(tool) is None]
    return hosts.missing() or (f"SLURM needs {', '.join(tools)}" if tools else None)


class Slurm:
    """SLURM on hosts 1 ... count, one core each; a user's commands run here, in `folder`."""

    def __init__(self, folder: Path, machines: Hosts, count: int):
        self.folder, self.hosts, self.count = folder, machines, count
        self.runs = folder / "runs"
        self.environment = os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "STUDY_VENV": sys.prefix,
            "STUDY_RUNS": str(self.runs),
            "PYTHONPATH": str(ROOT),
        }
        self._daemons: list[subprocess.Popen[bytes]] = []

    def up(self) -> None:
        """Starts munge and SLURM, and waits until all nodes are idle."""
        (self.folder / "state").mkdir()
        self.runs.mkdir()
        numbers = range(1, self.count + 1)
        nodes = [f"NodeName=host{n} NodeAddr={self.hosts.address(n)} CPUs=1 State=UNKNOWN" for n in numbers]
        here = platform.node()
        config = _CONFIG.format(here=here, gateway=GATEWAY, folder=self.folder, nodes="\n".join(nodes))
        (self.folder / "slurm.conf").write_text(config)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # a host has none, and none is looked for
        names = [f"{self.hosts.address(n)} host{n}" for n in numbers]
        (self.folder / "names").write_text("\n".join(["127.0.0.1 localhost", f"{GATEWAY} {here}", *names, ""]))
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        files = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        self._start("munged", "--foreground", "--force", *files, f"--socket={self.folder}/munge.socket")
        self.until((self.folder / "munge.socket").exists, "munge has its socket")
        self._start("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        for number in numbers:
            spool = f"{self.folder}/spool-host{number}"
            command = (
                f"mount --bind {self.folder}/names /etc/hosts; mkdir -p {spool}; SLURM_CONF={self.folder}/slurm.conf"
            )
            self.hosts.ssh(number, f"{command} slurmd -N host{number} < /dev/null > {spool}.out 2>&1")
        self.until(lambda: self.call("sinfo", "-h", "-o", "%D %t") == f"{self.count} idle", "all nodes are idle")

    def down(self) -> None:
        """Ends SLURM and munge; what runs on the hosts ends with them."""
        for process in reversed(self._daemons):
            process.terminate()
            process.wait()

    def call(self, *words: str) -> str:
        """Calls one of SLURM's commands, which must succeed; returns what it prints."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def submit(self, *words: object) -> str:
        """Submits a recipe of deploy/slurm/ with what belongs to it; returns the job's id."""
        return self.call("sbatch", "--parsable", *map(str, words))

    def states(self, job: str) -> set[str]:
        """The states of a job and, if it is an array, of its tasks: PENDING, RUNNING, COMPLETED ..."""
        lines = self.call("scontrol", "show", "job", job, "--oneliner").splitlines()
        return {line.partition("JobState=")[2].split()[0] for line in lines}

    def finish(self, job: str, timeout: float = 600) -> str:
        """Waits until a job has completed; returns what it has written."""
        self.until(lambda: not self.states(job) & {"PENDING", "RUNNING", "COMPLETING"}, f"job {job} ended", timeout)
        text = self.log(job)
        assert self.states(job) == {"COMPLETED"}, text
        return text

    def log(self, job: str) -> str:
        """What a job and its tasks have written so far."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob(f"study*-{job}*.log")))

    def until(self, condition: Callable[[], object], what: str, timeout: float = 60) -> None:
        """Waits until something is so."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout} s: {what}\n{self._logs()}"
            time.sleep(0.5)

    def _start(self, *words: str) -> None:
        with (self.folder / f"{words[0]}.out").open("wb") as log:
            self._daemons.append(subprocess.Popen(words, stdout=log, stderr=log, env=self.environment))

    def _logs(self) -> str:
        return "\n".join(f"{path}:\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))


@contextlib.contextmanager
def running(folder: Path, count: int) -> Iterator[Slurm]:
    """SLURM within the block."""
    with hosts.running(folder / "hosts", count) as machines:
        slurm = Slurm(folder, machines, count)
        try:
            slurm.up()
            yield slurm
        finally:
            slurm.down()
