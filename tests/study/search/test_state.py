"""The state of a search without Optuna: which trial is next, which shares another's replicates, how one ended."""

import pytest

from study.plan import Plan
from study.search.state import SearchState, judge
from tests.support.searches import hunt
from trainables.records import Record, Standing
from trainables.registry import DATASETS


@pytest.fixture
def state(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    return SearchState(Plan(hunt(seeds=2), {"tiny": "d"}))


def fields(rate):
    return {"model": "flat", "learning_rate": rate, "l2": 0.5}


def test_start_takes_open_trials_in_order_and_each_once(state):
    numbers = [state.add(fields(rate)) for rate in (0.01, 0.02, 0.03)]
    state.end(1)
    assert numbers == [0, 1, 2] and [state.start() for _ in range(3)] == [0, 2, None]
    state.stop(2)
    assert state.start() == 2
    state.requeue()
    assert [state.start(), state.start()] == [0, 2]


def test_trial_with_the_configuration_of_an_earlier_one_is_not_started(state):
    for rate in (0.01, 0.02, 0.01):
        state.add(fields(rate))
    assert state.repetitions == [2] and state.members(2) == state.members(0)
    assert [state.start() for _ in range(3)] == [0, 1, None]
    state.end(2)
    assert not state.repetitions and state.open == [0, 1]


def test_members_are_the_seeds_of_a_trial_and_hashes_tell_ended_ones(state):
    for rate in (0.01, 0.02):
        state.add(fields(rate), ended=rate == 0.01)
    assert [(r.cell, r.seed) for r in state.members(1)] == [("trial-0001", 0), ("trial-0001", 1)]
    assert len(state.hashes()) == 4 and state.hashes(ended=True) == {r.hash for r in state.members(0)}


def test_collect_waits_for_every_seed(state):
    assert state.collect(0, 3, {"a": {"step": 3}}) is None
    assert state.collect(0, 3, {"a": {"step": 3}}) is None
    assert state.collect(0, 9, {"b": {"step": 9}}) is None
    assert state.collect(0, 3, {"b": {"step": 3}}) == [{"step": 3}, {"step": 3}]


def ended(status, value=None, error=None):
    return Standing(status, error, Record({}, rows=[{"val_nll": 9.0}, {"val_nll": value}]))


@pytest.mark.parametrize(
    ("standings", "judgement"),
    [
        ([ended("finished", 1.0), ended("finished", 2.0)], ("finished", [1.5], None)),
        ([ended("finished", 1.0), ended("running")], None),
        ([ended("finished", 1.0), Standing("pending")], None),
        ([ended("stopped"), ended("finished", 2.0)], ("stopped", None, None)),
        ([ended("stopped"), ended("diverged", error="at step 3")], ("failed", None, "diverged: at step 3")),
        ([Standing("failed", "boom"), ended("finished", 2.0)], ("failed", None, "failed: boom")),
        ([ended("finished", None), ended("finished", 2.0)], ("failed", None, "val_nll has no value at the last step")),
    ],
)
def test_judge_takes_the_mean_and_any_seed_that_did_not_finish(standings, judgement):
    assert judge(standings, ["val_nll"]) == judgement
