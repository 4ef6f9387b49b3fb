"""Specs: what loads, what is refused, and that the refusal is one readable line."""

import pytest

from study import spec
from study.plan import Plan
from study.spec import SpecError
from tests.support import tiny
from trainables.images.source import ImageSource
from trainables.registry import DATASETS


@pytest.fixture(autouse=True)
def tiny_dataset(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")


def test_load_every_builtin_study_is_valid():
    assert {"paper", "quick", "plane"} <= set(spec.names())
    for name in spec.names():
        assert spec.load(name).name == name


def test_dump_is_read_back_as_the_same_spec():
    study = spec.load("paper")
    assert spec.parse(spec.dump(study), "again") == study


def test_load_unknown_study_names_the_nearest():
    with pytest.raises(SpecError, match="Did you mean 'paper'"):
        spec.load("papper")


def test_load_absent_file_says_so(tmp_path):
    with pytest.raises(SpecError, match="cannot be read"):
        spec.load(str(tmp_path / "absent.yaml"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sedes: 3", "Did you mean 'seeds'"),
        ("seeds: 0", "seeds.*greater than or equal to 1, but got 0"),
        ("name: ../evil", "`name` must match"),
        ("grid: {latent_dims: [1]}", "Did you mean 'latent_dim'"),
        ("grid: {latent_dim: []}", "at least one value"),
        ("arms: {}", "arms"),
    ],
)
def test_parse_bad_key_or_value_gives_one_line(change, message):
    key = change.partition(":")[0]
    kept = "\n".join(line for line in tiny.SPEC.splitlines() if not line.startswith(f"{key}:"))
    if key == "arms":
        kept = kept.partition("  linear")[0]
    with pytest.raises(SpecError, match=message) as error:
        spec.parse(f"{kept}\n{change}\n", "here")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "- 1", "3", "a: [", "!!python/object/apply:os.system ['true']", "a: *b", "\0"])
def test_parse_no_spec_at_all_gives_one_line(text):
    with pytest.raises(SpecError, match="here") as error:
        spec.parse(text, "here")
    assert "\n" not in str(error.value)


def test_resolve_names_the_cell_of_a_bad_field():
    study = spec.parse(tiny.SPEC.replace("activation: linear", "activation: rleu"), "here")
    with pytest.raises(SpecError, match=r"arm 'linear'.*Did you mean 'relu'"):
        spec.resolve(study, "linear", {})


def test_resolve_drops_a_shared_field_that_does_not_apply():
    study = spec.parse(tiny.SPEC + "grid: {beta: [0.5, 2.0]}", "here")
    assert spec.resolve(study, "vae", {"beta": 2.0}).beta == 2.0
    assert spec.resolve(study, "linear", {"beta": 2.0}).beta is None
    assert spec.resolve(study, "pca", {"beta": 2.0}).steps is None


def test_resolve_refuses_an_own_field_that_does_not_apply():
    study = spec.parse(tiny.SPEC.replace("activation: linear", "activation: linear, beta: 2.0"), "here")
    with pytest.raises(SpecError, match="`beta` does not apply to model='autoencoder'"):
        spec.resolve(study, "linear", {})


def test_with_changes_holds_for_every_arm_grid_point_and_trial():
    study = spec.parse(tiny.SPEC + "grid: {steps: [10, 20], latent_dim: [2, 3]}", "here").with_changes(
        steps=30, seeds=4
    )
    assert study.seeds == 4
    assert {config.steps for config in Plan(study).cells.values()} == {30, None}
    search = spec.load("vae").with_changes(dataset="fashion_mnist", trials=7).search
    assert search is not None and search.trials == 7


@pytest.mark.parametrize(
    ("allowed", "native", "chosen", "reason"),
    [
        ("true", True, "bf16", "this processor has it, and the spec allows it"),
        ("true", False, "fp32", "this processor has no bf16"),
        ("false", True, "fp32", "does not say `allow_bf16: true`"),
    ],
)
def test_automatic_precision_needs_the_spec_and_the_processor(monkeypatch, allowed, native, chosen, reason):
    monkeypatch.setattr(spec, "has_native_bf16", lambda: native)
    study = spec.parse(tiny.SPEC + f"allow_bf16: {allowed}", "here")
    assert study.automatic_precision[0] == chosen and reason in study.automatic_precision[1]
    changed = Plan(study.with_changes(precision="auto")).cells.values()
    assert {config.precision for config in changed if config.task == "train"} == {chosen}


def test_precision_of_the_command_line_needs_no_word_of_the_spec_and_claims_have_none():
    study = spec.load("paper")
    assert not study.allow_bf16
    assert {config.precision for config in Plan(study.with_changes(precision="bf16")).cells.values()} == {"bf16", None}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("quick", {"seeds": 2000}, r"study quick: `seeds`: .*less than or equal to 1000, but got 2000\.$"),
        ("quick", {"seeds": 0}, "`seeds`: .*but got 0"),
        ("vae", {"trials": 100_001}, r"`search\.trials`: .*but got 100001"),
        ("quick", {"trials": 3}, "`--trials` is for a study with a search"),
    ],
)
def test_with_changes_beyond_a_rule_of_specs_is_refused_as_in_a_spec(name, change, message):
    with pytest.raises(SpecError, match=message):
        spec.load(name).with_changes(**change)


OWN = tiny.SPEC.replace("dataset: tiny", "dataset: PATH")


def own(path, more=""):
    return spec.parse(OWN.replace("PATH", path) + more, "here")


def test_parse_path_of_images_becomes_a_name_and_the_path_goes_under_data():
    study = own("data/flowers.npz")
    assert study.base["dataset"] == "flowers" and study.data == {"flowers": ImageSource(path="data/flowers.npz")}
    assert spec.parse(spec.dump(study), "again") == study
    assert {config.dataset for config in Plan(study).cells.values()} == {"flowers"}


def test_parse_path_in_an_arm_a_grid_and_a_search_becomes_a_name_too():
    study = spec.parse(
        tiny.SEARCH.replace("paper: {model: vae}", "paper: {dataset: a/b.npy}").replace(
            "model: vae, learning", "dataset: [tiny, c.csv], model: vae, learning"
        )
        + "grid: [{dataset: [tiny, photos/]}, {dataset: d.parquet}]\n",
        "here",
    )
    assert set(study.data) == {"b", "c", "photos", "d"} and study.arms["paper"] == {"dataset": "b"}
    assert study.grids == [{"dataset": ["tiny", "photos"]}, {"dataset": "d"}]
    assert study.search.space["dataset"] == ["tiny", "c"]


def test_parse_path_named_as_a_dataset_of_ours_gets_another_name():
    assert own("mnist.npz").base["dataset"] == "mnist-images"


def test_parse_name_that_is_no_path_stays_unless_a_folder_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=r"Did you mean 'mnist'.* by the path of their file or folder"):
        Plan(own("mnits")).check()
    for name in ("mnits", "mnist"):
        (tmp_path / name).mkdir()
    assert own("mnits").data == {"mnits": ImageSource(path="mnits")} and not own("mnist").data


def test_parse_path_at_home_is_kept_without_the_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert own("/home/me/a.npz").data["a"].path == "~/a.npz"


@pytest.mark.parametrize(
    ("path", "more", "message"),
    [
        ("tiny", "data: {mnist: {path: a.npz}}", "`data` must give images a new name.* but got 'mnist'"),
        ("tiny", "data: {a b: {path: a.npz}}", "but got 'a b'"),
        ("tiny", "data: [a]", "`data`: input should be a valid dictionary"),
        ("tiny", "data: {a: a.npz}", "`data.a`"),
        ("tiny", "data: {a: {path: a.npz, sizes: 3}}", "`data.a.sizes`"),
        ("a/x.npz", "grid: {dataset: [b/x.npz]}", "`data` must have one 'x', but b/x.npz would be another"),
    ],
)
def test_parse_bad_data_gives_one_line(path, more, message):
    with pytest.raises(SpecError, match=message) as error:
        own(path, f"{more}\n")
    assert "\n" not in str(error.value)


def test_with_changes_to_a_path_replaces_the_data_and_takes_options():
    study = own("a.npz").with_changes(dataset="b.npz", reading={"size": 8, "grey": True})
    assert study.data == {"b": ImageSource(path="b.npz", size=8, grey=True)} and study.base["dataset"] == "b"
    assert study.with_changes(dataset="tiny").data == {}
    assert study.with_changes(steps=3).data == study.data
    with pytest.raises(SpecError, match="`white` is for images by their path"):
        study.with_changes(dataset="tiny", reading={"white": 3})
