"""A trial from start to end: every field reaches it, a seed decides it, and an interruption does not."""

import dataclasses
import logging
from typing import Any, cast

import pytest
import torch

from tests.support.networks import tensors, untrained
from trainables import checkpoint, metrics, recorder, trial
from trainables.measurements.subject import Measured, Subject
from trainables.models import restore
from trainables.pack import Pack
from trainables.registry import MEASUREMENTS
from trainables.schema import METRICS, Replicate, TrialConfig
from trainables.storage import Folder

SUBSAMPLE = {"task": "intrinsic_dimension", "sample_size": 120}
ALTERNATIVES = {
    "task": ({}, "pca"),
    "dataset": ({}, "strokes-2"),
    "latent_dim": ({}, 4),
    "model": ({}, "vae"),
    "activation": ({}, "relu"),
    "hidden_dims": ({}, (8,)),
    "output": ({}, "clipped"),
    "likelihood": ({}, "gaussian"),
    "init": ({}, "xavier"),
    "learning_rate": ({}, 1e-3),
    "learning_rate_schedule": ({}, "cosine"),
    "batch_size": ({}, 30),
    "steps": ({}, 15),
    "evaluations": ({}, 4),
    "l2": ({}, 1.0),
    "grad_clip": ({}, 1e-3),
    "weight_dropout": ({}, 0.5),
    "input": ({}, "binarised"),
    "input_noise": ({}, 0.5),
    "precision": ({}, "bf16"),
    "beta": ({"model": "vae"}, 4.0),
    "kl_warmup_steps": ({"model": "vae"}, 10),
    "posterior": ({"model": "vae"}, "spherical"),
    "sample_size": (SUBSAMPLE, 150),
    "digit": (SUBSAMPLE, 3),
}
NO_ROWS = ("sample_size", "digit")
"""Fields of a task that gives profiles and no metrics; their test is below."""


def run(folder, config, data, seed=0, **options):
    replicate = Replicate("cell", config, seed, data.digest)
    for _ in trial.run([replicate], data, Folder(str(folder)).create(), **options):
        pass
    return rows(folder, replicate)


def rows(folder, replicate):
    record = checkpoint.standing(Folder(str(folder)).child(replicate.hash)).record
    return [{key: row[key] for key in ("step", *METRICS)} for row in record.rows]


def measured(row):
    return {key: value for key, value in row.items() if value is not None}


def test_alternatives_cover_every_field():
    assert set(ALTERNATIVES) == set(TrialConfig.model_fields)


@pytest.mark.parametrize("field", [f for f in ALTERNATIVES if f not in {"task", "dataset", *NO_ROWS}])
def test_field_when_changed_changes_the_rows(tmp_path, tiny, small, field):
    context, other = ALTERNATIVES[field]
    base = small(**context)
    assert getattr(base, field) != other
    assert run(tmp_path, base, tiny) != run(tmp_path, small(**(context | {field: other})), tiny)


def test_field_task_changes_what_is_run(tmp_path, tiny, small):
    assert run(tmp_path, TrialConfig(task="pca", latent_dim=3), tiny) != run(tmp_path, small(), tiny)


def test_field_dataset_changes_the_images(monkeypatch, tmp_path):
    from trainables import controls, datasets

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(controls, "NUM_TRAIN_FILE", datasets.NUM_VAL + 100)  # each draws as many, and the test images
    assert datasets.load("strokes-2").digest != datasets.load("strokes").digest


@pytest.mark.parametrize("model", ["autoencoder", "vae"])
def test_run_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path, tiny, small, model):
    first = run(tmp_path / "a", small(model=model), tiny)
    assert first == run(tmp_path / "b", small(model=model), tiny)
    assert first != run(tmp_path / "c", small(model=model), tiny, seed=1)


@pytest.mark.parametrize("damage", [False, True])
@pytest.mark.parametrize("fields", [{}, {"model": "vae"}, {"weight_dropout": 0.2}, {"input": "binarised"}])
def test_run_resumed_gives_the_rows_of_an_uninterrupted_run(tmp_path, tiny, small, monkeypatch, caplog, fields, damage):
    config = small(**fields)
    whole = run(tmp_path / "whole", config, tiny)
    monkeypatch.setattr(trial, "REPORT_EVERY_S", 0)
    replicate, folder = Replicate("cell", config, 0, tiny.digest), tmp_path / "cut"
    running = trial.run([replicate], tiny, Folder(str(folder)).create(), checkpoint_every_s=0)
    for _ in range(9):
        next(running)
    running.close()
    newest = max((folder / replicate.hash).glob("*.safetensors"), key=lambda path: path.stem[-9:])
    if damage:
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes(bytes(content))
    with caplog.at_level(logging.WARNING):
        assert run(folder, config, tiny) == whole
    assert (newest.name in caplog.text) == damage


def test_run_on_binarised_images_is_evaluated_on_the_draws_that_a_measurement_gets(tmp_path, tiny, small):
    config, (images, labels) = small(input="binarised", model="vae"), tensors(tiny)
    last = run(tmp_path, config, tiny, seed=1)[-1]
    folder = Folder(str(tmp_path)).child(Replicate("cell", config, 1, tiny.digest).hash)
    weights = checkpoint.read_weights(folder, checkpoint.result(folder))
    subject = Subject(restore(config, weights), config, 1, images, labels)
    for split in ("val", "test"):
        noise = metrics.evaluation_noise(config, 1, split, images[split])
        values = metrics.evaluate(subject.model, images[split], config, noise, subject.shown(split)).values
        assert {name: last[f"{split}_{name}"] for name in values} == values


def test_run_of_a_pack_too_large_for_the_memory_is_split_and_gives_the_same_numbers(tmp_path, tiny, small, monkeypatch):
    replicates = [Replicate("cell", small(), seed, tiny.digest) for seed in range(5)]
    step = Pack.step

    def with_memory_for_two(pack):
        if len(pack.members) > 2 and pack.steps_done == 7:
            raise torch.OutOfMemoryError("for five")
        step(pack)

    monkeypatch.setattr(Pack, "step", with_memory_for_two)
    for _ in trial.run(replicates, tiny, Folder(str(tmp_path)).create()):
        pass
    for replicate in replicates:
        alone = run(tmp_path / "alone", replicate.config, tiny, replicate.seed)
        for mine, other in zip(rows(tmp_path, replicate), alone, strict=True):
            assert measured(mine) == pytest.approx(measured(other), rel=1e-5)


def test_run_of_one_member_too_large_for_the_memory_raises(tmp_path, tiny, small, monkeypatch):
    def without_memory(pack):
        raise torch.OutOfMemoryError("for one")

    monkeypatch.setattr(Pack, "step", without_memory)
    with pytest.raises(torch.OutOfMemoryError, match="for one"):
        run(tmp_path, small(), tiny)


def test_run_that_diverges_ends_with_its_reason_and_null_not_nan(tmp_path, tiny, small):
    config = small(learning_rate=1e30, grad_clip=0.0, activation="linear")
    replicate = Replicate("cell", config, 0, tiny.digest)
    for _ in trial.run([replicate], tiny, Folder(str(tmp_path))):
        pass
    outcome = checkpoint.standing(Folder(str(tmp_path)).child(replicate.hash))
    assert outcome.status == "diverged" and "not finite at step" in outcome.error
    assert all(value == value for row in outcome.record.rows for value in row.values())


def test_run_of_a_dead_network_is_marked_as_collapsed(tmp_path, tiny, small):
    config = small(learning_rate=1e-12, init="default", activation="sigmoid", hidden_dims=(1,), latent_dim=1)
    replicate = Replicate("cell", config, 0, tiny.digest)
    for _ in trial.run([replicate], tiny, Folder(str(tmp_path))):
        pass
    assert checkpoint.standing(Folder(str(tmp_path)).child(replicate.hash)).record.rows[-1]["collapsed"]


def test_run_on_a_test_set_of_no_whole_number_of_blocks_leaves_the_rest_out(tmp_path, tiny, small):
    images, labels = (whole | {"test": whole["test"][:250]} for whole in (tiny.images, tiny.labels))
    blocks = []
    for data in (tiny, dataclasses.replace(tiny, images=images, labels=labels, digest="less")):
        run(tmp_path, small(), data)
        record = checkpoint.standing(
            Folder(str(tmp_path)).child(Replicate("cell", small(), 0, data.digest).hash)
        ).record
        blocks.append(next(values for _, name, values in record.profiles if name == "test_nll_by_block"))
    assert [len(values) for values in blocks] == [3, 2] and blocks[1] == blocks[0][:2]


def test_evaluation_steps_of_the_paper():
    steps = TrialConfig().evaluation_steps
    assert steps[:10] == [0, 1, 2, 5, 10, 20, 50, 100, 200, 500]
    assert steps[10:] == [*range(1000, 50_001, 1000)]
    assert TrialConfig().image_steps == [10_000, 30_000, 50_000]


def test_evaluation_steps_of_one_step():
    assert TrialConfig(steps=1).evaluation_steps == [0, 1]


@pytest.mark.parametrize(
    "result",
    [
        None,
        {"spread": [1.0]},
        *(
            Measured(cast(Any, profiles))
            for profiles in (
                {"spread": 1.0},
                {"spread": torch.ones(2)},
                {"spread": ["a"]},
                {5: [1.0]},
                {"spread": [[1.0]]},
            )
        ),
    ],
    ids=["nothing", "a mapping", "a number", "a tensor", "words", "a number for a name", "lists"],
)
def test_measure_of_a_plugin_that_returns_no_numbers_names_it_and_the_rule(tiny, small, monkeypatch, result):
    monkeypatch.setitem(MEASUREMENTS, "mine", "tests.trainables.test_trial:mine")
    monkeypatch.setitem(globals(), "mine", lambda subject: result)
    with pytest.raises(ValueError, match=r"`mine` must return a Measured, of lists of numbers by name .* but got"):
        recorder.measure(untrained(small(), tensors(tiny)), "mine", Replicate("cell", small(), 0, tiny.digest), {})


def test_measure_of_a_plugin_takes_numbers_and_makes_nan_null(tiny, small, monkeypatch):
    monkeypatch.setitem(MEASUREMENTS, "mine", "tests.trainables.test_trial:mine")
    monkeypatch.setitem(globals(), "mine", lambda subject: Measured({"spread": [1, 2.5, None, float("nan")]}))
    replicate = Replicate("cell", small(), 0, tiny.digest)
    record, _ = recorder.measure(untrained(small(), tensors(tiny)), "mine", replicate, {})
    assert record.profiles[0].values == [1, 2.5, None, None]


@pytest.mark.parametrize(
    ("result", "taken"),
    [
        (Measured({"test_nll_floor": [1.0]}), "'test_nll_floor' is recorded by `evaluation`"),
        (Measured({"spread": [1.0], "bound_s": [1.0]}), "'bound_s' is recorded by `bound`"),
        (Measured({}, [("reconstruction", 0, None, None, torch.zeros(64))]), "'reconstruction' is recorded by"),
    ],
    ids=["profile", "duration", "image"],
)
def test_measure_of_a_plugin_that_takes_a_name_of_ours_is_refused(tiny, small, monkeypatch, result, taken):
    monkeypatch.setitem(MEASUREMENTS, "mine", "tests.trainables.test_trial:mine")
    monkeypatch.setitem(globals(), "mine", lambda subject: result)
    with pytest.raises(ValueError, match=f"`mine` must use names of its own, but {taken}"):
        recorder.measure(untrained(small(), tensors(tiny)), "mine", Replicate("cell", small(), 0, tiny.digest), {})
