"""A dataset small enough for tests, specs that run on it in a second, and measurements; in the registries as "tiny"."""

import numpy as np
import torch

from trainables.datasets import Dataset, split
from trainables.measurements.subject import Measured, Subject
from trainables.models import Autoencoder, Output

SPEC = """
name: tiny
title: A study for tests
question: Does it run?
seeds: 2
base: {dataset: tiny, latent_dim: 2, hidden_dims: [8], steps: 6, evaluations: 2, batch_size: 20}
arms:
  linear: {activation: linear}
  vae: {model: vae}
  pca: {task: pca}
"""


SEARCH = """
name: hunt
base: {dataset: tiny, latent_dim: 2, hidden_dims: [8], steps: 6, evaluations: 2, batch_size: 20}
arms: {paper: {model: vae}}
search:
  objectives: [val_neg_elbo]
  trials: 3
  space: {model: vae, learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}, beta: [0.5, 2.0]}
"""


def load(num_train: int = 200) -> Dataset:
    """200 training, 200 validation and 200 test images of one bright bar each, in ten classes."""
    rng = np.random.default_rng(0)
    labels = (np.arange(num_train + 400) % 10).astype(np.uint8)
    images = np.zeros((len(labels), 28, 28), np.uint8)
    for index, label in enumerate(labels):
        images[index, 2 + 2 * label : 5 + 2 * label, 4:24] = rng.integers(100, 256)
    return split("tiny", (images[:-200], labels[:-200]), (images[-200:], labels[-200:]), num_val=200)


def load_more() -> Dataset:
    """The same with 6,000 training images."""
    return load(6_000)


def measure(subject: Subject) -> Measured:
    """The first codes, a value that is not finite, and one image."""
    codes = subject.codes(subject.images["test"][:3])
    image = ("first", 0, 1, 0.5, subject.images["test"][0])
    return Measured({"tiny_codes": codes.flatten().tolist(), "tiny_null": [float(torch.tensor(float("nan")))]}, [image])


def fail(subject: Subject) -> Measured:
    """A measurement that cannot be made."""
    raise ValueError(f"`seed > 9` must hold, but got {subject.seed}.")


class Raises(Autoencoder):
    """A model that passes the check before a launch, and cannot be trained."""

    def forward(self, x: torch.Tensor, noise: torch.Tensor | None = None) -> Output:
        if len(x) > 4:
            raise ValueError(f"`images <= 4` must hold, but got {len(x)}.")
        return super().forward(x, noise)
