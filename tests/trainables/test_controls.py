"""Controls: each has exactly the dimension that its name says, lies in [0, 1], and is drawn once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from trainables import controls, datasets, strokes
from trainables.controls import DECODER, LATENTS, ONE_DIGIT, decoder_source, pca_source, with_tail
from trainables.datasets import Dataset
from trainables.errors import DataError
from trainables.registry import DATASETS
from trainables.shape import Shape

OTHERS = ("-16px", "-64px", "-colour")
NAMES = [name for name in DATASETS if name.startswith(("strokes", "mnist-")) and not name.endswith(OTHERS)]
ONE = {f"strokes-{factors}-one": factors for factors in (2, 4, 8, 16, 32)}
NUM_TRAIN, NUM_TEST = 5_100, 100


def singular_values(decode: Callable[[np.ndarray], np.ndarray], codes: np.ndarray, *, step: float) -> np.ndarray:
    """Of the Jacobian d image / d code by central differences: `(n, k)`, falling."""
    n, k = codes.shape
    shifted = codes[:, None, None] + step * np.stack([np.eye(k), -np.eye(k)])  # (n, 2, k, k)
    plus, minus = decode(shifted.reshape(-1, k)).reshape(n, 2, k, -1).astype(np.float64).swapaxes(0, 1)
    return np.linalg.svd((plus - minus) / (2 * step), compute_uv=False)


def rank(singular: np.ndarray) -> float:
    """The median number of singular values above 1 % of the largest."""
    return float(np.median((singular > 0.01 * singular[:, :1]).sum(axis=1)))


def one_digit(factors: np.ndarray) -> np.ndarray:
    return strokes.render(np.full(len(factors), ONE_DIGIT), factors)


@pytest.fixture
def few(monkeypatch, tmp_path):
    """An empty cache, and 5,200 images a dataset in place of 70,000."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(controls, "NUM_TRAIN_FILE", NUM_TRAIN)
    monkeypatch.setattr(controls, "NUM_TEST_FILE", NUM_TEST)
    return tmp_path


def test_load_strokes_draws_ten_classes_once(few, monkeypatch):
    first = datasets.load("strokes-4")
    monkeypatch.setattr(strokes, "draw", lambda *_, **__: pytest.fail("drawn again"))
    again = datasets.load("strokes-4")
    assert first.digest == again.digest
    assert {part: images.shape for part, images in again.images.items()} == {
        "train": (100, 784), "val": (5_000, 784), "test": (100, 784),
    }  # fmt: skip
    assert set(again.labels["test"]) == set(range(10))


def test_load_strokes_that_another_processor_rounds_otherwise_have_the_digest_as_first_drawn(few, monkeypatch):
    first = datasets.load("strokes-4-one")
    total = sum(int(images.sum()) for images in first.images.values())
    monkeypatch.setitem(controls.DRAWN, "strokes-4-one", ("as first drawn", total))
    draw = controls._draw_strokes

    def load(changed: slice, by: int) -> Dataset:
        shutil.rmtree(few)

        def drawn(factors, classes):
            images, labels = draw(factors, classes)
            flat = images.reshape(-1)
            grey = np.flatnonzero((flat > 1) & (flat < 254))[changed]
            flat[grey] += np.uint8(by)
            return images, labels

        return controls._load("strokes-4-one", drawn, 4, [ONE_DIGIT])

    assert load(slice(0), 0).digest == load(slice(5), 1).digest == "as first drawn", "5 pixels by one grey level"
    assert load(slice(100), 1).digest not in ("as first drawn", first.digest), "another drawing"


def test_strokes_of_the_published_tables_have_the_digests_as_first_drawn():
    published = {}
    for name in ("controls", "intrinsic", "sizes"):
        provenance = Path(__file__).parents[2] / "results" / name / "provenance.json"
        published |= json.loads(provenance.read_text())["data_digests"]
    assert {name: digest for name, (digest, _) in controls.DRAWN.items()} == {
        name: digest for name, digest in published.items() if name.startswith("strokes")
    }


def test_load_strokes_on_this_machine_have_the_digest_as_first_drawn():
    name = "strokes-4-one-16px"
    assert datasets.load(name).digest == controls.DRAWN[name][0]


@pytest.mark.parametrize("name", ["strokes-2-one", "strokes-32-one"])
def test_load_strokes_of_one_class_are_that_digit_drawn_with_k_factors(few, name):
    loaded = datasets.load(name)
    drawn = strokes.draw(NUM_TRAIN + NUM_TEST, factors=ONE[name], classes=[ONE_DIGIT]).images.reshape(-1, 784)
    for part, images in {"val": drawn[:5_000], "train": drawn[5_000:NUM_TRAIN], "test": drawn[NUM_TRAIN:]}.items():
        np.testing.assert_array_equal(loaded.images[part], images)
        assert set(loaded.labels[part]) == {ONE_DIGIT}


@pytest.mark.parametrize("factors", ONE.values())
def test_one_digit_every_factor_moves_it_another_way(factors):
    codes = np.random.default_rng(factors).uniform(-1, 1, (5, factors))
    singular = singular_values(one_digit, codes, step=0.01)
    assert rank(singular) == factors
    assert (singular[:, -1] > 0.2 * singular[:, 0]).all(), "in every image, and by far"


def test_one_digit_of_a_factor_given_twice_is_of_rank_one_less():
    codes = np.random.default_rng(0).uniform(-1, 1, (5, 4))
    tie = np.eye(4)[[0, 1, 2, 2]]
    assert rank(singular_values(lambda code: one_digit(code @ tie / 2), codes, step=0.01)) == 3


def test_pca_source_lies_in_a_plane_of_k_dimensions_and_fills_the_greys(tiny):
    for components in (1, 32):
        codes, decode = pca_source(tiny, components)
        greys = decode(codes)
        assert greys.shape == (sum(map(len, tiny.images.values())), 784) and greys.min() == 0 and greys.max() == 1
        assert np.linalg.matrix_rank(greys[1:200] - greys[0], rtol=1e-9) == components


def test_pca_source_is_an_affine_map_of_what_pca_reconstructs(tiny):
    train, test = tiny.images["train"] / 255, tiny.images["test"] / 255
    pca = PCA(8, svd_solver="covariance_eigh").fit(train)
    wanted = pca.inverse_transform(pca.transform(test))
    codes, decode = pca_source(tiny, 8)
    found = decode(codes)[-len(test) :]
    slope, offset = np.polyfit(wanted.ravel(), found.ravel(), 1)
    np.testing.assert_allclose(found, slope * wanted + offset, atol=1e-3)
    assert 0.2 < slope < 1


def test_tail_is_what_lies_beyond_the_components_and_is_cut_to_the_greys(tiny):
    images = np.concatenate([tiny.images[part] for part in ("val", "train", "test")])
    blank = np.full((50, 784), 128, np.uint8)
    tailed = with_tail(blank, tiny, 8)
    train = tiny.images["train"] / 255
    pca = PCA(8, svd_solver="covariance_eigh").fit(train)
    wanted = images[:50] / 255 - pca.inverse_transform(pca.transform(images[:50] / 255))
    np.testing.assert_allclose(tailed / 255, np.clip(128 / 255 + wanted, 0, 1), atol=4e-3)
    assert tailed.dtype == np.uint8 and with_tail(blank, tiny, 1).std() > tailed.std() > 0, (
        "fewer components, more tail"
    )


def test_pca_source_of_more_components_than_pixels_raises(tiny):
    with pytest.raises(ValueError, match=r"`latent_dim <= 784` must hold for PCA"):
        pca_source(tiny, 785)


def test_decoder_source_has_jacobian_rank_eight_in_the_median_of_a_thousand_codes():
    codes, decode = decoder_source(1_000)
    singular = singular_values(decode, codes, step=1e-4)
    assert rank(singular) == LATENTS == 8
    assert np.quantile(singular[:, -1] / singular[:, 0], 0.01) > 0.01, "and nearly everywhere"


def test_decoder_source_with_two_latents_tied_has_jacobian_rank_seven():
    codes, decode = decoder_source(20)
    tie = np.eye(8)
    tie[7] = tie[6]
    tie[7, 7] = 0
    assert rank(singular_values(lambda code: decode(code @ tie), codes, step=1e-4)) == 7


def test_decoder_source_every_latent_is_used():
    codes, decode = decoder_source(300)
    for latent in range(LATENTS):
        ends = [np.where(np.arange(LATENTS) == latent, end, codes) for end in (-1.0, 1.0)]
        moved = np.square(decode(ends[1]) - decode(ends[0])).sum(axis=1)
        assert np.median(moved) > 5, f"latent {latent}; two digits of MNIST are 100 squared greys apart"


def test_decoder_source_draws_what_looks_like_mnist_in_its_ink():
    images = decoder_source(500).draw()
    assert images.dtype == np.uint8 and images.shape == (500, 784)
    assert 0.1 < images.mean() / 255 < 0.16  # MNIST: 0.13
    assert images.max() > 250 and (images == 0).mean() > 0.3
    assert DECODER.stat().st_size < 400_000


def test_load_mnist_decoder_draws_once_with_one_label_and_needs_no_torch(few):
    first = datasets.load("mnist-decoder-8")
    code = (
        "import sys; from trainables import controls, datasets;"
        f"controls.NUM_TRAIN_FILE, controls.NUM_TEST_FILE = {NUM_TRAIN}, {NUM_TEST};"
        "print(datasets.load('mnist-decoder-8').digest, 'torch' in sys.modules)"
    )
    [cached] = (few / "mnist-autoencoder-study" / "controls").glob("*.safetensors")
    drawn_at = cached.stat().st_mtime_ns
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [first.digest, "False"]
    assert cached.stat().st_mtime_ns == drawn_at
    assert {part: len(labels) for part, labels in first.labels.items()} == {"train": 100, "val": 5_000, "test": 100}
    assert not any(labels.any() for labels in first.labels.values())


@pytest.mark.parametrize(
    ("ending", "shape"), [("16px", Shape(16, 16)), ("64px", Shape(64, 64)), ("colour", Shape(28, 28, 3))]
)
def test_load_strokes_of_another_size_or_colour_are_the_same_digits(few, ending, shape):
    loaded, usual = datasets.load(f"strokes-8-one-{ending}"), datasets.load("strokes-8-one")
    assert loaded.shape == shape and loaded.size[1:] == usual.size[1:]
    images = loaded.images["test"].reshape(-1, *shape).astype(float)
    if ending == "colour":
        red, green, blue = np.moveaxis(images, 3, 0)
        np.testing.assert_array_equal(red, usual.images["test"].reshape(-1, 28, 28))
        assert np.abs(green - 0.6 * red).max() <= 0.5 and np.abs(blue - 0.2 * red).max() <= 0.5
        return
    ink = usual.images["test"].sum(1) / usual.images["test"].sum()
    assert np.corrcoef(images.sum((1, 2, 3)), ink)[0, 1] > 0.9, "the same factors"


@pytest.mark.parametrize(("wrong", "near"), [("strokes-8one", "strokes-8-one"), ("mnist-pca8", "mnist-pca-8")])
def test_load_control_of_a_wrong_name_names_the_nearest(wrong, near):
    with pytest.raises(DataError, match=f"got '{wrong}'. Did you mean '{near}'"):
        datasets.load(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_load_control_whole_is_split_like_mnist_and_drawn_alike_twice(monkeypatch, tmp_path, mnist, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    loaded = datasets.load(name)
    assert {part: images.shape for part, images in loaded.images.items()} == {
        "train": (55_000, 784), "val": (5_000, 784), "test": (10_000, 784),
    }  # fmt: skip
    assert loaded.digest == datasets.load(name).digest, "from the cache"
    shutil.rmtree(tmp_path / "mnist-autoencoder-study")
    assert loaded.digest == datasets.load(name).digest, "drawn again"
    shutil.rmtree(tmp_path / "mnist-autoencoder-study")  # 55 MB each
    assert loaded.name == name
    if name.startswith("mnist-pca"):
        assert all(np.array_equal(loaded.labels[part], mnist.labels[part]) for part in datasets.SPLITS)
        greys = np.concatenate(list(loaded.images.values()))
        assert greys.min() == 0 and greys.max() == 255


def test_controls_version_is_raised_where_the_drawn_images_change():
    drawn = {
        "strokes-4": strokes.draw(300, factors=4, seed=0).images,
        "strokes-8-one": strokes.draw(300, factors=8, seed=0, classes=[ONE_DIGIT]).images,
        "mnist-decoder-8": decoder_source(300).draw(),
    }
    means = {"strokes-4": 34.913767, "strokes-8-one": 36.700659, "mnist-decoder-8": 32.254311}
    assert {name: images.mean() for name, images in drawn.items()} == pytest.approx(means, abs=1e-3), (
        "caches hold the former images: raise CONTROLS_VERSION, and these means with it"
    )
    assert controls.CONTROLS_VERSION == 1
