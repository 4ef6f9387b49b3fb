"""TrialConfig: what it accepts, what it refuses and how, and that a replicate's hash means the same for ever."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from trainables import schema
from trainables.registry import ACTIVATIONS, DATASETS, MODELS
from trainables.schema import METRICS, Replicate, TrialConfig, applies, check_keys

DIGEST = "0123456789abcdef"
DEFAULTS = {
    "task": "train",
    "dataset": "mnist",
    "latent_dim": 5,
    "model": "autoencoder",
    "activation": "elu",
    "hidden_dims": (500, 500),
    "output": "sigmoid",
    "likelihood": "bernoulli",
    "init": "he",
    "learning_rate": 5e-4,
    "learning_rate_schedule": "constant",
    "batch_size": 100,
    "steps": 50_000,
    "evaluations": 50,
    "l2": 1e-5,
    "grad_clip": 5.0,
    "weight_dropout": 0.0,
    "input": "grey",
    "input_noise": 0.0,
    "precision": "fp32",
    "beta": 1.0,
    "kl_warmup_steps": 0,
    "posterior": "diagonal",
    "sample_size": 10_000,
    "digit": None,
}
"""Hashes leave defaults out, so these may change only with RESULTS_VERSION. New fields are added, never altered."""
TRAINED = {
    "model", "activation", "hidden_dims", "output", "likelihood", "init", "learning_rate", "learning_rate_schedule",
    "batch_size", "steps", "evaluations", "l2", "grad_clip", "weight_dropout", "input", "input_noise", "precision",
}  # fmt: skip
VARIATIONAL = {"beta", "kl_warmup_steps", "posterior"}
SUBSAMPLE = {"sample_size", "digit"}


def replicate_hash(config: TrialConfig, *, cell: str = "cell", seed: int = 0, data: str = DIGEST) -> str:
    return Replicate(cell, config, seed, data).hash


def test_config_defaults_are_pinned() -> None:
    assert {name: field.get_default() for name, field in TrialConfig.model_fields.items()} == DEFAULTS


@pytest.mark.parametrize(
    ("given", "golden"),
    [
        ({}, "43fa09a6fd6b93a8"),
        ({"model": "vae", "latent_dim": 20, "beta": 0.5, "hidden_dims": (64, 32)}, "c5875561e6d3e64e"),
        ({"task": "pca", "latent_dim": 20}, "9c8c5ab563d2fae6"),
        ({"task": "intrinsic_dimension", "sample_size": 1000, "digit": 1}, "bb75ed00a8f5db15"),
    ],
)
def test_replicate_hash_of_a_known_config_is_golden(given: dict[str, Any], golden: str) -> None:
    assert schema.RESULTS_VERSION == 1, "a new version needs new golden hashes here"
    seed = 3 if given.get("model") == "vae" else 0
    assert replicate_hash(TrialConfig(**given), seed=seed) == golden


def test_replicate_hash_ignores_cell_name() -> None:
    assert replicate_hash(TrialConfig(), cell="a") == replicate_hash(TrialConfig(), cell="b")


def test_replicate_hash_covers_seed_data_config_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    base = replicate_hash(TrialConfig())
    others = {
        replicate_hash(TrialConfig(), seed=1),
        replicate_hash(TrialConfig(), data="fedcba9876543210"),
        replicate_hash(TrialConfig(latent_dim=6)),
    }
    monkeypatch.setattr(schema, "RESULTS_VERSION", schema.RESULTS_VERSION + 1)
    others.add(replicate_hash(TrialConfig()))
    assert base not in others
    assert len(others) == 4


@pytest.mark.parametrize("model", MODELS)
def test_replicate_hash_of_explicit_defaults_equals_that_of_none_given(model: str) -> None:
    fields = applies({"model": model})
    explicit = {name: value for name, value in DEFAULTS.items() if name in fields} | {"model": model}
    assert replicate_hash(TrialConfig(**explicit)) == replicate_hash(TrialConfig(model=model))


def test_replicate_hash_of_equal_values_in_other_types_is_equal() -> None:
    listed = TrialConfig(hidden_dims=[64, 32], l2=0, grad_clip=1)  # type: ignore[arg-type]  # as YAML gives them
    assert replicate_hash(listed) == replicate_hash(TrialConfig(hidden_dims=(64, 32), l2=0.0, grad_clip=1.0))


def test_identity_holds_what_differs_from_the_defaults_only() -> None:
    assert TrialConfig().identity() == {}
    assert TrialConfig(model="vae", beta=2).identity() == {"model": "vae", "beta": 2.0}
    assert TrialConfig(task="pca").identity() == {"task": "pca"}


def test_identity_of_every_changed_field_names_it() -> None:
    changed = {"latent_dim": 6, "hidden_dims": (500,), "l2": 0.0, "output": "clipped", "init": "xavier"}
    for name, value in changed.items():
        assert set(TrialConfig(**{name: value}).identity()) == {name}  # type: ignore[arg-type]


def test_config_is_frozen() -> None:
    config = TrialConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.latent_dim = 6  # type: ignore[misc]


def test_config_round_trips_through_its_dump() -> None:
    for config in (TrialConfig(), TrialConfig(model="vae", posterior="spherical"), TrialConfig(task="pca")):
        assert TrialConfig(**config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("latent_dim", 0, "greater than or equal to 1"),
        ("latent_dim", 2.5, "valid integer"),
        ("latent_dim", "many", "valid integer"),
        ("learning_rate", 0, "greater than 0"),
        ("learning_rate", -1e-3, "greater than 0"),
        ("learning_rate", float("nan"), "finite number"),
        ("learning_rate", float("inf"), "finite number"),
        ("batch_size", 0, "greater than or equal to 1"),
        ("steps", 0, "greater than or equal to 1"),
        ("evaluations", 0, "greater than or equal to 1"),
        ("l2", -1e-5, "greater than or equal to 0"),
        ("grad_clip", -1, "greater than or equal to 0"),
        ("weight_dropout", -0.1, "greater than or equal to 0"),
        ("weight_dropout", 1, "less than 1"),
        ("learning_rate_schedule", "linear", "'constant' or 'cosine'"),
        ("input", "binary", "'grey' or 'binarised'"),
        ("input_noise", -0.1, "greater than or equal to 0"),
        ("precision", "fp16", "'fp32', 'tf32' or 'bf16'"),
        ("hidden_dims", (500, 0), r"`1 <= hidden_dims <= 100000` must hold, but got hidden_dims=\(500, 0\)"),
        ("hidden_dims", 500, "valid tuple"),
        ("output", "softmax", "'sigmoid', 'clipped' or 'identity'"),
        ("likelihood", "poisson", "'bernoulli', 'gaussian' or 'continuous_bernoulli'"),
        ("init", "zeros", "'he', 'default' or 'xavier'"),
        ("task", "trian", "'train', 'pca' or 'intrinsic_dimension'"),
        ("dataset", "minst", "`dataset` must be one of .* but got 'minst'. Did you mean 'mnist'?"),
        ("activation", "relo", "`activation` must be one of .* but got 'relo'. Did you mean 'relu'?"),
        ("model", "autoencodr", "`model` must be one of .* but got 'autoencodr'. Did you mean 'autoencoder'?"),
        ("model", ["vae"], "valid string"),
        ("dataset", ["mnist"], "valid string"),
    ],
)
def test_config_bad_value_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrialConfig(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("beta", -0.1, "greater than or equal to 0"),
        ("kl_warmup_steps", -1, "greater than or equal to 0"),
        ("posterior", "full", "'diagonal' or 'spherical'"),
    ],
)
def test_config_bad_value_of_a_vae_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrialConfig(model="vae", **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sample_size", 0, "greater than or equal to 1"),
        ("digit", -1, "greater than or equal to 0"),
        ("digit", 10, "less than or equal to 9"),
    ],
)
def test_config_bad_value_of_a_subsample_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrialConfig(task="intrinsic_dimension", **{field: value})  # type: ignore[arg-type]


def test_config_validation_names_every_field_somewhere() -> None:
    """A field added without a known-bad value above fails here."""
    checked: set[str] = set()
    for test in (
        test_config_bad_value_is_refused,
        test_config_bad_value_of_a_vae_is_refused,
        test_config_bad_value_of_a_subsample_is_refused,
    ):
        checked |= {case[0] for case in test.pytestmark[0].args[1]}  # type: ignore[attr-defined]
    assert checked == set(TrialConfig.model_fields)


@pytest.mark.parametrize(("key", "nearest"), [("latnt_dim", "latent_dim"), ("lerning_rate", "learning_rate")])
def test_config_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(ValidationError, match=f"but got '{key}'. Did you mean '{nearest}'?"):
        TrialConfig(**{key: 1})  # type: ignore[arg-type]


def test_config_misspelt_model_with_its_own_field_names_the_model() -> None:
    with pytest.raises(
        ValidationError, match=r"`model` must be one of autoencoder, vae.*, but got 'vea'\. Did you mean 'vae'"
    ):
        TrialConfig(model="vea", beta=2)


def test_config_misspelt_task_with_fields_names_the_task() -> None:
    with pytest.raises(ValidationError, match="'train', 'pca' or 'intrinsic_dimension'"):
        TrialConfig(task="trian", activation="relu")  # type: ignore[arg-type]


@pytest.mark.parametrize("field", sorted(VARIATIONAL))
def test_config_autoencoder_field_of_a_vae_does_not_apply(field: str) -> None:
    with pytest.raises(ValidationError, match=f"`{field}` does not apply to model='autoencoder', but got {field}="):
        TrialConfig(**{field: DEFAULTS[field]})  # type: ignore[arg-type]


@pytest.mark.parametrize("field", sorted(TRAINED | VARIATIONAL))
def test_config_pca_field_of_training_does_not_apply(field: str) -> None:
    with pytest.raises(ValidationError, match=f"`{field}` does not apply to task='pca'"):
        TrialConfig(task="pca", **{field: DEFAULTS[field]})  # type: ignore[arg-type]


@pytest.mark.parametrize("field", sorted(SUBSAMPLE - {"digit"}))
@pytest.mark.parametrize("task", ["train", "pca"])
def test_config_field_of_a_subsample_does_not_apply(task: Any, field: str) -> None:
    with pytest.raises(ValidationError, match=f"`{field}` does not apply to"):
        TrialConfig(task=task, **{field: DEFAULTS[field]})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "absent"),
    [
        (TrialConfig(), VARIATIONAL | SUBSAMPLE),
        (TrialConfig(model="vae"), SUBSAMPLE),
        (TrialConfig(task="pca"), TRAINED | VARIATIONAL | SUBSAMPLE),
        (TrialConfig(task="intrinsic_dimension", digit=3), TRAINED | VARIATIONAL | {"latent_dim"}),
    ],
)
def test_config_fields_that_do_not_apply_are_none(config: TrialConfig, absent: set[str]) -> None:
    assert {name for name, value in config.model_dump().items() if value is None} == absent


def test_config_explicit_none_means_left_out() -> None:
    assert TrialConfig(latent_dim=None, beta=None) == TrialConfig()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("likelihood", "output", "accepted"),
    [
        ("bernoulli", "sigmoid", True),
        ("bernoulli", "clipped", True),
        ("bernoulli", "identity", False),
        ("gaussian", "sigmoid", True),
        ("gaussian", "identity", True),
        ("gaussian", "clipped", False),
        ("continuous_bernoulli", "sigmoid", True),
        ("continuous_bernoulli", "clipped", False),
        ("continuous_bernoulli", "identity", False),
    ],
)
def test_config_output_head_must_fit_the_likelihood(likelihood: Any, output: Any, accepted: bool) -> None:
    if accepted:
        assert TrialConfig(likelihood=likelihood, output=output).output == output
    else:
        with pytest.raises(ValidationError, match=f"under the {likelihood} likelihood, but got '{output}'"):
            TrialConfig(likelihood=likelihood, output=output)


@pytest.mark.parametrize("likelihood", ["gaussian", "continuous_bernoulli"])
def test_config_likelihood_of_grey_images_refuses_binarised_ones(likelihood: Any) -> None:
    assert TrialConfig(input="binarised").likelihood == "bernoulli"
    with pytest.raises(ValidationError, match=f"`input` must be grey under the {likelihood} likelihood, but got 'bin"):
        TrialConfig(input="binarised", likelihood=likelihood)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("model", MODELS)
def test_config_every_registered_name_is_accepted(model: str, activation: str) -> None:
    config = TrialConfig(model=model, activation=activation)
    assert config.variational == MODELS[model].variational


@pytest.mark.parametrize("dataset", DATASETS)
def test_config_every_registered_dataset_is_accepted(dataset: str) -> None:
    assert TrialConfig(dataset=dataset).dataset == dataset


def test_config_pca_is_not_variational_and_has_no_seed() -> None:
    assert not TrialConfig(task="pca").variational
    assert not TrialConfig(task="pca").seeded
    assert TrialConfig().seeded and TrialConfig(task="intrinsic_dimension").seeded


def test_check_keys_known_ones_pass_and_an_unknown_one_raises() -> None:
    check_keys({"seeds": 1}, ["seeds", "base"], what="key")
    with pytest.raises(ValueError, match=r"`key` must be one of seeds, base, but got 'seed'. Did you mean 'seeds'?"):
        check_keys({"seed": 1}, ["seeds", "base"], what="key")


def test_metrics_have_units_modes_and_both_splits() -> None:
    assert {metric.mode for metric in METRICS.values()} <= {"min", "max", None}
    assert all(metric.unit and metric.description for metric in METRICS.values())
    val = {name.removeprefix("val_") for name in METRICS if name.startswith("val_")}
    test = {name.removeprefix("test_") for name in METRICS if name.startswith("test_")}
    assert val == test
    assert set(METRICS) == {"loss", "train_nll"} | {f"{s}_{name}" for s in ("val", "test") for name in val}
