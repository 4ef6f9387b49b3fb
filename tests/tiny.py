"""A dataset small enough for tests, and specs that run on it in a second; in `DATASETS` as "tiny"."""

import numpy as np

from trainables.datasets import Dataset, split

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


def load() -> Dataset:
    """5,200 training and 200 test images of one bright bar each, in ten classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(5_400, dtype=np.uint8) % 10
    images = np.zeros((5_400, 28, 28), np.uint8)
    for index, label in enumerate(labels):
        images[index, 2 + 2 * label : 5 + 2 * label, 4:24] = rng.integers(100, 256)
    return split("tiny", (images[:5_200], labels[:5_200]), (images[5_200:], labels[5_200:]))
