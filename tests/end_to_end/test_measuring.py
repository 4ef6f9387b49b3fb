"""Measuring what a study has trained: once, at the end or later, from the weights; and what happens when it fails."""

import io
import logging

import numpy as np
import pytest
from rich.console import Console

from study import runfolder, spec, table
from study.plan import Plan
from study.run import launch
from study.run.backlog import Counts
from study.run.job import Options
from study.spec import SpecError
from study.tables.build import build
from tests.support import tiny
from trainables import checkpoint
from trainables.records import Standing
from trainables.registry import CURVES, DATASETS, MEASUREMENTS
from trainables.storage import Folder


@pytest.fixture(autouse=True)
def tiny_registries(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    monkeypatch.setitem(MEASUREMENTS, "tiny", "tests.support.tiny:measure")
    monkeypatch.setitem(MEASUREMENTS, "failing", "tests.support.tiny:fail")
    monkeypatch.setitem(CURVES, "tiny_curve", "tests.support.tiny:measure")


def study(*measurements):
    return spec.parse(f"{tiny.SPEC}measurements: [{', '.join(measurements)}]\n", "tiny")


def run(folder, *measurements):
    text = io.StringIO()
    options = Options(runner="inline", device="cpu")
    counts = launch.launch(study(*measurements), str(folder), options, Console(file=text, width=200))
    return counts, text.getvalue()


def profiles(folder, quantity):
    return table.load_tables(str(folder)).rows("profiles", where={"quantity": [quantity]})


def weights(folder):
    return {path: path.read_bytes() for path in folder.glob("replicates/*/*-weights.safetensors")}


def test_launch_with_a_measurement_measures_every_trained_network_and_pca_at_its_last_step(tmp_path):
    counts, _ = run(tmp_path, "tiny")
    assert counts == Counts(finished=5)
    found = profiles(tmp_path, "tiny_codes")
    assert found.groupby("replicate").size().eq(6).all() and found["replicate"].nunique() == 5
    assert set(found["step"]) == {0, 6}, "PCA has no steps"
    assert profiles(tmp_path, "tiny_null")["value"].isna().all()
    assert (profiles(tmp_path, "tiny_s")["value"] >= 0).sum() == 5


def test_measured_images_lie_in_the_table(tmp_path):
    run(tmp_path, "tiny")
    images = table.load_tables(str(tmp_path)).images
    first = images[images["kind"] == "first"]
    assert len(first) == 5
    assert first[["index", "axis", "value"]].drop_duplicates().to_numpy().tolist() == [[0, 1, 0.5]]
    assert set(first["pixels"]) == {tiny.load().images["test"][0].tobytes()}


def test_launch_with_a_further_measurement_measures_without_training_and_gives_the_same(tmp_path):
    run(tmp_path / "later")
    before = weights(tmp_path / "later")
    counts, text = run(tmp_path / "later", "tiny")
    run(tmp_path / "at once", "tiny")
    assert counts == Counts(finished=5) and "5 to measure" in text
    assert weights(tmp_path / "later") == before
    later, at_once = (profiles(tmp_path / name, "tiny_codes") for name in ("later", "at once"))
    np.testing.assert_array_equal(later.drop(columns="step"), at_once.drop(columns="step"))


def test_launch_again_measures_nothing_twice(tmp_path):
    run(tmp_path, "tiny")
    counts, text = run(tmp_path, "tiny")
    assert counts == Counts(finished=5) and "to measure" not in text


def test_launch_without_a_measurement_keeps_what_was_measured(tmp_path):
    run(tmp_path, "tiny")
    run(tmp_path)
    assert len(profiles(tmp_path, "tiny_codes"))
    assert runfolder.read_spec(Folder(str(tmp_path))).measurements == ["tiny"]


def test_measurement_that_fails_is_reported_and_costs_nothing_else(tmp_path):
    counts, text = run(tmp_path, "tiny", "failing")
    assert counts == Counts(unmeasured=5)
    assert "`seed > 9` must hold, but got 0" in text
    assert len(profiles(tmp_path, "tiny_codes")) == 30
    assert set(table.load_tables(str(tmp_path)).ends["status"]) == {"finished"}


@pytest.mark.parametrize("length", [-1, 0])
def test_damaged_measurement_is_named_and_made_again_by_the_next_launch(tmp_path, caplog, length):
    run(tmp_path, "tiny")
    whole, before = profiles(tmp_path, "tiny_codes"), weights(tmp_path)
    file = next(tmp_path.glob("replicates/*/*-measured-tiny.safetensors"))
    file.write_bytes(file.read_bytes()[:length])
    with caplog.at_level(logging.WARNING):
        build(Folder(str(tmp_path)))
    assert f"{file.name} is damaged" in caplog.text
    assert len(profiles(tmp_path, "tiny_codes")) == len(whole) - 6
    counts, text = run(tmp_path, "tiny")
    assert counts == Counts(finished=5) and "1 to measure" in text
    assert profiles(tmp_path, "tiny_codes").equals(whole) and weights(tmp_path) == before
    caplog.clear()
    run(tmp_path, "tiny")
    assert not caplog.records, "the damaged file is gone"


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone"])
def test_damaged_weights_are_named_and_the_network_is_trained_and_measured_again(tmp_path, caplog, damage):
    run(tmp_path, "tiny")
    whole, before = profiles(tmp_path, "tiny_codes"), weights(tmp_path)
    file = next(tmp_path.glob("replicates/*/*-weights.safetensors"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink() if damage == "gone" else file.write_bytes({"flipped": content, "cut": content[:-9]}.get(damage, b""))
    with caplog.at_level(logging.WARNING):
        counts, text = run(tmp_path, "tiny")
    assert counts == Counts(finished=5) and "1 to start" in text
    assert file.name in caplog.text
    assert sorted(weights(tmp_path).values()) == sorted(before.values())
    assert profiles(tmp_path, "tiny_codes").equals(whole)


def test_curve_is_measured_at_every_evaluation(tmp_path):
    run(tmp_path, "tiny_curve")
    found = profiles(tmp_path, "tiny_codes")
    rows = table.load_tables(str(tmp_path)).results
    trained = rows[rows["config/task"] == "train"]
    assert set(zip(found["replicate"], found["step"], strict=True)) == set(
        zip(trained["replicate"], trained["step"], strict=True)
    )


def test_unmeasured_replicate_without_weights_or_unfinished_has_nothing_to_measure(tmp_path):
    folder = Folder(str(tmp_path)).create()
    assert checkpoint.unmeasured(folder, Standing("diverged", weights="0123abcd-weights"), ["tiny"]) == []
    assert checkpoint.unmeasured(folder, Standing("finished"), ["tiny"]) == []


def test_spec_with_an_unknown_measurement_names_the_nearest():
    with pytest.raises(SpecError, match=r"`measurements` must be one of .* but got 'prob'. Did you mean 'probes'"):
        study("prob")


def test_estimates_of_the_intrinsic_dimension_depend_on_sample_digit_and_seed(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load_more")
    text = """
name: tiny-dimension
seeds: 2
base: {task: intrinsic_dimension, dataset: tiny, sample_size: 400}
arms:
  all: {}
  other size: {sample_size: 500}
  one digit: {digit: 3}
"""
    options = Options(runner="inline", device="cpu")
    parsed = spec.parse(text, "it")
    counts = launch.launch(parsed, str(tmp_path), options, Console(file=io.StringIO()))
    assert counts == Counts(finished=6), "each seed is another subsample"
    tables = table.load_tables(str(tmp_path))
    ties = tables.rows("profiles", where={"quantity": ["ties"]})  # bars of few grey levels
    assert ties.groupby("replicate")["value"].agg(tuple).nunique() == 6
    assert tables.rows("profiles", where={"quantity": ["dimension_twonn"]})["value"].isna().all()
    assert tables.ends["config/latent_dim"].isna().all() and tables.ends["test_nll"].isna().all()


def test_sample_larger_than_the_data_is_refused_with_the_rule_before_anything_runs(tmp_path):
    text = "name: it\nbase: {task: intrinsic_dimension, dataset: tiny, sample_size: 201, digit: 3}\narms: {all: {}}\n"
    options = Options(runner="inline", device="cpu")
    with pytest.raises(SpecError, match=r"cell 'all': `sample_size <= 20`, the training images there are, .* got 201"):
        launch.launch(spec.parse(text, "it"), str(tmp_path), options, Console(file=io.StringIO()))
    assert not (tmp_path / "spec.yaml").exists()


def test_cells_of_several_grids_are_run_one_after_another_and_named_by_what_is_swept():
    text = tiny.SPEC + "grid:\n- {latent_dim: [2, 3], steps: 6}\n- {latent_dim: [4], steps: 8}\n"
    cells = Plan(spec.parse(text, "it")).cells
    assert {label: (c.latent_dim, c.steps) for label, c in cells.items() if label.startswith("linear")} == {
        "linear latent_dim=2": (2, 6),
        "linear latent_dim=3": (3, 6),
        "linear latent_dim=4": (4, 8),
    }


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("[]", "`grid` must hold at least one grid, but got an empty list"),
        ("[{latent_dim: []}]", "`grid` must give latent_dim at least one value"),
        ("[{latent_dm: 3}]", "Did you mean 'latent_dim'"),
        ("3", "`grid"),
    ],
)
def test_spec_with_a_bad_grid_is_refused(grid, message):
    with pytest.raises(SpecError, match=message):
        spec.parse(f"{tiny.SPEC}grid: {grid}\n", "it")
