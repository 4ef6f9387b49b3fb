"""The reference classifiers: three small convolutional networks that read MNIST digits, also in reconstructions.

Their weights lie in `trainables/weights/` and came of `python -m trainables.measurements.reference --out
trainables/weights` (one core, 12 epochs, 5 minutes each), which trains on the 55,000 and picks no epoch. They read
99.60, 99.48 and 99.56 % of the test images right; a smaller network was given up, since one seed of it read 99.27 %.
They take anything for a digit, uniform noise for an 8: their confidence says which digit an image would be, not that it
is one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from trainables import datasets
from trainables.batches import generator
from trainables.shape import MNIST

SEEDS = (0, 1, 2)
"""The seed of each classifier."""
PIXELS, SIDE = MNIST.pixels, MNIST.height
CHANNELS = (1, 16, 40, 80)
"""Channels of three 3x3 convolutions, each with a 2x2 pooling: 2.7 million multiply-adds, 42,050 weights in all."""
WEIGHTS = Path(__file__).parents[1] / "weights"
CHUNK = {"cpu": 250, "cuda": 10_000}
"""How many images go through a classifier at once, by kind of device."""
EPOCHS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 12, 128, 0.005, 0.01
MAX_ROTATION, MAX_SHIFT = math.radians(10), 1.5
"""The largest turn of a training image, radians, and its largest shift along either axis, pixels."""


def available(dataset: str) -> bool:
    """Whether the classifiers were trained to read this dataset."""
    return dataset == "mnist"


@torch.no_grad()
def classify(images: Tensor, seeds: Sequence[int] = SEEDS) -> Tensor:
    """Reads images, of digits or not.

    Args:
        images: Float, `(n, 784)`, meant for [0, 1].
        seeds: The classifiers that read them.

    Returns:
        Each classifier's probabilities of the ten digits, `(seeds, n, 10)` on the images' device.

    Raises:
        ValueError: The images have another shape or are not floats.
    """
    if images.ndim != 2 or images.shape[1] != PIXELS or not images.is_floating_point():
        raise ValueError(f"`images` must be floats of shape (n, 784), but got {images.dtype} {tuple(images.shape)}.")
    return torch.stack([_read(_load(seed, images.device), images) for seed in seeds])


@torch.no_grad()
def features(images: Tensor, seed: int) -> Tensor:
    """The last hidden layer, `(n, 720)`, of one classifier that reads float images `(n, 784)`."""
    hidden = _load(seed, images.device)[:-1]
    parts = images.float().reshape(-1, 1, SIDE, SIDE).split(CHUNK[images.device.type])
    return torch.cat([hidden(part) for part in parts])


def accuracy(images: Tensor, labels: Tensor, seeds: Sequence[int] = SEEDS) -> Tensor:
    """The share of float images `(n, 784)` that each classifier reads as their labels, `(n,)`: `(seeds,)` in [0, 1]."""
    return (classify(images, seeds).argmax(2) == labels).float().mean(1)


def train(seed: int, images: Tensor, labels: Tensor, *, epochs: int = EPOCHS) -> nn.Sequential:
    """Trains a classifier: AdamW, one cycle of the learning rate, images slightly turned and moved.

    Args:
        seed: The same one gives the same weights (on one thread of the same kind of processor).
        images: uint8, `(n, 784)`, n >= 128.
        labels: int64, `(n,)`.
        epochs: Passes over the images.

    Returns:
        The classifier, its batch normalisations folded into the convolutions.
    """
    network = _network(nn.BatchNorm2d)
    _initialise(network, generator(seed, "reference/init"))
    steps = epochs * (len(images) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for epoch in range(epochs):
        drawn = generator(seed, "reference/epoch", epoch)
        order = torch.randperm(len(images), generator=drawn)
        for rows in order[: steps // epochs * BATCH_SIZE].split(BATCH_SIZE):
            batch = _moved(images[rows].float().view(-1, 1, SIDE, SIDE) / 255, drawn)
            functional.cross_entropy(network(batch), labels[rows]).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return _folded(network.eval())


def main(out: Annotated[Path, typer.Option()], seeds: Annotated[list[int], typer.Option("--seed")] = [*SEEDS]) -> None:  # noqa: B006
    """Train the classifiers on MNIST and write their weights into the folder OUT; typed without --seed, all three."""
    torch.set_num_threads(1)
    mnist = datasets.load("mnist")
    images = {key: torch.tensor(value) for key, value in mnist.images.items()}
    labels = {key: torch.tensor(value, dtype=torch.long) for key, value in mnist.labels.items()}
    out.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        network = train(seed, images["train"], labels["train"])
        save_file({name: weight.contiguous() for name, weight in network.state_dict().items()}, out / _file(seed))
        for key in ("val", "test"):
            right = int((_read(network, images[key].float() / 255).argmax(1) == labels[key]).sum())
            typer.echo(f"seed {seed}: {right:,} of {len(labels[key]):,} {key} images")


def _read(network: nn.Module, images: Tensor) -> Tensor:
    """The probabilities, `(n, 10)`, of float images `(n, 784)`."""
    parts = images.float().reshape(-1, 1, SIDE, SIDE).split(CHUNK[images.device.type])
    return torch.cat([network(part).softmax(1) for part in parts])


def _network(norm: Callable[[int], nn.Module]) -> nn.Sequential:
    """The classifier; `norm` makes what follows each convolution: `nn.BatchNorm2d`, or `nn.Identity` once folded."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(CHANNELS):
        layers += [nn.Conv2d(before, after, 3, padding=1), norm(after), nn.MaxPool2d(2), nn.ReLU()]
    side = SIDE // 2 ** (len(CHANNELS) - 1)
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS[-1] * side**2, 10))
    return network.to(memory_format=torch.channels_last)  # on a CPU twice as fast


def _initialise(network: nn.Sequential, source: torch.Generator) -> None:
    """He normal weights, biases 0."""
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=source)
            nn.init.zeros_(layer.get_parameter("bias"))


def _moved(images: Tensor, source: torch.Generator) -> Tensor:
    """Images `(batch, 1, 28, 28)`, each turned about its centre and moved by a chance amount."""
    angle, *shift = torch.rand(3, len(images), generator=source) * 2 - 1
    angle, (right, down) = MAX_ROTATION * angle, (MAX_SHIFT * 2 / SIDE * way for way in shift)
    maps = torch.stack([angle.cos(), -angle.sin(), right, angle.sin(), angle.cos(), down], 1).view(-1, 2, 3)
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _folded(network: nn.Sequential) -> nn.Sequential:
    """The same function without batch normalisation, in the form of `_network(nn.Identity)`."""
    layers = list(network)
    for index, (layer, following) in enumerate(itertools.pairwise(network)):
        if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
            layers[index : index + 2] = nn.utils.fuse_conv_bn_eval(layer, following), nn.Identity()
    return nn.Sequential(*layers).requires_grad_(False)


def _file(seed: int) -> str:
    return f"reference-mnist-{seed}.safetensors"


@cache
def _load(seed: int, device: torch.device) -> nn.Sequential:
    network = _network(nn.Identity)
    network.load_state_dict(load_file(WEIGHTS / _file(seed)))
    return network.to(device).eval().requires_grad_(False)


if __name__ == "__main__":
    typer.run(main)
