"""Trains a pack of M members at once: one architecture, each with its own seed and FREE_FIELDS.

A pack of one is the plain case: its parameters are the module's own and nothing is stacked. A larger pack stacks the
members' parameters along a leading axis and maps the same step over it (`torch.vmap`). A member with fewer latents than
the widest is padded with zeros, which stay zero: no gradient reaches a latent whose weights and noise are zero. On a
GPU the step is replayed as one CUDA graph. Needs torch only.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from trainables.batches import Batch, DropoutMasks, Inputs, corner, generator
from trainables.cuda_graph import Replayed
from trainables.gradients import Network, are_written_out, backpropagate
from trainables.losses import eq_1, is_eq_1, objective
from trainables.models import Output, build
from trainables.optimizer import MOMENTS, Adam
from trainables.pack_key import FREE_FIELDS, pack_key
from trainables.shape import MNIST, Shape

if TYPE_CHECKING:
    from trainables.schema import TrialConfig


class Pack:
    """M networks in training.

    Args:
        configs: One TrialConfig a member. Only FREE_FIELDS may differ, and `latent_dim` with a diagonal posterior.
        seeds: One seed a member.
        images: Training images, uint8 `(n, pixels)`, on the device to train on. A batch holds `batch_size` of them, or
            all where they are fewer.
        shape: Their shape.

    Raises:
        ValueError: The configs cannot share a pack.
    """

    def __init__(self, configs: Sequence[TrialConfig], seeds: Sequence[int], images: Tensor, shape: Shape = MNIST):
        self.config = max(configs, key=lambda config: config.width)
        self.configs, self.seeds, self.images = list(configs), list(seeds), images
        self.device = images.device
        _check(self.configs, self.config)
        self.batch_size, self.steps_done = min(self.config.batch_size or 0, len(images)), 0
        self.members = [
            build(config, generator(seed, "init"), shape).to(self.device)
            for config, seed in zip(configs, seeds, strict=True)
        ]
        self.inputs = Inputs(self.configs, self.seeds, self.config, images)
        widest = self.configs.index(self.config)
        self._template = copy.deepcopy(self.members[widest]) if len(configs) > 1 else self.members[0]
        stacked = self._stack([dict(member.named_parameters()) for member in self.members])
        self.parameters = {name: parameter.requires_grad_() for name, parameter in stacked.items()}
        weights = [p for name, p in self.parameters.items() if name.endswith("weight")]
        others = [p for name, p in self.parameters.items() if not name.endswith("weight")]
        groups = [(weights, self.config.l2 or 0.0), (others, 0.0)]
        self.optimizer = Adam(groups)
        self._clips = self._clip_bounds()
        share = self.config.weight_dropout
        self._masks = DropoutMasks(self.members, self.seeds, self._template, share) if share else None
        self._dtype = torch.bfloat16 if self.config.precision == "bf16" else torch.float32
        self._weights = self._network_weights()
        self._written_out: Network | None = None
        """The network, if its gradients are written out."""
        if len(configs) == 1 and self.device.type == "cpu" and are_written_out(self._template, self.config):
            self._written_out = self._template
        self._losses = self._map(self._member_losses)
        self._replayed_update = Replayed(self._update, self.device)

    def step(self) -> None:
        """One training step of every member; what it draws by chance is drawn before."""
        self._prepare()
        self._replayed_update()
        self.steps_done += 1

    def _update(self) -> None:
        """The step itself: a batch, the gradients, clipped, and Adam (which adds the L2 term). Tensor work alone."""
        self._fill_weights()
        with _products_in(self.config.precision):
            self._backpropagate(self._batch())
        self._take_gradients()
        for name, bound in self._clips.items():
            if (gradient := self.parameters[name].grad) is not None:
                gradient.clamp_(-bound, bound)
        self.optimizer.step(self._learning_rate())
        self.optimizer.zero_grad()
        self.inputs.step += 1

    def _backpropagate(self, batch: Batch) -> None:
        """Sets the gradients of the network's weights."""
        if self._written_out is not None:
            backpropagate(self._written_out, *self._network_inputs(batch), batch.target, batch.beta)
        else:
            loss, _ = self._losses(self._weights, batch)
            loss.sum().backward()

    def synchronize(self) -> None:
        """Waits until the device has done all its steps."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def batch_losses(self) -> tuple[Tensor, Tensor]:
        """The loss and Eq. 1 on the batch of the step to come, before its update: each `(M,)` nats per image."""
        self._prepare()
        self._fill_weights()
        with torch.no_grad():
            loss, nll = self._losses(self._weights, self._batch())
        return loss.reshape(-1), nll.reshape(-1)

    def module(self, index: int) -> nn.Module:
        """Member `index` as the module it would be alone, with its present weights. Do not train it."""
        member = self.members[index]
        if len(self.members) > 1:
            with torch.no_grad():
                for name, parameter in member.named_parameters():
                    parameter.copy_(corner(self.parameters[name][index], parameter.shape))
        return member

    def state(self, index: int) -> dict[str, Tensor]:
        """Member `index`'s `weights/<name>` and Adam's moments `exp_avg/<name>`, `exp_avg_sq/<name>`."""
        shapes = {name: p.shape for name, p in self.members[index].named_parameters()}
        state = {f"weights/{name}": p.detach() for name, p in self.module(index).named_parameters()}
        for name, parameter in self.parameters.items():
            for key in MOMENTS:
                moment = self.optimizer.state[parameter][key]
                own = moment if len(self.members) == 1 else moment[index]
                state[f"{key}/{name}"] = corner(own, shapes[name]).contiguous()
        return state

    def load(self, states: Sequence[dict[str, Tensor]], step: int) -> None:
        """Continue all members from what `state` gave after `step` steps."""
        stacked = {
            key: self._stack([_part(state, key, self.device) for state in states]) for key in ("weights", *MOMENTS)
        }
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(stacked["weights"][name])
                for key in MOMENTS:
                    self.optimizer.state[parameter][key].copy_(stacked[key][name])
        self.optimizer.steps.fill_(step)
        self.inputs.step.fill_(step)
        self.steps_done = step

    def _clip_bounds(self) -> dict[str, Any]:
        """The bound of each parameter's gradient: one number, or one for each member; empty if clipping is off."""
        clips = [config.grad_clip or math.inf for config in self.configs]
        if min(clips) == math.inf:
            return {}
        if min(clips) == max(clips):
            return dict.fromkeys(self.parameters, clips[0])
        bounds = torch.tensor(clips, device=self.device)
        return {name: bounds.view(-1, *[1] * (p.dim() - 1)) for name, p in self.parameters.items()}

    def _learning_rate(self) -> float | Tensor:
        """The learning rate of the step to come; a falling one comes from the counter on the device."""
        rate = self.config.learning_rate or 0.0
        if self.config.learning_rate_schedule == "constant":
            return rate
        return rate * (0.5 + 0.5 * torch.cos(self.inputs.step * (math.pi / (self.config.steps or 1))))

    def _member_losses(self, weights: dict[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """One member's loss and Eq. 1; the network runs in `precision`, the losses in float32 whatever that is."""
        inputs = self._network_inputs(batch)
        if len(self.members) == 1:
            out = self._template(*inputs)
        else:
            with _FeatureMajor():
                out = functional_call(self._template, weights, inputs)
        out = Output._make(part if part is None else part.float() for part in out)
        loss, nll = objective(out, batch.target, self.config, batch.beta)
        return loss, nll if is_eq_1(self.config) else eq_1(out.decoded, batch.x, self.config).mean()

    def _network_inputs(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The images and the noise that the network takes, in the precision of its weights."""
        return batch.shown.to(self._dtype), None if batch.noise is None else batch.noise.to(self._dtype)

    def _map(self, function: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
        """`function` itself for a pack of one, else mapped over the members' axis of every tensor that there is."""
        if len(self.members) == 1:
            return function
        noise_axis = 0 if self.config.variational else None
        return vmap(function, in_dims=(0, Batch._make((0, 0, 0, noise_axis, 0))))

    def _prepare(self) -> None:
        """Draws what the step to come takes; under weight dropout its masks too."""
        self.inputs.prepare(self.steps_done)
        if self._masks is not None:
            self._masks.draw(self.steps_done)

    def _batch(self) -> Batch:
        """`inputs.batch`, without the members' axis for a pack of one."""
        batch = self.inputs.batch()
        if len(self.members) > 1:
            return batch
        return Batch._make(part if part is None else part[0] for part in batch)

    def _network_weights(self) -> dict[str, Tensor]:
        """The weights that the network computes with: the parameters, or their copies where these differ.

        They differ in bf16 and under weight dropout. A pack of one has them in its template.
        """
        if self._dtype is torch.float32 and self._masks is None:
            return self.parameters
        if len(self.members) == 1:
            self._template = copy.deepcopy(self._template).to(self._dtype)
            return dict(self._template.named_parameters())
        return {name: p.detach().to(self._dtype, copy=True).requires_grad_() for name, p in self.parameters.items()}

    @torch.no_grad()
    def _fill_weights(self) -> None:
        """Copies the parameters, under weight dropout times their masks, to the network's weights."""
        if self._weights is not self.parameters:
            for name, weight in self._weights.items():
                weight.copy_(self._masked(name, self.parameters[name]))

    @torch.no_grad()
    def _take_gradients(self) -> None:
        """Moves the gradients of the network's weights to the parameters, in float32."""
        if self._weights is not self.parameters:
            for name, weight in self._weights.items():
                if weight.grad is not None:
                    self.parameters[name].grad = self._masked(name, weight.grad.float())
                    weight.grad = None

    def _masked(self, name: str, values: Tensor) -> Tensor:
        """A parameter, or its gradient, times its dropout mask if it has one."""
        return values if self._masks is None or name not in self._masks.of else values * self._masks.of[name]

    def _stack(self, members: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """One tensor per name: a pack of one's own, or the members' padded with zeros and stacked."""
        if len(members) == 1:
            return members[0]
        shapes = {name: p.shape for name, p in self._template.named_parameters()}
        return {
            name: torch.stack([_pad(member[name].detach(), shapes[name]) for member in members]) for name in members[0]
        }


class _FeatureMajor(TorchFunctionMode):
    """Computes a linear layer under vmap as (W x^T)^T, so that W's gradient comes in W's own layout.

    Under vmap `functional.linear` gives that gradient transposed, so that each step would copy it, and multiplies by 1.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not functional.linear or kwargs or args[0].dim() < 2:
            return func(*args, **(kwargs or {}))
        x, weight, bias = args
        product = (weight @ x.mT).mT
        return product if bias is None else product + bias


@contextlib.contextmanager
def _products_in(precision: str | None) -> Iterator[None]:
    """Float32 matrix products in TF32 where the device has it, or in full."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _check(configs: Sequence[TrialConfig], widest: TrialConfig) -> None:
    for config in configs:
        if pack_key(config) != pack_key(widest):
            raise ValueError(
                f"Members of a pack may differ in {', '.join(FREE_FIELDS)} only, but got {config}, {widest}."
            )


def _part(state: dict[str, Tensor], key: str, device: torch.device) -> dict[str, Tensor]:
    return {name.removeprefix(f"{key}/"): t.to(device) for name, t in state.items() if name.startswith(f"{key}/")}


def _pad(tensor: Tensor, shape: torch.Size) -> Tensor:
    padding = [amount for own, full in zip(tensor.shape, shape, strict=True) for amount in (full - own, 0)]
    return nn.functional.pad(tensor, padding[::-1]) if padding else tensor
