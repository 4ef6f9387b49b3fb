"""Runs in this process: a trial that hangs is tried again; an error of the run folder is no trial's own failure."""

import time
from contextlib import closing

import pytest

from study import spec
from study.run import deadlines, inline
from study.run.backlog import Counts
from tests.support import tiny
from tests.support.searches import ASHA, REAL, hunt, run
from trainables import checkpoint, trial
from trainables.registry import DATASETS


@pytest.fixture(autouse=True)
def tiny_dataset(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")


@pytest.fixture
def study():
    whole = spec.parse(tiny.SPEC, "tiny")
    return whole.model_copy(update={"arms": {"vae": whole.arms["vae"]}, "seeds": 1})


@pytest.fixture
def impatient(monkeypatch):
    """Deadlines of two seconds."""
    for name, value in {"LEAST_S": 2.0, "TIMES": 0.0}.items():
        monkeypatch.setattr(deadlines, name, value)
    monkeypatch.setattr(inline, "TICK_S", 0.1)
    monkeypatch.setattr(trial, "REPORT_EVERY_S", 0)


def hang(times):
    """A trial that hangs after its second report, so many times."""
    real, hung = trial.run, []

    def run_or_hang(*args, **kwargs):
        with closing(real(*args, **kwargs)) as reports:
            for number, progress in enumerate(reports):
                yield progress
                if number == 1 and len(hung) < times:
                    hung.append(1)
                    time.sleep(60)

    return run_or_hang


def test_trial_that_hangs_once_is_said_to_and_tried_again(study, tmp_path, monkeypatch, impatient):
    monkeypatch.setattr(trial, "run", hang(1))
    counts, text = run(study, tmp_path)
    assert counts == Counts(finished=1)
    assert "vae, seed 0: hangs: no report for 2 s, after at most 0." in text and "; trying again" in text


def test_trial_that_hangs_each_time_fails_with_its_traceback(study, tmp_path, monkeypatch, impatient):
    monkeypatch.setattr(trial, "run", hang(9))
    counts, text = run(study, tmp_path)
    assert counts == Counts(failed=1) and "failed: hangs: no report for" in text
    trace = next((tmp_path / "errors").glob("*.txt")).read_text()
    assert "time.sleep(60)" in trace and "HungError" in trace


def test_error_of_the_folder_while_a_stop_is_written_is_not_the_trials_own(tmp_path, monkeypatch):
    study = hunt(trials=6, more=ASHA, fields=REAL, model="vae")
    real, tries = checkpoint.cut_short, []

    def stale(folder, replicate, status, reason):
        tries.append(status)
        if len(tries) == 1:
            raise OSError(116, "Stale file handle")
        real(folder, replicate, status, reason)

    monkeypatch.setattr(checkpoint, "cut_short", stale)
    with pytest.raises(OSError, match="Stale file handle"):
        run(study, tmp_path / "run")
    counts, _ = run(study, tmp_path / "run")
    assert counts == run(study, tmp_path / "whole")[0] and counts.stopped
