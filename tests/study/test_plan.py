"""From spec to cells and replicates."""

import pytest

from study import spec
from study.plan import Plan
from study.spec import SpecError
from tests.support import tiny
from trainables.registry import DATASETS
from trainables.shape import Shape, Size


@pytest.fixture
def study(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    return spec.parse(tiny.SPEC, "tiny")


def test_cells_without_grid_are_the_arms(study):
    assert list(Plan(study).cells) == ["linear", "vae", "pca"]


def test_cells_with_grid_are_labelled_and_merged(study):
    swept = study.model_copy(update={"grid": {"latent_dim": [2, 3], "beta": [1.0, 4.0]}})
    labels = list(Plan(swept).cells)
    assert "vae latent_dim=3 beta=4.0" in labels
    assert labels.count("linear latent_dim=2") == 1
    assert len(labels) == 2 + 4 + 2


def test_cells_arm_and_grid_disagreeing_is_refused(study):
    both = study.model_copy(
        update={"arms": {"a": {"latent_dim": 2}, "b": {}}, "grid": {"latent_dim": [2, 3], "l2": [0.0, 1e-5]}}
    )
    labels = Plan(both).cells
    assert all(config.latent_dim == 2 for label, config in labels.items() if label.startswith("a "))


def test_replicates_run_seed_by_seed_and_pca_once(study):
    plan = Plan(study, {"tiny": "d"})
    assert [(r.cell, r.seed) for r in plan.replicates] == [
        ("linear", 0), ("vae", 0), ("pca", 0), ("linear", 1), ("vae", 1),
    ]  # fmt: skip
    assert len({r.hash for r in plan.replicates}) == len(plan.replicates)
    assert {label: len(members) for label, members in plan.members.items()} == plan.counts
    assert plan.counts == {"linear": 2, "vae": 2, "pca": 1}


def test_replicates_hash_depends_on_the_data(study):
    plan = Plan(study, {"tiny": "d"})
    assert plan.replicates[0].hash != Plan(study, {"tiny": "e"}).replicates[0].hash
    with pytest.raises(KeyError, match="tiny"):
        _ = Plan(study).replicates


def test_with_asked_of_a_plan_adds_the_trials_to_its_cells(monkeypatch):
    plan = Plan(spec.load("vae"))
    count = len(plan.cells)
    monkeypatch.setattr("study.plan.resolve", lambda *_: pytest.fail("a cell was resolved again"))
    drawn = [{"beta": 3.25}, {"beta": 3.5}]
    cells = plan.with_asked(drawn).cells
    assert list(cells)[count:] == ["trial-0000", "trial-0001"]
    assert [cells[label].beta for label in list(cells)[count:]] == [3.25, 3.5]
    assert len(plan.cells) == count


def test_cells_bad_grid_value_is_named(study):
    with pytest.raises(SpecError, match=r"latent_dim.*but got 0"):
        _ = Plan(study.model_copy(update={"grid": {"latent_dim": [0]}})).cells


def test_cells_of_an_arm_that_fixes_a_field_of_the_grid_are_one_and_named_by_the_arm(study):
    text = tiny.SPEC.replace("task: pca", "task: pca, latent_dim: 3")
    cells = Plan(spec.parse(text + "grid: {latent_dim: [2, 4]}", "here")).cells
    assert [label for label in cells if label.startswith("pca")] == ["pca"]
    assert cells["pca"].latent_dim == 3 and cells["vae latent_dim=4"].latent_dim == 4


def test_cells_of_one_name_are_refused(study):
    arm = '  "linear latent_dim=2": {activation: linear, latent_dim: 7}\n'
    with pytest.raises(SpecError, match="two cells are called 'linear latent_dim=2'"):
        _ = Plan(spec.parse(tiny.SPEC + arm + "grid: {latent_dim: [2, 4]}", "here")).cells


def test_grid_for_some_arms_adds_their_cells_alone_and_renames_nothing(study):
    both = study.model_copy(update={"grid": [{"latent_dim": [2, 3]}, {"arms": ["vae"], "latent_dim": [4]}]})
    before = Plan(both.model_copy(update={"grid": both.grids[:1]}), {"tiny": "d"})
    after = Plan(both, {"tiny": "d"})
    assert set(after.cells) - set(before.cells) == {"vae latent_dim=4"}
    hashes = {(r.cell, r.seed): r.hash for r in after.replicates}
    assert all(hashes[r.cell, r.seed] == r.hash for r in before.replicates)
    assert both.cell_count == 2 * len(both.arms) + 1


def test_grid_for_an_arm_that_does_not_exist_is_refused_by_its_name():
    with pytest.raises(SpecError, match=r"arms of grid.*'vea'. Did you mean 'vae'"):
        spec.parse(tiny.SPEC + "grid: [{arms: [vea], latent_dim: [2]}]\n", "tiny")


def test_study_latent_has_the_bend_of_the_description_length_for_the_vae_alone():
    cells = Plan(spec.load("latent")).cells
    assert {cells[f"vae latent_dim={n}"].steps for n in (11, 12, 13, 14, 15, 18)} == {50_000}
    assert not {"elu latent_dim=12", "pca latent_dim=12"} & set(cells)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("[{arms: [elu], latent_dim: [2]}]", "each arm must be in a grid, but vae is in none"),
        ("{digit: [1, 2]}", "an arm must use each field of `grid`, but digit applies to none"),
        ("{activation: [relu, elu]}", "but activation applies to none, or each sets it itself"),
    ],
)
def test_check_refuses_a_grid_that_trains_less_than_it_names(grid, message):
    text = "name: a\narms: {elu: {activation: elu}, vae: {model: vae, activation: elu}}\ngrid: "
    plan = Plan(spec.parse(text + grid, "here"))
    assert plan.cells, "a run that was launched so can still be read"
    with pytest.raises(SpecError, match=message):
        plan.check()


def test_check_takes_a_field_of_a_grid_that_one_arm_uses():
    text = "name: a\narms: {ae: {}, vae: {model: vae}, pca: {task: pca}}\ngrid: {beta: [1, 4], latent_dim: 2}"
    plan = Plan(spec.parse(text, "here"))
    plan.check()
    assert set(plan.cells) == {"ae", "vae beta=1", "vae beta=4", "pca"}


SIZES = {"tiny": Size(Shape(2, 3), train=90, val=5, test=5)}
FITTED = tiny.SPEC + "  images: {task: intrinsic_dimension, sample_size: 100}\nfit: true\n"


def fitted(text, sizes=SIZES):
    return spec.parse(text, "here").fitted(sizes)


def test_fitted_leaves_out_n_above_the_pixels_and_caps_samples(study):
    swept = fitted(FITTED + "grid: {latent_dim: [1, 6, 7, 100]}")
    assert swept.grids == [{"latent_dim": [1, 6]}] and swept.arms["images"]["sample_size"] == 72
    assert swept.fitted(SIZES) == swept
    usual = fitted(FITTED.replace(", sample_size: 100", ""))
    assert Plan(usual).cells["images"].sample_size == 72, "the default is capped too"
    assert "sample_size" not in fitted(tiny.SPEC + "fit: true\n").base, "no arm draws a sample"
    many = fitted(FITTED + "grid: {latent_dim: [7, 100], sample_size: [10, 90, 95]}")
    assert many.grids == [{"latent_dim": [6], "sample_size": [10, 72]}]


def test_fitted_fits_the_smallest_of_several_datasets_and_few_images(study):
    text = FITTED + "grid: {latent_dim: [1, 2, 3, 4]}"
    assert fitted(text, SIZES | {"other": Size(Shape(1, 2))}).grids == [{"latent_dim": [1, 2]}]
    assert fitted(text, {"tiny": Size(train=4)}).grids == [{"latent_dim": [1, 2, 3]}]


def test_fitted_of_a_study_that_does_not_ask_for_it_is_the_study(study):
    assert study.fitted(SIZES) is study


def test_replicates_hash_of_ones_own_images_depends_on_their_content_alone(study):
    text = tiny.SPEC.replace("dataset: tiny", "dataset: NAME") + "data: {NAME: {path: PATH}}\n"

    def hashes(name, path, digest):
        own = spec.parse(text.replace("NAME", name).replace("PATH", path), "here")
        return [replicate.hash for replicate in Plan(own, {name: digest}).replicates]

    first = hashes("photos", "a.npz", "sha256:1")
    assert first == hashes("flowers", "elsewhere/b.npz", "sha256:1") != hashes("photos", "a.npz", "sha256:2")
    assert hashes("photos", "a.npz", "1") != hashes("flowers", "a.npz", "1"), "a plugin's name counts"
