"""The soak and the power cuts in short; `python -m tests.soak` and `tests.soak.power_cut` run them at length."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.power_cut import Disk, parse

ROOT = Path(__file__).resolve().parents[2]
needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None and shutil.which("gcc") is None, reason="needs a C compiler to let system calls fail"
)


def ended(*words):
    ran = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, f"{ran.stdout[-3000:]}{ran.stderr[-3000:]}"
    return ran.stdout


@needs_compiler
@pytest.mark.recovery
def test_soak_of_a_few_campaigns_ends_sound():
    assert "0 campaigns not sound" in ended("tests.soak", "--faults", "15", "--seed", "4", "--minutes", "5")


@needs_compiler
@pytest.mark.recovery
def test_power_cuts_at_a_few_moments_are_recovered_from():
    assert "6 power cuts, 0 not recovered." in ended("tests.soak.power_cut", "--cuts", "6", "--seed", "1")


class Never:
    def random(self):
        return 1.0


def test_disk_after_a_cut_has_what_was_synced_and_nothing_else():
    disk = Disk(_root="/r")
    log = b"M\t/r/a\t\t0\t0\nS\t/r\t\t0\t0\nC\t/r/a/x\t\t0\t0\nW\t/r/a/x\t\t0\t3\nabcS\t/r/a/x\t\t0\t0\n"
    for change in parse(log):
        disk.change(change)
    assert disk.after_cut(Never()) == {"/r/a": None}, "its name is not in its folder yet"
    disk.change(parse(b"S\t/r/a\t\t0\t0\n")[0])
    disk.change(parse(b"W\t/r/a/x\t\t3\t3\ndef")[0])
    assert disk.after_cut(Never()) == {"/r/a": None, "/r/a/x": b"abc"}, "the later write was not synced"
    disk.change(parse(b"R\t/r/a/x\t/r/a/y\t0\t0\n")[0])
    assert set(disk.after_cut(Never())) == {"/r/a", "/r/a/x"}
    disk.change(parse(b"S\t/r/a\t\t0\t0\n")[0])
    assert set(disk.after_cut(Never())) == {"/r/a", "/r/a/y"}
