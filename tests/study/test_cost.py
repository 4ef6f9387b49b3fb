"""What a study is expected to cost."""

import pytest

from study import spec
from study.cost import cells_core_hours, core_hours, total_core_hours
from study.plan import Plan
from tests.support import tiny
from trainables.registry import DATASETS


def test_core_hours_grow_with_steps_and_width(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    linear = Plan(spec.parse(tiny.SPEC, "tiny")).cells["linear"]
    hours = core_hours(linear)
    assert 0 < hours < core_hours(linear.model_copy(update={"steps": 600}))
    assert hours < core_hours(linear.model_copy(update={"hidden_dims": (500, 500)}))


def test_paper_study_costs_what_the_readme_says():
    plan = Plan(spec.load("paper"), {"mnist": ""})
    assert 5 < total_core_hours(plan.replicates) < 9
    assert total_core_hours(plan.replicates) == sum(core_hours(replicate.config) for replicate in plan.replicates)
    assert cells_core_hours(plan) == pytest.approx(total_core_hours(plan.replicates))
    assert total_core_hours([]) == 0
