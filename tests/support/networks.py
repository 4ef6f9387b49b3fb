"""Networks to be measured whose answers are known, and matrices to make them of."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainables.batches import generator
from trainables.datasets import Dataset
from trainables.measurements.subject import Subject
from trainables.models import Autoencoder, build, fit_pca
from trainables.schema import TrialConfig
from trainables.shape import Shape

Data = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]
"""Images and labels by split."""
LINEAR: dict[str, Any] = {"activation": "linear", "hidden_dims": (), "output": "identity", "likelihood": "gaussian"}


def tensors(dataset: Dataset) -> Data:
    images = {split: torch.tensor(x) for split, x in dataset.images.items()}
    return images, {split: torch.tensor(y, dtype=torch.long) for split, y in dataset.labels.items()}


def subject(model: nn.Module, config: TrialConfig, data: Data, seed: int = 0) -> Subject:
    return Subject(model, config, seed, *data)


def untrained(config: TrialConfig, data: Data, seed: int = 0) -> Subject:
    return subject(build(config, generator(seed, "init")), config, data, seed)


def pca(latent_dim: int, data: Data) -> Subject:
    return subject(fit_pca(data[0]["train"], latent_dim)[0], TrialConfig(task="pca", latent_dim=latent_dim), data)


def linear(decoder: Tensor, encoder: Tensor, data: Data, *, bias: float = 0.0, **fields: Any) -> Subject:
    """A linear auto-encoder with the given matrices, decoder `(pixels, N)` and encoder `(N, pixels)`."""
    config = TrialConfig(**(LINEAR | fields | {"latent_dim": decoder.shape[1]}))
    model = Autoencoder(config, Shape(1, len(decoder)))
    with torch.no_grad():
        first, last = model.encoder.layers[0], model.decoder.layers[0]
        first.get_parameter("weight").copy_(encoder)
        first.get_parameter("bias").zero_()
        last.get_parameter("weight").copy_(decoder)
        last.get_parameter("bias").fill_(bias)
    return subject(model, config, data)


def collapsed(data: Data, latent_dim: int = 3) -> Subject:
    """A network whose codes are all 0, and whose images all grey."""
    return linear(torch.zeros(784, latent_dim), torch.zeros(latent_dim, 784), data, bias=0.5)


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
