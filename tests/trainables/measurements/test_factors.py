"""The factors of strokes are read off codes that are these factors, and not off codes that know nothing of them."""

import numpy as np
import pytest
import torch

from tests.support.networks import random, untrained
from trainables import controls
from trainables.measurements import factors

SIZES = {"train": 700, "test": 300}
K = 2


@pytest.fixture
def read(monkeypatch, small):
    """Measures a network of these codes by split, on ten classes of strokes with two factors."""
    known = {split: np.random.default_rng(n).uniform(-1, 1, (n, K)) for split, n in SIZES.items()}
    monkeypatch.setattr(factors, "stroke_factors", lambda name: known if name == "strokes-2" else None)

    def measure(codes_of, dataset="strokes-2"):
        images = {split: torch.zeros(n, 784, dtype=torch.uint8) for split, n in SIZES.items()}
        labels = {split: torch.arange(n) % 10 for split, n in SIZES.items()}
        network = untrained(small(dataset=dataset, latent_dim=K), (images, labels))
        codes = {n: codes_of(torch.tensor(known[split]), labels[split]) for split, n in SIZES.items()}
        monkeypatch.setattr(factors.Subject, "codes", lambda _, shown: codes[len(shown)])
        monkeypatch.setattr(factors.Subject, "is_finite", lambda _: True)
        return factors.measure_factors(network).profiles

    return measure


def test_factors_of_codes_that_are_the_factors_in_another_basis_are_explained_whole(read):
    mixed = torch.tensor([[2.0, 1.0], [0.5, -1.0]], dtype=torch.float64)
    assert read(lambda known, _: known @ mixed + 7)["factor_r2"] == pytest.approx([1, 1], abs=1e-4)


def test_factors_of_codes_that_differ_by_class_are_explained_within_each(read):
    assert read(lambda known, label: known * (1 + label[:, None]) + 5 * label[:, None])["factor_r2"] == pytest.approx(
        [1, 1], abs=1e-4
    )


def test_factors_of_bent_codes_need_the_quadratic_regression(read):
    """The first factor is z1 + z2^2, which is not linear in the codes."""
    linear, quadratic = read(lambda known, _: torch.stack([known[:, 0] - known[:, 1] ** 2, known[:, 1]], 1))[
        "factor_r2"
    ]
    assert quadratic == pytest.approx(1, abs=1e-4) and linear < 0.95


@pytest.mark.parametrize("codes", [lambda known, _: random(*known.shape).double(), lambda known, _: 0 * known])
def test_factors_of_codes_that_know_nothing_are_not_explained(read, codes):
    assert max(read(codes)["factor_r2"]) < 0.05


def test_factors_of_other_data_are_not_measured(read):
    assert read(lambda known, _: known, dataset="mnist") == {}


def test_stroke_factors_are_those_that_drew_the_images(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(controls, "NUM_TRAIN_FILE", 5_100)
    monkeypatch.setattr(controls, "NUM_TEST_FILE", 100)
    from trainables import datasets, strokes

    loaded, known = datasets.load("strokes-4"), controls.stroke_factors("strokes-4")
    assert known is not None and {split: len(values) for split, values in known.items()} == {
        split: len(images) for split, images in loaded.images.items()
    }
    for split in ("train", "test"):
        images = np.rint(255 * strokes.render(loaded.labels[split], known[split])).astype(np.uint8)
        assert np.array_equal(images.reshape(len(images), -1), loaded.images[split])
    assert [controls.stroke_factors(name) for name in ("mnist", "mnist-pca-8", "no such")] == [None] * 3
