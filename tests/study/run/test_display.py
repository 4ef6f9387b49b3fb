"""What a person sees while a study runs: counts that end at nothing running, and a speed that counts only new steps."""

import io
import time

import pytest
from rich.console import Console

from study.run.display import Display, duration
from trainables.records import Progress


@pytest.fixture
def text():
    return io.StringIO()


def display(text, names, pending, steps):
    return Display(names.__getitem__, pending, steps, Console(file=text, width=200))


@pytest.mark.parametrize("status", ["finished", "diverged"])
def test_report_of_a_pack_that_ends_early_or_late_leaves_nothing_running(text, status):
    with display(text, ["a"], 2, 200) as shown:
        shown.report(0, Progress(10, 100, 2, {"x": status}))
        assert "1/2 done, 1 running" in text.getvalue()
        shown.report(0, Progress(20, 100, 2, {"y": status}))
    assert "2/2 done, 0 running, 0 failed" in text.getvalue()


def test_report_of_a_resumed_pack_counts_only_the_steps_since(text, monkeypatch):
    clock = iter([0.0, 1.0, 10.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with display(text, ["a"], 4, 4_000) as shown:
        shown.report(0, Progress(900, 1_000, 4, {}))
        shown.report(0, Progress(1_000, 1_000, 4, dict.fromkeys("wxyz", "finished")))
    assert "40 steps/s, 0:00 left" in text.getvalue()


def test_failed_counts_the_members_and_gives_the_reason(text):
    with display(text, ["a"], 3, 30) as shown:
        shown.report(0, Progress(5, 10, 3, {}))
        shown.failed(0, 3, "no such luck")
    assert "a: failed: no such luck" in text.getvalue()
    assert "0/3 done, 0 running, 3 failed" in text.getvalue()


@pytest.mark.parametrize(("seconds", "shown"), [(None, "0:00"), (61.9, "1:01"), (3_723, "1:02:03")])
def test_duration_reads_like_a_clock(seconds, shown):
    assert duration(seconds) == shown
