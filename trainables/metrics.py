"""Metrics of a network on a split: the METRICS of the results table, and profiles, which need several numbers.

Everything here takes a module in the form of `trainables.models` and uint8 images; sums run in float64 over images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from trainables.batches import generator
from trainables.losses import bernoulli_nll, decoder_mean, eq_1, gaussian_kl, is_eq_1, model_nll
from trainables.models import Output

if TYPE_CHECKING:
    from trainables.schema import TrialConfig

CHUNK = {"cpu": 200, "cuda": 10_000}
"""How many images are evaluated at once, by kind of device: they fit a CPU's cache, or fill a GPU."""
ACTIVE = 0.01
"""A latent is active if the variance of its posterior mean over the images exceeds this (Burda et al. 2016).

`active_units` counts by it. `analysis.dimension.sweeps` counts a second time, at 0.1, from the recorded variances.
"""


@dataclass
class _Sums:
    """Running sums over the images of a split, float64."""

    per_image: dict[str, list[Tensor]] = field(default_factory=dict)
    first: dict[str, Tensor] = field(default_factory=dict)
    second: dict[str, Tensor] = field(default_factory=dict)

    def add_images(self, **values: Tensor) -> None:
        for name, value in values.items():
            self.per_image.setdefault(name, []).append(value.double())

    def add_moments(self, **values: Tensor) -> None:
        for name, value in values.items():  # float32 within a chunk, float64 over chunks
            self.first[name] = self.first.get(name, 0) + value.sum(0).double()
            self.second[name] = self.second.get(name, 0) + value.square().sum(0).double()

    def variance(self, name: str, count: int) -> Tensor:
        mean = self.first[name] / count
        return (self.second[name] / count - mean.square()).clamp(min=0)


@dataclass(frozen=True)
class Evaluation:
    """A split's evaluation: `values` by metric name, None where the model has no such part, and their parts.

    `nll`: Eq. 1 per image, `(n,)` nats; `kl_per_latent`, `(N,)` nats, empty without a posterior; `code_variance`,
    `(N,)`: the variance of the code, or of the posterior mean, over images.
    """

    values: dict[str, float | None]
    nll: Tensor
    kl_per_latent: Tensor
    code_variance: Tensor


@torch.no_grad()
def evaluate(
    model: nn.Module, images: Tensor, config: TrialConfig, noise: Tensor, shown: Tensor | None = None
) -> Evaluation:
    """Evaluates a model on a split.

    Args:
        model: In the form of `trainables.models`.
        images: uint8 `(n, pixels)`.
        config: The trial's config.
        noise: What `evaluation_noise` gives for this split, `(n, N)`; `(n, 0)` without a posterior.
        shown: What `shown_images` gives for this split, uint8 `(n, pixels)`; left out, it is the images.

    Returns:
        The Evaluation; `values` has the keys of METRICS without their split.

    Raises:
        ValueError: `shown` is left out where it is not the images.
    """
    if shown is None and config.input == "binarised":
        raise ValueError("`shown` must be given where `input` is binarised, but got None.")
    shown = images if shown is None else shown
    sums, count, chunk = _Sums(), len(images), CHUNK[images.device.type]
    for part, inputs, draw in zip(images.split(chunk), shown.split(chunk), noise.split(chunk), strict=True):
        x = to_unit(part)
        target = x if shown is images else to_unit(inputs)
        at_mean = sampled = model(target)
        if at_mean.log_sigma is not None:
            sampled, _ = _at_sample(model, at_mean, at_mean.log_sigma, draw)
            sums.add_moments(kl=gaussian_kl(at_mean.mu, at_mean.log_sigma))
        reconstruction = decoder_mean(at_mean.decoded, config)
        sums.add_images(**_nlls(at_mean, sampled, x, target, config), sse=(reconstruction - x).square().sum(-1))
        sums.add_moments(pixels=reconstruction, code=at_mean.mu)
    kl = sums.first["kl"] / count if "kl" in sums.first else torch.empty(0)
    variance = sums.variance("code", count)
    return Evaluation(_values(sums, kl, variance, count), torch.cat(sums.per_image["nll"]), kl, variance)


def evaluation_noise(config: TrialConfig, seed: int, split: str, images: Tensor) -> Tensor:
    """The noise of the sampled z of a split's images, on their device: the same at every step of a replicate.

    `split`: "val" or "test", the noise's purpose. Standard normal, `(n, N)`; `(n, 0)` if the model has no posterior.
    """
    if not config.variational:
        return torch.empty(len(images), 0, device=images.device)
    source = generator(seed, f"evaluate/{split}")
    return torch.randn(len(images), config.width, generator=source).to(images.device)


@torch.no_grad()
def importance_weighted_bound(
    model: nn.Module, x: Tensor, config: TrialConfig, num_samples: int, source: torch.Generator
) -> Tensor:
    """The importance-weighted lower bound on log p(x) (Burda et al. 2016), which rises with the number of samples.

    Args:
        model: A variational model in the form of `trainables.models`.
        x: Images as the network is shown them, `(batch, pixels)` in [0, 1]: the likelihood's target too.
        config: The trial's config.
        num_samples: Samples of z per image.
        source: The samples' generator.

    Returns:
        `(batch,)` nats per image.

    Raises:
        ValueError: The model has no posterior.
    """
    out = model(x)
    if out.log_sigma is None:
        raise ValueError(f"`model` must have a posterior, but got model={config.model!r}.")
    log_weights = []
    for _ in range(num_samples):
        noise = torch.randn(out.mu.shape, generator=source).to(x.device)
        sampled, z = _at_sample(model, out, out.log_sigma, noise)
        log_ratio = (0.5 * noise.square() - 0.5 * z.square() + out.log_sigma).sum(-1)  # log p(z) - log q(z|x)
        log_weights.append(log_ratio - model_nll(sampled, x, config))
    return torch.logsumexp(torch.stack(log_weights), 0) - math.log(num_samples)


def entropy_floor(images: Tensor) -> float:
    """Eq. 1 at x' = x, the least that any reconstruction can reach. Images uint8 `(n, pixels)`; nats per image."""
    counts = torch.bincount(images.flatten(), minlength=256).double()
    greys = to_unit(torch.arange(256, dtype=torch.uint8, device=images.device)).double().unsqueeze(-1)
    return (counts @ bernoulli_nll(greys, greys, "clipped")).item() / len(images)


def mean_image_nll(images: Tensor, train: Tensor) -> float:
    """Eq. 1 of the mean training image, the best constant answer. uint8 `(n, pixels)` both; nats per image.

    Eq. 1 is linear in the image, so that the mean image of `images` gives the mean of all.
    """
    return bernoulli_nll(_mean_image(train), _mean_image(images), "clipped").item()


def reconstruct(model: nn.Module, images: Tensor, config: TrialConfig) -> Tensor:
    """The decoder's mean at the posterior mean, uint8 `(n, pixels)`, for uint8 images as the network is shown them."""
    with torch.no_grad():
        return to_grey(decoder_mean(model(to_unit(images)).decoded, config))


def to_unit(images: Tensor) -> Tensor:
    """Grey values 0 ... 255 as floats in [0, 1]."""
    return images.to(torch.float32, copy=True).div_(255)


def to_grey(mean: Tensor) -> Tensor:
    """Mean images in [0, 1], clipped, as uint8."""
    return (mean.clamp(0, 1) * 255).round().to(torch.uint8)


def _at_sample(model: nn.Module, out: Output, log_sigma: Tensor, noise: Tensor) -> tuple[Output, Tensor]:
    """The output at z = mu + sigma noise, without encoding again, and that z, `(batch, latent_dim)`."""
    z = out.mu + log_sigma.exp() * noise
    return out._replace(decoded=model.decoder(z)), z  # type: ignore[operator]


def _nlls(at_mean: Output, sampled: Output, x: Tensor, target: Tensor, config: TrialConfig) -> dict[str, Tensor]:
    """Per image, `(batch,)`: Eq. 1 of the grey `x`, and the model's own of its `target`, `(batch, pixels)` each."""
    nll = eq_1(sampled.decoded, x, config)
    return {
        "nll": nll,
        "nll_mean": nll if sampled is at_mean else eq_1(at_mean.decoded, x, config),
        "nll_model": nll if is_eq_1(config) else model_nll(sampled, target, config),
    }


def _values(sums: _Sums, kl: Tensor, code_variance: Tensor, count: int) -> dict[str, float | None]:
    """The metrics of a split, copied from the device all at once, since each copy waits for its queue."""
    means = {name: torch.cat(parts).mean() for name, parts in sums.per_image.items()}
    means["pixel_variance"] = sums.variance("pixels", count).mean()
    if len(kl):
        means |= {"kl": kl.sum(), "active_units": (code_variance > ACTIVE).sum().double()}
    values: dict[str, float] = dict(zip(means, torch.stack(list(means.values())).tolist(), strict=True))
    bound = values["nll_model"] + values["kl"] if len(kl) else None
    return {"kl": None, "active_units": None, **values, "neg_elbo": bound}


def _mean_image(images: Tensor) -> Tensor:
    """`(pixels,)` in [0, 1], float64. The sums of 5,000 greys are exact in float32."""
    return torch.stack([part.float().sum(0) for part in images.split(5000)]).double().sum(0) / (255 * len(images))
