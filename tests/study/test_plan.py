"""From spec to cells and replicates."""

import pytest

from study import plan as space
from study import spec
from study.spec import SpecError
from tests.support import tiny
from trainables.registry import DATASETS


@pytest.fixture
def study(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    return spec.parse(tiny.SPEC, "tiny")


def test_cells_without_grid_are_the_arms(study):
    assert list(space.cells(study)) == ["linear", "vae", "pca"]


def test_cells_with_grid_are_labelled_and_merged(study):
    swept = study.model_copy(update={"grid": {"latent_dim": [2, 3], "beta": [1.0, 4.0]}})
    labels = list(space.cells(swept))
    assert "vae latent_dim=3 beta=4.0" in labels
    assert labels.count("linear latent_dim=2") == 1
    assert len(labels) == 2 + 4 + 2


def test_cells_arm_and_grid_disagreeing_is_refused(study):
    both = study.model_copy(
        update={"arms": {"a": {"latent_dim": 2}, "b": {}}, "grid": {"latent_dim": [2, 3], "l2": [0.0, 1e-5]}}
    )
    labels = space.cells(both)
    assert all(config.latent_dim == 2 for label, config in labels.items() if label.startswith("a "))


def test_replicates_run_seed_by_seed_and_pca_once(study):
    plan = space.replicates(study, {"tiny": "d"})
    assert [(r.cell, r.seed) for r in plan] == [
        ("linear", 0), ("vae", 0), ("pca", 0), ("linear", 1), ("vae", 1),
    ]  # fmt: skip
    assert len({r.hash for r in plan}) == len(plan)


def test_replicates_hash_depends_on_the_data(study):
    assert space.replicates(study, {"tiny": "d"})[0].hash != space.replicates(study, {"tiny": "e"})[0].hash


def test_core_hours_grow_with_steps_and_width(study):
    linear = space.cells(study)["linear"]
    base = space.core_hours(linear)
    assert 0 < base < space.core_hours(linear.model_copy(update={"steps": 600}))
    assert base < space.core_hours(linear.model_copy(update={"hidden_dims": (500, 500)}))


def test_paper_study_costs_what_the_readme_says():
    plan = space.replicates(spec.load("paper"), {"mnist": ""})
    assert 5 < space.total_core_hours(plan) < 9
    assert space.total_core_hours(plan) == sum(space.core_hours(replicate.config) for replicate in plan)
    assert space.total_core_hours([]) == 0


def test_cells_bad_grid_value_is_named(study):
    with pytest.raises(SpecError, match=r"latent_dim.*but got 0"):
        space.cells(study.model_copy(update={"grid": {"latent_dim": [0]}}))


def test_cells_of_an_arm_that_fixes_a_field_of_the_grid_are_one_and_named_by_the_arm(study):
    text = tiny.SPEC.replace("task: pca", "task: pca, latent_dim: 3")
    cells = space.cells(spec.parse(text + "grid: {latent_dim: [2, 4]}", "here"))
    assert [label for label in cells if label.startswith("pca")] == ["pca"]
    assert cells["pca"].latent_dim == 3 and cells["vae latent_dim=4"].latent_dim == 4


def test_cells_of_one_name_are_refused(study):
    arm = '  "linear latent_dim=2": {activation: linear, latent_dim: 7}\n'
    with pytest.raises(SpecError, match="two cells are called 'linear latent_dim=2'"):
        space.cells(spec.parse(tiny.SPEC + arm + "grid: {latent_dim: [2, 4]}", "here"))
