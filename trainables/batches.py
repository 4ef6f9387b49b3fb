"""The batches, noise and dropout masks of a pack's members, and the warm-up of beta.

Each epoch's permutation, each chunk's noise and each step's masks come from a new generator, seeded by (seed, purpose,
index): see `generator`. So a member's numbers depend neither on its pack nor on where training was resumed. Random
numbers are drawn before the step into fixed buffers; the step indexes them with a counter on the device. So a step can
be captured as a CUDA graph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from trainables.schema import TrialConfig

NOISE_CHUNK = 25
"""Steps whose noise is drawn at once, from one generator."""


def generator(seed: int, purpose: str, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of one draw: the same for the same arguments, unrelated otherwise."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


class Batch(NamedTuple):
    """The inputs of one step of M members.

    `x`: grey images, `(M, batch, pixels)` in [0, 1]; `target`: the likelihood's target, the same images unless they are
    binarised; `shown`: the network's input, the target unless `input_noise` is added to it; `noise`: the noise of z,
    `(M, batch, N)`, None without a posterior; `beta`: the weight of the KL term, `(M,)`.
    """

    x: Tensor
    target: Tensor
    shown: Tensor
    noise: Tensor | None
    beta: Tensor


class Inputs:
    """The inputs of M members that train on the same images.

    Args:
        configs: One TrialConfig a member.
        seeds: One seed a member.
        widest: The config of the member with the most latents. Every member's noise has its N; that of a narrower
            member is zero beyond the member's own N.
        images: Training images, uint8 `(n, pixels)`, on the device to train on.
    """

    def __init__(self, configs: Sequence[TrialConfig], seeds: Sequence[int], widest: TrialConfig, images: Tensor):
        self._configs, self._seeds, self._widest, self._images = configs, seeds, widest, images
        self._batch_size = min(widest.batch_size or 0, len(images))
        self._batches = len(images) // self._batch_size
        self.step = torch.zeros((), dtype=torch.int64, device=images.device)
        """The step to come; the step itself counts it up."""
        self._betas = torch.tensor([config.beta or 0.0 for config in configs], device=images.device)
        self._epoch = self._chunk = -1
        shape = (len(seeds), self._batches, self._batch_size)
        self._orders = torch.empty(shape, dtype=torch.int64, device=images.device)
        self._noises, self._input_noises, self._thresholds = torch.empty(0), torch.empty(0), torch.empty(0)
        shape = (len(seeds), NOISE_CHUNK, self._batch_size)
        if widest.variational:
            self._noises = torch.zeros(*shape, widest.width, device=images.device)
        if widest.input == "binarised":
            self._thresholds = torch.empty(*shape, images.shape[1], device=images.device)
        if widest.input_noise:
            self._input_noises = torch.empty(*shape, images.shape[1], device=images.device)

    def prepare(self, step: int) -> None:
        """Draws what step number `step` needs and has not been drawn yet."""
        epoch, chunk = step // self._batches, step // NOISE_CHUNK
        if self._epoch != epoch:
            self._epoch = epoch
            for order, seed in zip(self._orders, self._seeds, strict=True):
                drawn = torch.randperm(len(self._images), generator=generator(seed, "order", epoch))
                order.copy_(drawn[: order.numel()].view(order.shape))
        if self._chunk != chunk:
            self._chunk = chunk
            self._draw_noise(chunk)

    def batch(self) -> Batch:
        """The inputs of the step to come."""
        rows = self._orders.index_select(1, (self.step % self._batches).view(1))[:, 0]
        x = self._images.index_select(0, rows.flatten()).view(*rows.shape, -1)
        if len(rows) > 1:
            x = x.mT.contiguous().mT  # laid out as the packed network's output is, which it is compared with
        shown = target = x = x.float().div_(255)
        noise, betas = None, self._betas
        place = (self.step % NOISE_CHUNK).view(1)
        if self._widest.variational:
            noise = self._noises.index_select(1, place)[:, 0]
        if self._widest.input == "binarised":
            shown = target = (x > self._thresholds.index_select(1, place)[:, 0]).float()
        if self._widest.input_noise:
            shown = (target + self._widest.input_noise * self._input_noises.index_select(1, place)[:, 0]).clamp(0, 1)
        if self._widest.kl_warmup_steps:
            betas = betas * (self.step.double() / self._widest.kl_warmup_steps).clamp(max=1).float()
        return Batch(x, target, shown, noise, betas)

    def _draw_noise(self, chunk: int) -> None:
        """A chunk's thresholds, uniform, and noise, standard normal; that of z stays zero beyond a member's own N."""
        for config, seed, noise in zip(self._configs, self._seeds, self._noises, strict=False):
            source = generator(seed, "noise", chunk, noise.device)
            own = torch.randn(*noise.shape[:2], config.width, generator=source, device=noise.device)
            noise[..., : config.width] = own
        for seed, thresholds in zip(self._seeds, self._thresholds, strict=False):
            source = generator(seed, "binarise", chunk, thresholds.device)
            thresholds.copy_(torch.rand(thresholds.shape, generator=source, device=thresholds.device))
        for seed, noise in zip(self._seeds, self._input_noises, strict=False):
            source = generator(seed, "input noise", chunk, noise.device)
            noise.copy_(torch.randn(noise.shape, generator=source, device=noise.device))


def shown_images(config: TrialConfig, seed: int, split: str, images: Tensor) -> Tensor:
    """The images of a split as a network sees them, and as its likelihood takes them, in evaluations and measurements.

    `split`: "train", "val" or "test", the draws' purpose; `images`: all of it, uint8 `(n, pixels)`. They are the images
    themselves; under `input: binarised` a sample of each pixel, 0 or 255, the same at every step.
    """
    if config.input != "binarised":
        return images
    source = generator(seed, f"binarise/{split}")
    drawn = [torch.rand(part.shape, generator=source).to(part.device) < part / 255 for part in images.split(5000)]
    return torch.cat(drawn).to(torch.uint8) * 255


class DropoutMasks:
    """The masks of M members' weights: 0 with probability `share`, else 1 / (1 - share). Biases have none.

    `of`: by weight, `(M, *shape)`, of one member `shape`; zero beyond a member's own shape. They stay where they are.

    Args:
        members: The M networks, on the device to train on.
        seeds: One seed a member.
        widest: The member with the largest shapes.
        share: Of the weights that are dropped at each step.
    """

    def __init__(self, members: Sequence[nn.Module], seeds: Sequence[int], widest: nn.Module, share: float):
        self._seeds, self._share = seeds, share
        shapes = _weight_shapes(widest)
        sizes = [shape.numel() for shape in shapes.values()]
        device = next(widest.parameters()).device
        self._rows = torch.zeros(len(members), sum(sizes), device=device)
        self._keep = torch.full((sum(sizes),), 1 - share, device=device)
        owns = [_weight_shapes(member) for member in members]
        self._places = [None if own == shapes else _places(own, shapes).to(device) for own in owns]
        parts = zip(shapes.items(), self._rows.split(sizes, dim=1), strict=True)
        self.of = {
            name: part.view(-1, *shape) if len(members) > 1 else part.view(shape) for (name, shape), part in parts
        }

    def draw(self, step: int) -> None:
        """Draws those of step number `step`."""
        for row, places, seed in zip(self._rows, self._places, self._seeds, strict=True):
            source = generator(seed, "dropout", step, row.device)
            if places is None:
                torch.bernoulli(self._keep, generator=source, out=row)
            else:
                row[places] = torch.bernoulli(self._keep[: len(places)], generator=source)
        self._rows.div_(1 - self._share)


def _weight_shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in module.named_parameters() if name.endswith("weight")}


def _places(shapes: dict[str, torch.Size], widest: dict[str, torch.Size]) -> Tensor:
    """The positions of a member's weights, laid one after another, among those of the widest member."""
    numbers = torch.arange(sum(shape.numel() for shape in widest.values()))
    parts = numbers.split([shape.numel() for shape in widest.values()])
    return torch.cat(
        [
            corner(part.view(shape), shapes[name]).flatten()
            for (name, shape), part in zip(widest.items(), parts, strict=True)
        ]
    )


def corner(tensor: Tensor, shape: torch.Size) -> Tensor:
    """The part of a padded tensor that is a member's own: padding follows it along each axis."""
    return tensor[tuple(slice(size) for size in shape)]
