"""A run folder in a bucket: killed, continued, and read from elsewhere while it runs."""

from __future__ import annotations

import os
import signal

import pytest

from study.run.lock import DEAD_AFTER_S
from tests.support.faults import (
    REPLICATES,
    assert_same,
    command,
    finish,
    program,
    start,
    until,
)
from trainables.storage import Folder

pytestmark = pytest.mark.recovery


def test_run_in_a_bucket_killed_and_launched_again_gives_the_same_table(spec_path, whole, bucket):
    run = f"s3://{bucket}/runs/small"
    replicates = Folder(run).child("replicates")
    arguments = command(spec_path, run, "--checkpoint-every", 0.05)
    process = start(arguments)
    until(lambda: any(replicates.child(name).names() for name in replicates.names()), process)
    assert_readable(run, "running")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    code, output = finish(start(arguments), timeout=240 + DEAD_AFTER_S)
    assert code == 0 and f"Done: {REPLICATES} finished" in output, output
    assert "waiting to see which" in output, "the heartbeat that the killed launch left was watched"
    assert_same(whole, run)
    assert_readable(run, "finished")


def assert_readable(run: str, status: str) -> None:
    """From elsewhere, the study can be looked at as it stands."""
    code, output = finish(start(program("study", "status", run)))
    assert code == 0 and status in output, output


def test_report_of_a_run_in_a_bucket_is_drawn_from_its_tables(spec_path, bucket, tmp_path):
    run = f"s3://{bucket}/runs/small"
    code, output = finish(start(command(spec_path, run, "--runner", "inline", "--steps", 30)))
    assert code == 0, output
    code, output = finish(start(program("analysis", "report", run, "-o", tmp_path / "report")))
    assert code == 0, output
    assert list((tmp_path / "report").glob("*.html"))


def test_bucket_that_is_not_there_ends_with_one_line(spec_path, bucket):
    code, output = finish(start(command(spec_path, f"s3://{bucket}-absent/run", "--runner", "inline")))
    assert code == 2 and "absent/run cannot be" in output and "Traceback" not in output, output
    assert len(output.strip().splitlines()) == 1, output
