"""The work that we and our peers are measured on: the same network, init, batches in the same order, Adam, L2 and clip.

Here are the clock, the data as a peer is fed it, ours (a Pack, stepped as a trial does) and the plain PyTorch loop.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, Subset, TensorDataset

from trainables import datasets, losses
from trainables.batches import generator
from trainables.losses import objective
from trainables.models import build
from trainables.pack import Pack
from trainables.registry import ACTIVATIONS
from trainables.schema import TrialConfig


@dataclass(frozen=True)
class Setting:
    """How a peer is used.

    `data`: torchvision's MNIST with ToTensor, a TensorDataset of floats in memory, or the same with a BatchSampler as
    its sampler, so that a batch is one index operation. `workers`: the DataLoader's, persistent. `adam`: its
    implementation. `clip`: clip_grad_value_ over all tensors at once, or one by one (the plain loop only).
    `precision`: fp32, or bf16 by the peer's own switch. `kernels`: torch's own ELU and cross-entropy, or ours, which a
    peer does not have by itself. `mode`: what only one peer has.
    """

    data: Literal["torchvision", "tensors", "batches"] = "batches"
    workers: int = 0
    adam: Literal["loop", "foreach", "fused"] = "fused"
    clip: Literal["foreach", "loop"] = "foreach"
    precision: Literal["fp32", "bf16"] = "fp32"
    kernels: Literal["torch", "ours"] = "torch"
    mode: str = ""

    @property
    def cores(self) -> int:
        """Cores in use: the training process and its DataLoader's workers."""
        return 1 + self.workers

    def __str__(self) -> str:
        clip = "" if self.clip == "foreach" else ", clipped one by one"
        others = (self.mode, "bf16" * (self.precision == "bf16"), "our kernels" * (self.kernels == "ours"))
        return ", ".join(filter(None, (f"{self.data}, workers {self.workers}, Adam {self.adam}{clip}", *others)))


@dataclass
class Clock:
    """Times the steps `first` to `last`, counted from 1: it is ticked once a step, at the same place of each."""

    first: int
    last: int
    ticks: int = 0
    marks: list[tuple[float, float, float]] = field(default_factory=list)

    def tick(self) -> None:
        """A step has come."""
        self.ticks += 1
        if self.ticks in (self.first, self.last):
            self.marks.append((time.perf_counter(), time.process_time(), _workers_cpu_seconds()))

    @property
    def step_s(self) -> float:
        """Wall-clock seconds per step."""
        return self._per_step(0)

    @property
    def step_cpu_s(self) -> float:
        """Processor seconds per step of this process: what a step takes at least."""
        return self._per_step(1)

    @property
    def workers_cpu_s(self) -> float:
        """Processor seconds per step of the DataLoader's workers."""
        return self._per_step(2)

    def _per_step(self, index: int) -> float:
        return (self.marks[1][index] - self.marks[0][index]) / (self.last - self.first)


@dataclass(frozen=True)
class Work:
    """What is to be trained: `steps` steps of `config` from `seed`'s init on `images`, uint8 `(n, 784)`."""

    config: TrialConfig
    seed: int
    steps: int
    images: Tensor
    clock: Clock

    @property
    def batch_size(self) -> int:
        """Images a step."""
        return self.config.batch_size or 0

    def model(self) -> nn.Module:
        """The network with our initial weights."""
        return build(self.config, generator(self.seed, "init"))


class Order(Sampler[int]):
    """Indices of the images of all steps, in our own order, so that peers are compared on the same batches."""

    def __init__(self, work: Work):
        self._work = work

    def __len__(self) -> int:
        return self._work.steps * self._work.batch_size

    def __iter__(self) -> Iterator[int]:
        work, images = self._work, len(self._work.images)
        whole = images // work.batch_size * work.batch_size
        for epoch in range(-(-len(self) // whole)):
            indices = torch.randperm(images, generator=generator(work.seed, "order", epoch))
            yield from indices[: min(whole, len(self) - epoch * whole)].tolist()


def loader(work: Work, setting: Setting) -> DataLoader[Any]:
    """Batches of `(batch, 784)` or `(batch, 1, 28, 28)` images in [0, 1], first in a tuple; one epoch is the run."""
    batches = BatchSampler(Order(work), work.batch_size, drop_last=True)
    options: dict[str, Any] = {"num_workers": setting.workers, "persistent_workers": setting.workers > 0}
    options["generator"] = torch.Generator()  # else each iterator takes a number from the noise's
    if setting.data == "batches":
        return DataLoader(in_memory(work), sampler=batches, batch_size=None, **options)
    dataset = in_memory(work) if setting.data == "tensors" else torchvision_mnist(datasets.data_dir())
    return DataLoader(dataset, batch_sampler=batches, **options)


def in_memory(work: Work) -> Dataset[Any]:
    """The images as floats in [0, 1], converted once."""
    return TensorDataset(work.images.float().div_(255))


def torchvision_mnist(root: Path) -> Dataset[Any]:
    """The training split as torchvision reads it."""
    from torchvision.datasets import MNIST  # seconds, which no other setting should wait for
    from torchvision.transforms import ToTensor

    mnist = MNIST(root, transform=ToTensor())
    return Subset(mnist, range(datasets.NUM_VAL, len(mnist)))


def adam(model: nn.Module, config: TrialConfig, setting: Setting) -> torch.optim.Adam:
    """Adam with the L2 term on the weights only."""
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    others = [p for name, p in model.named_parameters() if not name.endswith("weight")]
    groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": config.l2}, {"params": others}]
    kinds: dict[str, dict[str, Any]] = {"loop": {"foreach": False}, "foreach": {"foreach": True}}
    return torch.optim.Adam(groups, lr=config.learning_rate or 0.0, **kinds.get(setting.adam, {"fused": True}))


@contextmanager
def torchs_own_kernels() -> Iterator[None]:
    """Gives our networks and Eq. 1 the functions that torch has for them, as a peer's user would take."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(ACTIVATIONS, {"elu": "torch.nn.functional:elu"}))
        stack.enter_context(mock.patch.object(losses, "bernoulli_nll_from_logits", _cross_entropy))
        yield


def _cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def batch_loss(model: nn.Module, x: Tensor, config: TrialConfig) -> Tensor:
    """What a step minimises, for a batch as the loader gives it."""
    x = x.flatten(1)  # (batch, 784)
    noise = torch.randn(len(x), config.width) if config.variational else None
    loss, _ = objective(model(x, noise), x, config, torch.tensor(config.beta or 0.0))
    return loss


def train_ours(work: Work, setting: Setting) -> nn.Module:
    """Ours, stepped as `trainables.trial` does; only the precision can be set."""
    config = work.config.model_copy(update={"precision": setting.precision})
    pack = Pack([config], [work.seed], work.images)
    while pack.steps_done < work.steps:
        work.clock.tick()
        pack.step()
    return pack.module(0)


def train_loop(work: Work, setting: Setting) -> nn.Module:
    """The loop that a PyTorch user writes."""
    model, clip = work.model(), work.config.grad_clip or 0.0
    optimizer = adam(model, work.config, setting)
    torch.manual_seed(work.seed)
    for x, *_ in loader(work, setting):
        work.clock.tick()
        with torch.autocast("cpu", torch.bfloat16, enabled=setting.precision == "bf16"):
            loss = batch_loss(model, x, work.config)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), clip, foreach=setting.clip == "foreach")
        optimizer.step()
    return model


def _workers_cpu_seconds() -> float:
    """Processor seconds so far of this process's living children."""
    spent = 0.0
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system time
    return spent
