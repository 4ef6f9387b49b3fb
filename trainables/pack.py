"""Trains a pack of M members at once: one architecture, each with its own seed, latent_dim and beta.

A pack of one is the plain case: its parameters are the module's own and nothing is stacked. A larger pack stacks the
members' parameters along a leading axis and maps the same step over it (`torch.vmap`). A member with fewer latents than
the widest is padded with zeros, which stay zero: no gradient reaches a latent whose weights and noise are zero.

Randomness is stateless. Each epoch's permutation, each chunk's noise and each step's dropout come from a generator
seeded by (seed, purpose, index), so a member's numbers do not depend on its pack, nor on where training was resumed.
Needs torch only.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from trainables.losses import bernoulli_nll, objective
from trainables.models import build

if TYPE_CHECKING:
    from trainables.schema import TrialConfig

NOISE_CHUNK = 25
"""Steps whose noise is drawn at once, from one generator."""
FREE_FIELDS = ("latent_dim", "beta")
"""Fields of TrialConfig in which the members of a pack may differ (beside the seed)."""


def generator(seed: int, purpose: str, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of one draw: the same for the same arguments, unrelated otherwise."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


class Pack:
    """M networks in training.

    Args:
        configs: One TrialConfig a member, alike but for FREE_FIELDS (and `latent_dim` only with a diagonal posterior).
        seeds: One seed a member.
        images: Training images, uint8 `(n, 784)`, on the device to train on.

    Raises:
        ValueError: The configs cannot share a pack, or a batch is larger than the training set.
    """

    def __init__(self, configs: Sequence[TrialConfig], seeds: Sequence[int], images: Tensor):
        self.config = max(configs, key=lambda config: config.latent_dim)
        self.configs, self.seeds, self.images = list(configs), list(seeds), images
        self.device = images.device
        _check(self.configs, self.config, len(images))
        self.batch_size, self.steps_done = self.config.batch_size or 0, 0
        self.members = [
            build(config, generator(seed, "init")).to(self.device) for config, seed in zip(configs, seeds, strict=True)
        ]
        widest = self.configs.index(self.config)
        self._template = copy.deepcopy(self.members[widest]) if len(configs) > 1 else self.members[0]
        self.parameters = self._stack([dict(member.named_parameters()) for member in self.members])
        weights = [p for name, p in self.parameters.items() if name.endswith("weight")]
        others = [p for name, p in self.parameters.items() if not name.endswith("weight")]
        groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": self.config.l2}, {"params": others}]
        self.optimizer = torch.optim.Adam(
            groups,
            lr=self.config.learning_rate or 0.0,
            fused=True,
        )
        self._betas = torch.tensor([config.beta or 0.0 for config in configs], device=self.device)
        self._losses = self._map(self._member_losses)
        self._epoch, self._orders = -1, torch.empty(0)
        self._chunk, self._noises = -1, torch.empty(0)

    def step(self) -> None:
        """One training step of every member: a batch, the gradients, clipped, and Adam (which adds the L2 term)."""
        loss, _ = self._losses(self._weights(), *self._inputs())
        loss.sum().backward()
        if self.config.grad_clip:
            for parameter in self.parameters.values():
                if parameter.grad is not None:
                    parameter.grad.clamp_(-self.config.grad_clip, self.config.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps_done += 1

    def batch_losses(self) -> tuple[Tensor, Tensor]:
        """The loss and Eq. 1 on the batch of the step to come, before its update: each `(M,)` nats per image."""
        with torch.no_grad():
            loss, nll = self._losses(self._weights(), *self._inputs())
        return loss.reshape(-1), nll.reshape(-1)

    def module(self, index: int) -> nn.Module:
        """Member `index` as the module it would be alone, with its present weights. Do not train it."""
        member = self.members[index]
        if len(self.members) > 1:
            with torch.no_grad():
                for name, parameter in member.named_parameters():
                    parameter.copy_(_unpad(self.parameters[name][index], parameter.shape))
        return member

    def state(self, index: int) -> dict[str, Tensor]:
        """Member `index`'s `weights/<name>` and Adam's moments `exp_avg/<name>`, `exp_avg_sq/<name>`."""
        shapes = {name: p.shape for name, p in self.members[index].named_parameters()}
        state = {f"weights/{name}": p.detach() for name, p in self.module(index).named_parameters()}
        for name, parameter in self.parameters.items():
            moments = self.optimizer.state.get(parameter, {})
            for key in ("exp_avg", "exp_avg_sq"):
                moment = moments.get(key, torch.zeros_like(parameter))
                own = moment if len(self.members) == 1 else moment[index]
                state[f"{key}/{name}"] = _unpad(own, shapes[name])
        return state

    def load(self, states: Sequence[dict[str, Tensor]], step: int) -> None:
        """Continue all members from what `state` gave after `step` steps."""
        stacked = {
            key: self._stack([_part(state, key, self.device) for state in states])
            for key in ("weights", "exp_avg", "exp_avg_sq")
        }
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(stacked["weights"][name])
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(step), device=self.device),
                    "exp_avg": stacked["exp_avg"][name].detach().clone(),
                    "exp_avg_sq": stacked["exp_avg_sq"][name].detach().clone(),
                }
        self.steps_done = step

    def _member_losses(
        self, weights: dict[str, Tensor], x: Tensor, noise: Tensor | None, beta: Tensor
    ) -> tuple[Tensor, Tensor]:
        out = functional_call(self._template, weights, (x, noise))
        loss, nll = objective(out, x, self.config, beta)
        if self.config.likelihood == "bernoulli":
            return loss, nll
        return loss, bernoulli_nll(out.decoded, x, self.config.output).mean()

    def _map(self, function: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
        """`function` itself for a pack of one, else mapped over the members' axis of every argument but None ones."""
        if len(self.members) == 1:
            return function
        noise_axis = 0 if self.config.variational else None
        return vmap(function, in_dims=(0, 0, noise_axis, 0))

    def _inputs(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """Images `([M,] batch, 784)`, noise `([M,] batch, N)` or None, and beta `([M])` of the step to come."""
        epoch, batch = divmod(self.steps_done, len(self.images) // self.batch_size)
        order = self._order(epoch)[:, batch * self.batch_size : (batch + 1) * self.batch_size]
        x = self.images[order].float().div_(255)
        noise = None
        if self.config.variational:
            chunk, offset = divmod(self.steps_done, NOISE_CHUNK)
            noise = self._noise(chunk)[:, offset]
        betas = self._betas
        if self.config.kl_warmup_steps:
            betas = betas * min(1.0, self.steps_done / self.config.kl_warmup_steps)
        if len(self.members) == 1:
            return x[0], noise if noise is None else noise[0], betas[0]
        return x, noise, betas

    def _order(self, epoch: int) -> Tensor:
        """Every member's permutation of the training set in `epoch`, `(M, n)`; drawn on the CPU, uploaded once."""
        if self._epoch != epoch:
            orders = [
                torch.randperm(len(self.images), generator=generator(seed, "order", epoch)) for seed in self.seeds
            ]
            self._epoch, self._orders = epoch, torch.stack(orders).to(self.device)
        return self._orders

    def _noise(self, chunk: int) -> Tensor:
        """Standard normal noise of a chunk's steps, `(M, NOISE_CHUNK, batch, N)`, zero beyond a member's own N."""
        if self._chunk != chunk:
            self._chunk = chunk
            self._noises = torch.zeros(
                len(self.seeds), NOISE_CHUNK, self.batch_size, self.config.latent_dim, device=self.device
            )
            for config, seed, noise in zip(self.configs, self.seeds, self._noises, strict=True):
                source = generator(seed, "noise", chunk, self.device)
                own = torch.randn(*noise.shape[:2], config.latent_dim, generator=source, device=self.device)
                noise[..., : config.latent_dim] = own
        return self._noises

    def _weights(self) -> dict[str, Tensor]:
        """The parameters; under weight dropout, weights kept with probability 1 - weight_dropout and scaled up."""
        if not self.config.weight_dropout:
            return self.parameters
        keep = 1 - self.config.weight_dropout
        masks = [self._dropout_masks(member, seed, keep) for member, seed in zip(self.members, self.seeds, strict=True)]
        stacked = self._stack(masks)
        return {name: p * stacked[name] if name in stacked else p for name, p in self.parameters.items()}

    def _dropout_masks(self, member: nn.Module, seed: int, keep: float) -> dict[str, Tensor]:
        source = generator(seed, "dropout", self.steps_done)
        return {
            name: torch.bernoulli(torch.full(p.shape, keep), generator=source).div_(keep).to(self.device)
            for name, p in member.named_parameters()
            if name.endswith("weight")
        }

    def _stack(self, members: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """One leaf per name: a pack of one's own tensor, or the members' padded with zeros and stacked."""
        if len(members) == 1:
            return members[0]
        shapes = {name: p.shape for name, p in self._template.named_parameters()}
        return {
            name: torch.stack([_pad(member[name].detach(), shapes[name]) for member in members]).requires_grad_()
            for name in members[0]
        }


def shared_fields(config: TrialConfig) -> TrialConfig:
    """What all members of a pack have in common: two configs may share a pack if this is equal, and only then."""
    free = {"beta": None} if config.posterior == "spherical" else dict.fromkeys(FREE_FIELDS)
    return config.model_copy(update=free)


def _check(configs: Sequence[TrialConfig], widest: TrialConfig, num_images: int) -> None:
    for config in configs:
        if shared_fields(config) != shared_fields(widest):
            raise ValueError(
                f"Members of a pack may differ in {', '.join(FREE_FIELDS)} only, but got {config}, {widest}."
            )
    if (widest.batch_size or 0) > num_images:
        raise ValueError(f"`batch_size <= {num_images}` (the training set) must hold, but got {widest.batch_size}.")


def _part(state: dict[str, Tensor], key: str, device: torch.device) -> dict[str, Tensor]:
    return {name.removeprefix(f"{key}/"): t.to(device) for name, t in state.items() if name.startswith(f"{key}/")}


def _pad(tensor: Tensor, shape: torch.Size) -> Tensor:
    padding = [amount for own, full in zip(tensor.shape, shape, strict=True) for amount in (full - own, 0)]
    return nn.functional.pad(tensor, padding[::-1]) if padding else tensor


def _unpad(tensor: Tensor, shape: torch.Size) -> Tensor:
    return tensor[tuple(slice(0, size) for size in shape)].contiguous()
