"""The networks of the paper as plain modules: Fig. 1's auto-encoder, Fig. 4's variational one, and PCA.

A model is made of a config and the images' `Shape`. It maps images `(batch, pixels)` in [0, 1] and standard normal
noise `(batch, latent_dim)` to an `Output`; its `decoder` maps codes alone. A new one is a module of that form, to which
`check` holds it, and a line in `trainables.registry.MODELS`.
"""

from __future__ import annotations

import inspect
import itertools
import math
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from trainables.registry import ACTIVATIONS, MODELS
from trainables.shape import MNIST, WIDE, Shape, most_components

if TYPE_CHECKING:
    from trainables.schema import TrialConfig


class Output(NamedTuple):
    """A model's outputs for a batch; None where it has no such part.

    `decoded`: the decoder's last layer before the output head, `(batch, pixels)`; `mu`: code or posterior mean,
    `(batch, latent_dim)`; `log_sigma`: log standard deviation of q(z|x), `(batch, latent_dim)`; `log_scale`: log
    standard deviation of the Gaussian likelihood, `()`.
    """

    decoded: Tensor
    mu: Tensor
    log_sigma: Tensor | None = None
    log_scale: Tensor | None = None


def identity(x: Tensor) -> Tensor:
    """The activation of the linear network."""
    return x


class Perceptron(nn.Module):
    """Linear layers with the activation between them, and after the last one if `activate_last`."""

    def __init__(self, dims: Sequence[int], activation: Callable[[Tensor], Tensor], *, activate_last: bool = False):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise(dims))
        self.activation = activation
        self.num_activated = len(self.layers) - (not activate_last)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(batch, dims[0])` to `(batch, dims[-1])`."""
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index < self.num_activated:
                x = self.activation(x)
        return x


class Autoencoder(nn.Module):
    """pixels-500-500-N and back (Fig. 1). The code is linear; the activation is on the hidden layers only."""

    def __init__(self, config: TrialConfig, shape: Shape = MNIST):
        super().__init__()
        hidden = config.hidden_dims or ()
        self.encoder = Perceptron([shape.pixels, *hidden, config.width], _activation(config))
        self.decoder = Perceptron([config.width, *reversed(hidden), shape.pixels], _activation(config))
        self.log_scale = _log_scale(config)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Output:
        """Reconstructs `x`, `(batch, pixels)` in [0, 1]; the noise is not used."""
        code = self.encoder(x)
        return Output(self.decoder(code), code, log_scale=self.log_scale)


class VariationalAutoencoder(nn.Module):
    """The same with q(z|x) = N(mu, diag(sigma^2)) and one sample of z (Fig. 4, section 5)."""

    def __init__(self, config: TrialConfig, shape: Shape = MNIST):
        super().__init__()
        hidden = config.hidden_dims or ()
        trunk = [shape.pixels, *hidden]
        self.encoder = Perceptron(trunk, _activation(config), activate_last=True)
        self.mu = nn.Linear(trunk[-1], config.width)
        self.log_sigma = nn.Linear(trunk[-1], 1 if config.posterior == "spherical" else config.width)
        self.decoder = Perceptron([config.width, *reversed(hidden), shape.pixels], _activation(config))
        self.log_scale = _log_scale(config)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Output:
        """Reconstructs `x` from `z = mu + sigma * noise`; from `z = mu` without noise."""
        hidden = self.encoder(x)
        mu = self.mu(hidden)
        log_sigma = self.log_sigma(hidden).expand_as(mu)
        z = mu if noise is None else mu + log_sigma.exp() * noise
        return Output(self.decoder(z), mu, log_sigma, self.log_scale)


class PrincipalComponents(nn.Module):
    """PCA with `latent_dim` components: the closed-form reference arm (section 3 of the paper)."""

    def __init__(self, mean: Tensor, components: Tensor):
        """Takes the mean image, `(pixels,)`, and orthonormal rows `(latent_dim, pixels)` by falling variance."""
        super().__init__()
        self.mean, self.components = nn.Parameter(mean), nn.Parameter(components)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Output:
        """Projects `x`, `(batch, pixels)`, on the subspace; the noise is not used."""
        code = (x - self.mean) @ self.components.T
        return Output(self.decoder(code), code)

    def decoder(self, code: Tensor) -> Tensor:
        """Maps `(batch, latent_dim)` to `(batch, pixels)`."""
        return self.mean + code @ self.components


def build(config: TrialConfig, generator: torch.Generator, shape: Shape = MNIST) -> nn.Module:
    """The model of a `task: train` config, on the CPU, its weights drawn from `generator` at its own latent_dim."""
    if config.model is None:
        raise ValueError(f"`task` must be 'train' to build a network, but got {config.task!r}.")
    with torch.random.fork_rng(devices=[]):  # parameters that a user's own model draws come from the seed too
        torch.default_generator.manual_seed(generator.initial_seed())
        make = pkgutil.resolve_name(MODELS[config.model].path)
        takes_pixels = "pixels" in inspect.signature(make).parameters  # as plugins for grey 28 x 28 images did
        model: nn.Module = make(config, shape.pixels if takes_pixels else shape)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            _initialise(layer, config.init or "he", generator)
    return model


def restore(config: TrialConfig, weights: Mapping[str, np.ndarray], shape: Shape = MNIST) -> nn.Module:
    """The trained model of a config, of PCA too, from its parameters by name, on the CPU."""
    state = {name: torch.tensor(value) for name, value in weights.items()}
    if config.task == "pca":
        return PrincipalComponents(state["mean"], state["components"])
    model = build(config, torch.Generator(), shape)
    names = {name for name, _ in model.named_parameters()}
    if names != state.keys():
        raise ValueError(f"`weights` must be the model's parameters, {sorted(names)}, but got {sorted(state)}.")
    model.load_state_dict(state, strict=False)  # buffers are as the model makes them
    return model


@torch.no_grad()
def check(config: TrialConfig, shape: Shape = MNIST) -> None:
    """Checks that the model of a `task: train` config, such as a user's own, has the form of those here.

    Raises:
        ValueError: Its Output lacks a part that the config asks for, its decoder does not decode as it does itself, or
            what it makes of an image does not come from that image and the noise alone.
        Exception: Whatever making or calling it raises.
    """
    source = torch.Generator().manual_seed(0)
    pixels = shape.pixels
    model, x = build(config, source, shape), torch.rand(4, pixels, generator=source)
    noise = torch.randn(4, config.width, generator=source) if config.variational else None
    code = (4, config.width)
    wanted: dict[str, Any] = {"decoded": (4, pixels), "mu": code, "log_sigma": code if config.variational else None}
    if config.likelihood == "gaussian":
        wanted["log_scale"] = ()
    for out in (model(x, noise), model(x)):
        found = {name: None if (part := getattr(out, name)) is None else tuple(part.shape) for name in wanted}
        if found != wanted:
            raise ValueError(f"`Output` must have the shapes {wanted}, but got {found}.")
    out = model(x)
    alone = torch.cat([model(image).decoded for image in x.split(1)])
    pairs = {
        "`decoder(mu)` must be what the model decodes without noise": model.decoder(out.mu),  # type: ignore[operator]
        "`forward` must give an image the same alone as among others": alone,
    }
    for rule, decoded in pairs.items():
        if not torch.allclose(decoded, out.decoded, atol=1e-4, equal_nan=True):
            raise ValueError(f"{rule}, but they differ by up to {(decoded - out.decoded).abs().max():.2g}.")


def fit_pca(images: Tensor, latent_dim: int, *, chunk: int = 5000) -> tuple[PrincipalComponents, Tensor]:
    """PCA of images by the eigenvectors of their covariance, in float64.

    Where images have more than WIDE pixels and are fewer than these, by those of their inner products instead.

    Args:
        images: uint8 `(n, pixels)`.
        latent_dim: Components to keep, up to `most_components`.
        chunk: Images, or else pixels, converted at once.

    Returns:
        The float32 module and the eigenvalues of the covariance, falling, in squared grey: one a pixel, or an image.

    Raises:
        ValueError: More components than there can be.
    """
    pixels = images.shape[1]
    most = most_components(len(images), pixels)
    if latent_dim > most:
        raise ValueError(f"`latent_dim <= {most}` must hold for PCA, but got {latent_dim=}.")
    if pixels > max(len(images), WIDE):
        return _fit_wide_pca(images, latent_dim, chunk)
    total = torch.zeros(pixels, dtype=torch.float64, device=images.device)
    square = torch.zeros(pixels, pixels, dtype=torch.float64, device=images.device)
    for part in images.split(chunk):
        x = part.double() / 255
        total += x.sum(0)
        square += x.T @ x
    mean = total / len(images)
    eigenvalues, vectors = torch.linalg.eigh(square / len(images) - torch.outer(mean, mean))
    return PrincipalComponents(mean.float(), _signed(vectors.flip(1).T[:latent_dim])), eigenvalues.flip(0)


def _fit_wide_pca(images: Tensor, latent_dim: int, chunk: int) -> tuple[PrincipalComponents, Tensor]:
    """PCA of `n` images with more than `n` pixels, by the `n` eigenvectors of their inner products."""

    def centred() -> Iterator[Tensor]:
        for part in images.split(chunk, dim=1):
            x = part.double() / 255
            yield x - x.mean(0)

    products = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)
    for x in centred():
        products += x @ x.T
    eigenvalues, vectors = torch.linalg.eigh(products / len(images))
    weights = vectors.flip(1).T[:latent_dim]
    components = torch.nn.functional.normalize(torch.cat([weights @ x for x in centred()], dim=1))
    mean = torch.cat([(part.double() / 255).mean(0) for part in images.split(chunk, dim=1)])
    return PrincipalComponents(mean.float(), _signed(components)), eigenvalues.flip(0)


def _signed(components: Tensor) -> Tensor:
    """Components with one sign for all machines: the largest entry of each is positive. float32 `(N, pixels)`."""
    return (components * components.gather(1, components.abs().argmax(1, keepdim=True)).sign()).float().contiguous()


def _activation(config: TrialConfig) -> Callable[[Tensor], Tensor]:
    function: Callable[[Tensor], Tensor] = pkgutil.resolve_name(ACTIVATIONS[config.activation or "linear"])
    return function


def _log_scale(config: TrialConfig) -> nn.Parameter | None:
    return nn.Parameter(torch.zeros(())) if config.likelihood == "gaussian" else None


def _initialise(layer: nn.Linear, init: str, generator: torch.Generator) -> None:
    """He: sd sqrt(2 / fan_in); Xavier: sd sqrt(2 / (fan_in + fan_out)); biases 0. Default: PyTorch's uniform ones."""
    with torch.no_grad():
        if init == "default":
            bound = 1 / math.sqrt(layer.in_features)
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
            return
        fan = layer.in_features if init == "he" else layer.in_features + layer.out_features
        layer.weight.normal_(0, math.sqrt(2 / fan), generator=generator)
        layer.bias.zero_()
