"""A study on several real hosts: brought up, submitted as a job, disturbed, continued, fetched, brought down.

Run by `make test-cluster`, as root. What a host loses here it loses as a machine does: its processes or its cable.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.tables.build import build
from tests.cluster.rayup import Cluster
from tests.support import faults
from trainables.storage import Folder

pytestmark = pytest.mark.cluster

SPEC = faults.SPEC.replace("steps: 600", "steps: 2000")
"""Long enough to be disturbed where three hosts share the work."""


@pytest.fixture(scope="module")
def spec_file(cluster: Cluster) -> Path:
    path = cluster.folder / "small.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture(scope="module")
def undisturbed(spec_file, tmp_path_factory):
    return faults.undisturbed(spec_file, tmp_path_factory.mktemp("undisturbed") / "run")


@pytest.fixture
def up(cluster):
    """All hosts on, and Ray on all of them: brought up where a test before it has not left it so."""
    for number in range(1, cluster.count + 1):
        cluster.hosts.mend(number)
        if not cluster.hosts.alive(number):
            cluster.hosts.start(number)
    if not cluster.complete():
        cluster.up()
    return cluster


def launch(spec_file: Path, name: str) -> str:
    return f"study launch {spec_file} --address auto --run $STUDY_RUNS/{name} --checkpoint-every 1"


def test_study_submitted_as_a_job_runs_on_several_hosts_and_is_fetched(up, spec_file, undisturbed, tmp_path):
    up.submit("whole", launch(spec_file, "whole"))
    busy: set[int] = set()
    up.until(lambda: busy.update(up.training()) or len(busy) >= 2, "trials ran on two hosts", 180)
    assert "Done: 5 finished" in up.finish("whole", 600)
    up.ray("rsync-down", str(up.file), f"{up.runs}/whole/", f"{tmp_path}/fetched/")
    faults.assert_same(undisturbed, tmp_path / "fetched")
    assert faults.finish(faults.start(faults.program("study", "status", tmp_path / "fetched")))[0] == 0


def test_dashboard_and_token_keep_strangers_out(up):
    """Nobody reaches the dashboard but through the head; whoever reaches the head's port needs the token."""
    address = up.hosts.address(1)
    for port, reachable in ((8265, False), (6379, True)):
        probe = subprocess.run(["timeout", "5", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}"], check=False)
        assert (probe.returncode == 0) is reachable, port
    stranger = f"import ray; ray.init('{address}:6379', logging_level=50)"
    done = subprocess.run(
        [sys.executable, "-c", stranger],
        env={"RAY_AUTH_MODE": "token", "HOME": "/nowhere", "PATH": "/usr/bin", "RAY_AUTH_TOKEN": "0" * 64},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0 and "AuthenticationError" in done.stderr, done.stderr


def test_host_that_dies_and_host_that_is_cut_off_change_nothing(up, spec_file, undisturbed):
    up.submit("faults", launch(spec_file, "faults"))
    up.until(lambda: {2, 3} <= set(up.training()), "trials run on both workers", 180)
    time.sleep(3)
    up.hosts.kill(3)
    up.hosts.cut(2)
    time.sleep(75)  # until the head has given it up
    up.hosts.mend(2)
    assert "Done: 5 finished" in up.finish("faults", 900)
    assert "trying again" in up.logs("faults")
    faults.assert_same(undisturbed, up.runs / "faults")


def test_head_that_dies_is_brought_up_again_and_the_study_goes_on(up, spec_file, undisturbed):
    run = Folder(str(up.runs / "head"))
    up.submit("before", launch(spec_file, "head"))
    up.until(lambda: len(faults.ends(up.runs / "head")) >= 2, "two replicates have finished", 300)
    up.hosts.kill(1)
    finished = faults.ends(up.runs / "head")
    up.hosts.start(1)
    up.up()
    up.submit("after", launch(spec_file, "head"))
    logs = up.finish("after", 600)
    assert f"{len(finished)} finished" in logs and "Done: 5 finished" in logs, logs
    assert finished.items() <= faults.ends(up.runs / "head").items(), "what had finished was not trained again"
    assert build(run).results["replicate"].nunique() == faults.REPLICATES
    faults.assert_same(undisturbed, up.runs / "head")


def test_folder_that_the_hosts_do_not_share_is_refused_before_anything_runs(up, spec_file):
    up.submit("apart", f"study launch {spec_file} --address auto --run ~/apart")
    up.until(lambda: up.state("apart") == "FAILED", "it was refused", 120)
    logs = up.logs("apart")
    assert "must be one folder that all nodes share" in logs and "what the driver wrote is not there" in logs, logs
    assert "Traceback" not in logs


def test_down_leaves_nothing_running(up):
    assert all(up.running())
    up.down()
    up.until(lambda: not any(up.running()), "Ray has ended on all hosts", 60)
