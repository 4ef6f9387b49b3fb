"""Datasets of known dimension, rulers to be checked before they measure MNIST; and MNIST blurred, and with noise.

`strokes-K` are ten digits drawn by a pen with K factors, `strokes-K-one` one digit; `-16px` and `-64px` name the pixels
along a side if they are not 28, `-colour` a coloured pen, `-tail` a tail of noise like real images'. `mnist-pca-K` is
MNIST in the plane of its first K principal components; `mnist-decoder-8` is what a trained decoder of 8 latents draws
from its prior; its weights came of `python -m trainables.controls --out trainables/weights` (a minute on one core).
`mnist-blurred` and `mnist-noisy` show how far an estimate of MNIST depends on its images' finest scale. Each is drawn
once and then kept in the user's cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from safetensors.numpy import load_file, save_file
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from trainables import datasets, strokes
from trainables.dataset_cache import Arrays, cached
from trainables.datasets import NUM_TEST_FILE, NUM_TRAIN_FILE, NUM_VAL, Dataset, split
from trainables.registry import DATASETS

CONTROLS_VERSION = 1
"""Raised with each change of the images that are drawn, so that nobody's cache holds former ones."""
ONE_DIGIT = 0
"""The digit of `strokes-K-one`: one closed line that its factors never make cross itself, so that no two images are the
same for another reason than rounding. Of all digits its Jacobian is the best conditioned for K = 2 ... 16, and in the
worst of 60 images for K = 32 too: smallest over largest singular value 0.94, 0.89, 0.79, 0.66, 0.36 in the median."""
STROKES_SEED = 0
"""The seed of all strokes."""
DECODER = Path(__file__).with_name("weights") / "decoder-8.safetensors"
LATENTS, HIDDEN, STEPS = 8, (128, 128), 10_000
"""The decoder's VAE has ELU and is trained as the study trains its own."""
TAIL_FROM = 50
"""The tail is what MNIST's images hold beyond this number of principal components."""
BLUR, NOISE = 1.0, 0.1
"""The sd of the Gaussian blur in pixels, and of the noise that is added to grey values in [0, 1], cut to these."""
CHUNK = 5_000
"""How many images are decoded at once; as float64, 30 MB."""
COLOUR = np.array([1, 0.6, 0.2], np.float32)
"""The pen's red, green and blue in `-colour`."""
DRAWN = {
    "strokes": ("ac08ff011bc928c0", 1_903_894_182),
    "strokes-2": ("aa791a25efa43a2b", 1_878_181_101),
    "strokes-4": ("2d5c2eb304a991ee", 1_884_916_952),
    "strokes-16": ("cc063cf2cdb8745c", 1_957_595_288),
    "strokes-32": ("06153ecfc925153a", 2_052_045_434),
    "strokes-2-one": ("1db4c5c3fd64d1e9", 1_996_184_153),
    "strokes-4-one": ("1eb5bdb01d789737", 2_000_123_472),
    "strokes-8-one": ("9774041ab93172d4", 2_023_176_121),
    "strokes-16-one": ("aa20970be3f72104", 2_088_942_743),
    "strokes-32-one": ("0dca12fde6cd26fc", 2_202_222_554),
    "strokes-8-one-tail": ("a7a03006f1aa893f", 2_223_019_076),
    "strokes-4-one-16px": ("81e0c703ecd5b69a", 1_140_142_358),
    "strokes-8-one-16px": ("c2d719d36fd3aad9", 1_152_507_638),
    "strokes-4-one-64px": ("ee6db200f071d4d6", 10_449_818_254),
    "strokes-8-one-64px": ("135a210cbc6f742d", 10_570_331_620),
    "strokes-4-one-colour": ("45e2681643fe3739", 3_600_341_108),
    "strokes-8-one-colour": ("7dfb608804b7c77f", 3_641_810_639),
}
"""The digest of each data set of strokes as first drawn, and the sum of its grey values.

Processors add the float32 products of a pen's dots in different orders, so that about two pixels in a million differ by
one grey level. Strokes with this sum up to SAME count as the ones first drawn and take their digest: networks trained
on one machine keep their names on another, where they can be merged, resumed and replayed.
"""
SAME = 1e-7
"""The relative difference of the sums of grey values up to which two drawings of strokes are the same."""
_FILE_ORDER = ("val", "train", "test")
"""MNIST's own order: `trainables.datasets.split` takes the first training images to validate on."""


class Source(NamedTuple):
    """A control's codes, `(n, k)`, and the smooth map from codes to grey images, `(n, 784)` float64 in [0, 1]."""

    codes: np.ndarray
    decode: Callable[[np.ndarray], np.ndarray]

    def draw(self) -> np.ndarray:
        """The images of all codes, `(n, 784)` uint8."""
        return np.concatenate([np.rint(255 * self.decode(part)).astype(np.uint8) for part in _chunks(self.codes)])


def pca_source(dataset: Dataset, components: int) -> Source:
    """A dataset's images, in the order val, train, test, in the plane of its first principal components (in [1, 784]).

    One affine map of the grey values, the same for all pixels and images, takes their range to [0, 1]: clipping instead
    would bend the plane and add dimensions.
    """
    mean, plane = _principal_plane(dataset, components)
    images = np.concatenate([dataset.images[part] for part in _FILE_ORDER])
    codes = np.concatenate([(part / 255 - mean) @ plane.T for part in _chunks(images)])
    greys = [(grey.min(), grey.max()) for grey in (mean + part @ plane for part in _chunks(codes))]
    low, high = min(least for least, _ in greys), max(most for _, most in greys)
    return Source(codes, lambda code: (mean + code @ plane - low) / (high - low))


def with_tail(greys: np.ndarray, dataset: Dataset, components: int) -> np.ndarray:
    """Adds to images what a dataset's images hold beyond its first principal components, cut to black and white.

    Image i of `greys`, `(n, 784)` uint8, gets the tail of the dataset's image i, in the order val, train, test.
    """
    mean, plane = _principal_plane(dataset, components)
    images = np.concatenate([dataset.images[part] for part in _FILE_ORDER])[: len(greys)]
    tailed = []
    for drawn, image in zip(_chunks(greys), _chunks(images), strict=True):
        centred = image / 255 - mean
        tail = centred - (centred @ plane.T) @ plane
        tailed.append(np.rint(255 * np.clip(drawn / 255 + tail, 0, 1)).astype(np.uint8))
    return np.concatenate(tailed)


def _principal_plane(dataset: Dataset, components: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean of a dataset's training images, `(784,)`, and its first components, `(K, 784)`, float64."""
    import torch  # loaded where it is needed, for it takes seconds

    from trainables.models import fit_pca

    model, _ = fit_pca(torch.tensor(dataset.images["train"]), components)
    plane = model.components.detach().numpy().astype(np.float64).round(4)  # the same plane on every machine
    return model.mean.detach().numpy().astype(np.float64), plane


def decoder_source(num_images: int) -> Source:
    """Standard normal codes and the decoder of `weights/`, in float64."""
    weights = {name: weight.astype(np.float64) for name, weight in load_file(DECODER).items()}

    def decode(code: np.ndarray) -> np.ndarray:
        for layer in range(len(HIDDEN) + 1):
            code = code @ weights[f"layers.{layer}.weight"].T + weights[f"layers.{layer}.bias"]
            if layer < len(HIDDEN):
                code = np.where(code > 0, code, np.expm1(np.minimum(code, 0)))
        return np.asarray(expit(code))

    return Source(np.random.default_rng(0).standard_normal((num_images, LATENTS)), decode)


def main(out: Annotated[Path, typer.Option()]) -> None:
    """Train the VAE whose decoder draws `mnist-decoder-8`, and write its decoder into the folder OUT."""
    import torch

    from trainables.metrics import evaluate, evaluation_noise
    from trainables.pack import Pack
    from trainables.schema import TrialConfig

    torch.set_num_threads(1)
    images = {part: torch.tensor(greys) for part, greys in datasets.load("mnist").images.items()}
    config = TrialConfig(model="vae", activation="elu", hidden_dims=HIDDEN, latent_dim=LATENTS, steps=STEPS)
    pack = Pack([config], [0], images["train"])
    for _ in range(STEPS):
        pack.step()
    model = pack.module(0)
    out.mkdir(parents=True, exist_ok=True)
    decoder = model.get_submodule("decoder").state_dict()
    weights = {name: weight.numpy().astype(np.float16) for name, weight in decoder.items()}
    save_file(weights, out / DECODER.name)
    values = evaluate(model, images["test"], config, evaluation_noise(config, 0, "test", images["test"])).values
    typer.echo(", ".join(f"{name} {values[name]:.2f}" for name in ("nll", "kl", "active_units")))


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    return np.split(rows, range(CHUNK, len(rows), CHUNK))


def stroke_factors(dataset: str) -> dict[str, np.ndarray] | None:
    """The factors of a data set of strokes by split, `(n, k)` each, in the order of its images; None of any other."""
    module, _, name = DATASETS.get(dataset, "").partition(":")
    loader = globals().get(name) if module == __name__ else None
    if not isinstance(loader, partial) or loader.args[1] is not _draw_strokes:
        return None
    factors, classes = loader.args[2:]
    _, drawn = strokes.draw_factors(NUM_TRAIN_FILE + NUM_TEST_FILE, factors=factors, seed=STROKES_SEED, classes=classes)
    return {"val": drawn[:NUM_VAL], "train": drawn[NUM_VAL:NUM_TRAIN_FILE], "test": drawn[NUM_TRAIN_FILE:]}


def _draw_strokes(
    factors: int, classes: Sequence[int], *, side: int = strokes.IMAGE_SIDE, colour: bool = False
) -> Arrays:
    count = NUM_TRAIN_FILE + NUM_TEST_FILE
    drawn = strokes.draw(count, factors=factors, seed=STROKES_SEED, classes=classes, side=side)
    return np.rint(drawn.images[..., None] * COLOUR).astype(np.uint8) if colour else drawn.images, drawn.labels


def _draw_with_tail() -> Arrays:
    """The images of `strokes-8-one` with MNIST's tail beyond TAIL_FROM components."""
    images, labels = _draw_strokes(8, [ONE_DIGIT])
    return with_tail(images.reshape(len(images), -1), datasets.load("mnist"), TAIL_FROM), labels


def _draw_pca(components: int) -> Arrays:
    mnist = datasets.load("mnist")
    return pca_source(mnist, components).draw(), np.concatenate([mnist.labels[part] for part in _FILE_ORDER])


def _draw_decoder() -> Arrays:
    """The decoder's images; they have no digit to be labelled with, and are all labelled 0."""
    images = decoder_source(NUM_TRAIN_FILE + NUM_TEST_FILE).draw()
    return images, np.zeros(len(images), np.uint8)


def _draw_disturbed(disturb: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Arrays:
    """MNIST's images after a function of grey values `(n, 784)` in [0, 1] and of chance."""
    mnist, rng = datasets.load("mnist"), np.random.default_rng(0)
    images, labels = (np.concatenate([of[part] for part in _FILE_ORDER]) for of in (mnist.images, mnist.labels))
    disturbed = [np.rint(255 * np.clip(disturb(part / 255, rng), 0, 1)).astype(np.uint8) for part in _chunks(images)]
    return np.concatenate(disturbed), labels


def _blurred(greys: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return np.asarray(gaussian_filter(greys.reshape(-1, 28, 28), (0, BLUR, BLUR)).reshape(len(greys), -1))


def _noisy(greys: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(greys + NOISE * rng.standard_normal(greys.shape))


def _load(name: str, draw: Callable[..., Arrays], *arguments: Any, **options: Any) -> Dataset:
    """Takes a dataset of 60,000 + 10,000 from the cache, or draws it and puts it there."""
    images, labels = cached(f"{name}-v{CONTROLS_VERSION}", lambda: draw(*arguments, **options))
    train, test = slice(None, NUM_TRAIN_FILE), slice(NUM_TRAIN_FILE, None)
    drawn = split(name, (images[train], labels[train]), (images[test], labels[test]))
    digest, total = DRAWN.get(name, (drawn.digest, 0))
    return replace(drawn, digest=digest) if math.isclose(images.sum(dtype=np.int64), total, rel_tol=SAME) else drawn


Loader = Callable[[], Dataset]
_TEN = range(strokes.NUM_CLASSES)
load_strokes_2: Loader = partial(_load, "strokes-2", _draw_strokes, 2, _TEN)
load_strokes_4: Loader = partial(_load, "strokes-4", _draw_strokes, 4, _TEN)
load_strokes_8: Loader = partial(_load, "strokes", _draw_strokes, 8, _TEN)
load_strokes_16: Loader = partial(_load, "strokes-16", _draw_strokes, 16, _TEN)
load_strokes_32: Loader = partial(_load, "strokes-32", _draw_strokes, 32, _TEN)
load_strokes_2_one: Loader = partial(_load, "strokes-2-one", _draw_strokes, 2, [ONE_DIGIT])
load_strokes_4_one: Loader = partial(_load, "strokes-4-one", _draw_strokes, 4, [ONE_DIGIT])
load_strokes_8_one: Loader = partial(_load, "strokes-8-one", _draw_strokes, 8, [ONE_DIGIT])
load_strokes_16_one: Loader = partial(_load, "strokes-16-one", _draw_strokes, 16, [ONE_DIGIT])
load_strokes_32_one: Loader = partial(_load, "strokes-32-one", _draw_strokes, 32, [ONE_DIGIT])
load_strokes_4_one_16px: Loader = partial(_load, "strokes-4-one-16px", _draw_strokes, 4, [ONE_DIGIT], side=16)
load_strokes_8_one_16px: Loader = partial(_load, "strokes-8-one-16px", _draw_strokes, 8, [ONE_DIGIT], side=16)
load_strokes_4_one_64px: Loader = partial(_load, "strokes-4-one-64px", _draw_strokes, 4, [ONE_DIGIT], side=64)
load_strokes_8_one_64px: Loader = partial(_load, "strokes-8-one-64px", _draw_strokes, 8, [ONE_DIGIT], side=64)
load_strokes_4_one_colour: Loader = partial(_load, "strokes-4-one-colour", _draw_strokes, 4, [ONE_DIGIT], colour=True)
load_strokes_8_one_colour: Loader = partial(_load, "strokes-8-one-colour", _draw_strokes, 8, [ONE_DIGIT], colour=True)
load_mnist_pca_8: Loader = partial(_load, "mnist-pca-8", _draw_pca, 8)
load_mnist_pca_32: Loader = partial(_load, "mnist-pca-32", _draw_pca, 32)
load_strokes_8_one_tail: Loader = partial(_load, "strokes-8-one-tail", _draw_with_tail)
load_mnist_decoder_8: Loader = partial(_load, "mnist-decoder-8", _draw_decoder)
load_mnist_blurred: Loader = partial(_load, "mnist-blurred", _draw_disturbed, _blurred)
load_mnist_noisy: Loader = partial(_load, "mnist-noisy", _draw_disturbed, _noisy)


if __name__ == "__main__":
    typer.run(main)
