"""Ray as the scheduler: what one test through a real Ray cannot show cheaply elsewhere."""

import pytest

from study import spec
from study.run import deadlines
from study.run.backlog import Counts
from study.run.job import Options
from tests.support import tiny
from tests.support.searches import run
from trainables.registry import DATASETS


@pytest.fixture(autouse=True)
def tiny_dataset(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")


@pytest.mark.recovery
def test_worker_that_hangs_is_ended_said_and_its_trial_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_HUNG", str(tmp_path / "hung"))
    for name, seconds in {"LEAST_S": 5.0, "UNKNOWN_S": 40.0, "TIMES": 0.0}.items():
        monkeypatch.setattr(deadlines, name, seconds)
    study = spec.parse(tiny.SPEC.replace("seeds: 2", "seeds: 1\nplugins: [tests.support.hanging]"), "tiny")
    study = study.model_copy(update={"arms": {"hangs": {"activation": "hangs"}}})
    counts, text = run(study, tmp_path / "run", Options(device="cpu", concurrency=1))
    assert counts == Counts(finished=1) and (tmp_path / "hung").exists()
    assert "Starting Ray; the first trial begins" in text
    assert "hangs, seed 0: hangs: no report for" in text and "; trying again" in text
