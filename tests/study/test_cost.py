"""What a study is expected to cost."""

import pytest

from study import spec
from study.cost import cells_core_hours, core_hours, num_weights
from study.plan import Plan
from tests.support import tiny
from trainables.registry import DATASETS
from trainables.schema import TrialConfig
from trainables.shape import Shape, Size


def test_core_hours_grow_with_steps_and_width(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    linear = Plan(spec.parse(tiny.SPEC, "tiny")).cells["linear"]
    hours = core_hours(linear)
    assert 0 < hours < core_hours(linear.model_copy(update={"steps": 600}))
    assert hours < core_hours(linear.model_copy(update={"hidden_dims": (500, 500)}))


def test_paper_study_costs_what_the_readme_says():
    plan = Plan(spec.load("paper"), {"mnist": ""})
    assert 5 < cells_core_hours(plan) < 9
    assert cells_core_hours(plan) == pytest.approx(sum(core_hours(replicate.config) for replicate in plan.replicates))


def test_cost_falls_with_the_images_size_and_number():
    plan = Plan(spec.load("paper"))
    small = Plan(plan.spec, sizes={"mnist": Size(Shape(8, 8), train=1_412, val=128, test=257)})
    assert cells_core_hours(small) < 0.7 * cells_core_hours(plan)
    assert num_weights(plan.cells["elu"], Shape(8, 8)) == 2 * (64 * 500 + 500 * 500 + 500 * 5)
    wide = core_hours(TrialConfig(task="pca"), Size(Shape(64, 64), train=5_000))
    assert wide > 20 * core_hours(TrialConfig(task="pca"))
