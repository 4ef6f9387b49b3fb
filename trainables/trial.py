"""Runs a pack of replicates from where they stand to their end: train, evaluate, record, checkpoint, finish.

The worker's whole job, without Ray: `trainables.trainable` wraps it for Ray Tune, `study.launch` calls it inline.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables import checkpoint, metrics
from trainables.checkpoint import Record, Status
from trainables.datasets import Dataset
from trainables.inputs import generator
from trainables.losses import head
from trainables.models import fit_pca
from trainables.pack import Pack
from trainables.progress import Progress
from trainables.schema import COLLAPSED_PIXEL_VARIANCE, METRICS, Replicate, TrialConfig
from trainables.storage import Folder

REPORT_EVERY_S = 1.0
IMAGE_FRACTIONS = (0.2, 0.6, 1.0)
"""Shares of the run at which images are recorded: Fig. 2's 10,000, 30,000 and 50,000 of 50,000 steps."""
BLOCK = 100
"""Test images per block of `profiles`' test_nll_by_block."""
NUM_SAMPLES = 20
NUM_CODES = 2000
GRID = 15
"""Side of the decoded grid of a two-dimensional code."""


@dataclass
class _Member:
    """One replicate on its way: where it writes, and what it has measured."""

    replicate: Replicate
    folder: Folder
    attempt: str
    record: Record
    images: list[np.ndarray]
    status: Status = "running"
    noise: dict[str, Tensor] = field(default_factory=dict)
    """What the evaluation of each split samples z with, once it has been drawn."""


def run(
    replicates: Sequence[Replicate],
    data: Dataset,
    folder: Folder,
    *,
    device: str = "cpu",
    provenance: Mapping[str, Any] | None = None,
    checkpoint_every_s: float = checkpoint.EVERY_S,
) -> Generator[Progress, None, None]:
    """Runs replicates that can share a pack, continuing each from its newest valid checkpoint; ended ones stay so.

    Closing the generator (`close()`) stops at the next report and saves a checkpoint, so that no step is lost.

    Args:
        replicates: With equal `trainables.packing.shared_fields`.
        data: The dataset that the configs name.
        folder: The run's `replicates` folder; each replicate writes into the folder of its hash.
        device: "cpu" or a CUDA device. On a CPU one thread is used, so that the numbers depend on nothing else.
        provenance: Written into each record.
        checkpoint_every_s: Seconds between checkpoints.

    Yields:
        A Progress about once a second and at each end.

    Raises:
        trainables.storage.StorageError: The folder cannot be written.
    """
    if device == "cpu":
        torch.set_num_threads(1)
    images = {key: torch.tensor(value, device=device) for key, value in data.images.items()}
    labels = torch.tensor(data.labels["test"], dtype=torch.long)
    stamp = {"device": _device_name(device), "torch": torch.__version__} | dict(provenance or {})
    yield from _Trial(images, labels, folder, stamp, checkpoint_every_s, len(replicates)).go_on(replicates)


def evaluation_steps(config: TrialConfig) -> list[int]:
    """Steps at which a trial is evaluated: 0, a log-spaced start to 1 % of the run, then equally spaced."""
    steps, evaluations = config.steps or 0, config.evaluations or 1
    start = [base * 10**power for power in range(9) for base in (1, 2, 5)]
    early = {step for step in start if step <= steps / 100}
    regular = {round(steps * index / evaluations) for index in range(evaluations + 1)}
    return sorted({0} | early | regular | set(image_steps(config)))


def image_steps(config: TrialConfig) -> list[int]:
    """Steps at which images and profiles are recorded."""
    return [round((config.steps or 0) * fraction) for fraction in IMAGE_FRACTIONS]


def describe(replicate: Replicate) -> dict[str, Any]:
    """The replicate as it stands in its record."""
    named = {"cell": replicate.cell, "seed": replicate.seed, "data_digest": replicate.data_digest}
    return named | {"config": replicate.config.model_dump(mode="json")}


class _Trial:
    """What the members of a run share: the data, on the device, and how to write."""

    def __init__(
        self,
        images: dict[str, Tensor],
        labels: Tensor,
        folder: Folder,
        stamp: dict[str, Any],
        checkpoint_every_s: float,
        size: int,
    ):
        self.images, self.labels, self.folder, self.stamp = images, labels, folder, stamp
        self.checkpoint_every_s, self.size = checkpoint_every_s, size
        self._saved = self._reported = time.monotonic()
        self.shown = [int((labels == digit).nonzero()[0]) for digit in labels.unique().tolist()]

    def go_on(self, replicates: Sequence[Replicate]) -> Iterator[Progress]:
        """Brings replicates from where they stand to their end; those that stand at one step share a pack."""
        starts: dict[int, list[tuple[_Member, dict[str, np.ndarray]]]] = {}
        for replicate in replicates:
            found = checkpoint.result(self.folder.child(replicate.hash))
            if found is not None:  # by an attempt whose driver did not hear of it
                steps = replicate.config.steps or 1
                yield Progress(steps, steps, self.size, {replicate.hash: found.status})
            elif replicate.config.task == "pca":
                yield self.fit(replicate)
            else:
                step, tensors, member = _resume(replicate, self.folder, self.stamp)
                starts.setdefault(step, []).append((member, tensors))
        for step, group in starts.items():
            yield from self._train_or_split([member for member, _ in group], [tensors for _, tensors in group], step)

    def _train_or_split(
        self, members: list[_Member], tensors: list[dict[str, np.ndarray]], step: int
    ) -> Iterator[Progress]:
        """Trains a pack; one that the device's memory does not hold is halved, and goes on from the checkpoints."""
        try:
            yield from self.train(members, tensors, step)
            return
        except torch.OutOfMemoryError:
            if len(members) == 1:
                raise
        torch.cuda.empty_cache()  # out here, where the error holds the pack no longer
        half = len(members) // 2
        for part in (members[:half], members[half:]):
            yield from self.go_on([member.replicate for member in part if member.status == "running"])

    def train(self, members: list[_Member], tensors: list[dict[str, np.ndarray]], step: int) -> Iterator[Progress]:
        """Trains members that stand at the same step as one pack, to the end."""
        config = members[0].replicate.config
        pack = Pack([m.replicate.config for m in members], [m.replicate.seed for m in members], self.images["train"])
        if step:
            pack.load([{key: torch.tensor(value) for key, value in state.items()} for state in tensors], step)
        evaluated = {row["step"] for row in members[0].record.rows}
        targets = [target for target in evaluation_steps(config) if target >= step and target not in evaluated]
        try:
            for target in targets:
                yield from self._advance(pack, members, target)
                ended = self._evaluate(pack, members)
                if ended:
                    yield self._progress(pack, ended)
                if all(member.status != "running" for member in members):
                    return
        except GeneratorExit:  # stopped from outside
            self._save(pack, members)
            raise

    def _advance(self, pack: Pack, members: list[_Member], target: int) -> Iterator[Progress]:
        """Trains up to the step `target`, reporting and saving on the way."""
        while pack.steps_done < target:
            started = time.perf_counter()
            pack.step()
            save = time.monotonic() - self._saved > self.checkpoint_every_s and pack.steps_done < target
            if save or pack.steps_done == target:
                pack.synchronize()  # a GPU is asked for many steps ahead of those that it has done
            _charge(members, train_s=time.perf_counter() - started)
            if save:
                self._save(pack, members)
            if time.monotonic() - self._reported > REPORT_EVERY_S:
                self._reported = time.monotonic()
                yield self._progress(pack, {})

    def fit(self, replicate: Replicate) -> Progress:
        """The closed-form arm: PCA of the training split."""
        started = time.perf_counter()
        member = _start(replicate, self.folder, self.stamp)
        config = replicate.config
        model, spectrum = fit_pca(self.images["train"], config.latent_dim)
        member.record.train_s = time.perf_counter() - started
        row = self._measure(member, model, 0, record_images=True)
        row |= {"step": 0, "epoch": 0.0}
        member.record.profiles.append([0, "spectrum", spectrum.tolist()])
        _charge([member], evaluate_s=time.perf_counter() - started - member.record.train_s)
        _append(member, row)
        _finish(member, model, "finished")
        return Progress(1, 1, self.size, {replicate.hash: "finished"})

    def _evaluate(self, pack: Pack, members: list[_Member]) -> dict[str, Status]:
        """Evaluates every running member at the pack's step; ends those that are done or diverged."""
        config, step = pack.config, pack.steps_done
        losses, nlls = pack.batch_losses()
        ended: dict[str, Status] = {}
        for index, member in enumerate(members):
            if member.status != "running":
                continue
            started = time.perf_counter()
            row = self._measure(member, pack.module(index), step, record_images=step in image_steps(config))
            row |= {"step": step, "epoch": step * pack.batch_size / len(self.images["train"])}
            row |= {"loss": losses[index].item(), "train_nll": nlls[index].item()}
            _charge([member], evaluate_s=time.perf_counter() - started)
            finite = all(math.isfinite(value) for value in row.values() if value is not None)
            _append(
                member, {key: value if value is None or math.isfinite(value) else None for key, value in row.items()}
            )
            if not finite or step == config.steps:
                member.status = ended[member.replicate.hash] = "finished" if finite else "diverged"
                error = None if finite else f"a value was not finite at step {step}"
                _finish(member, pack.module(index), member.status, error)
        return ended

    def _measure(self, member: _Member, model: nn.Module, step: int, *, record_images: bool) -> dict[str, Any]:
        """Evaluates a model on both splits into the keys of METRICS; records its images and profiles if wanted."""
        config, seed, record = member.replicate.config, member.replicate.seed, member.record
        for split in ("val", "test"):
            if split not in member.noise:
                member.noise[split] = metrics.evaluation_noise(config, seed, split, self.images[split])
        evaluations = {s: metrics.evaluate(model, self.images[s], config, noise) for s, noise in member.noise.items()}
        test = evaluations["test"]
        if not record.rows:
            record.profiles += self._references
            self._keep(member, step, "input", self.images["test"][self.shown])
        if record_images and all(math.isfinite(value) for value in test.values.values() if value is not None):
            record.profiles += [
                [step, "test_nll_by_label", metrics.by_group(test.nll, self.labels)],
                [step, "test_nll_by_block", test.nll.reshape(-1, BLOCK).mean(1).tolist()],
                [step, "code_variance", test.code_variance.tolist()],
                [step, "kl_per_latent", test.kl_per_latent.tolist()],
            ]
            shown = self.images["test"][self.shown]
            self._keep(member, step, "reconstruction", metrics.reconstruct(model, shown, config))
            if config.variational:
                self._keep(member, step, "sample", _samples(model, config, seed, shown.device))
            if config.latent_dim == 2:
                self._record_plane(member, model, step)
        return {f"{split}_{name}": value for split, e in evaluations.items() for name, value in e.values.items()}

    @cached_property
    def _references(self) -> list[list[Any]]:
        test = self.images["test"]
        return [
            [0, "test_nll_floor", [metrics.entropy_floor(test)]],
            [0, "test_nll_mean_image", [metrics.mean_image_nll(test, self.images["train"])]],
        ]

    def _record_plane(self, member: _Member, model: nn.Module, step: int) -> None:
        """For a two-dimensional code: codes of test images, and images decoded on a grid over them."""
        config = member.replicate.config
        with torch.no_grad():
            codes = model(self.images["test"][:NUM_CODES].float() / 255).mu
            low, high = codes.quantile(0.01, dim=0), codes.quantile(0.99, dim=0)
            axes = [torch.linspace(float(low[axis]), float(high[axis]), GRID) for axis in range(2)]
            grid = torch.cartesian_prod(*axes).to(codes.device)
            self._keep(member, step, "grid", metrics.to_grey(head(model.decoder(grid), config.output)))  # type: ignore[operator]
        member.record.profiles += [
            *([step, f"code_{axis}", codes[:, axis].tolist()] for axis in range(2)),
            *([step, f"grid_axis_{axis}", axes[axis].tolist()] for axis in range(2)),
            [step, "code_label", self.labels[:NUM_CODES].float().tolist()],
        ]

    def _keep(self, member: _Member, step: int, kind: str, images: Tensor) -> None:
        member.record.images += [[step, kind, index, None, None] for index in range(len(images))]
        member.images.append(images.cpu().numpy())

    def _save(self, pack: Pack, members: list[_Member]) -> None:
        for index, member in enumerate(members):
            if member.status == "running":
                tensors = _to_numpy(pack.state(index)) | {"images": np.concatenate(member.images)}
                checkpoint.write_checkpoint(member.folder, member.attempt, pack.steps_done, tensors, member.record)
        self._saved = time.monotonic()

    def _progress(self, pack: Pack, ended: dict[str, Status]) -> Progress:
        return Progress(pack.steps_done, pack.config.steps or 0, self.size, ended)


def _start(replicate: Replicate, folder: Folder, stamp: dict[str, Any]) -> _Member:
    record = Record(describe(replicate), provenance=stamp)
    return _Member(replicate, folder.child(replicate.hash), uuid.uuid4().hex[:8], record, [])


def _resume(replicate: Replicate, folder: Folder, stamp: dict[str, Any]) -> tuple[int, dict[str, np.ndarray], _Member]:
    member = _start(replicate, folder, stamp)
    found = checkpoint.read_checkpoint(member.folder)
    if found is None:
        return 0, {}, member
    step, tensors, member.record = found
    member.images = [tensors.pop("images")]
    return step, tensors, member


def _append(member: _Member, row: dict[str, Any]) -> None:
    collapsed = row["test_pixel_variance"] is not None and row["test_pixel_variance"] < COLLAPSED_PIXEL_VARIANCE
    metric_values = {name: row.get(name) for name in METRICS}
    clock = {"train_s": round(member.record.train_s, 3), "evaluate_s": round(member.record.evaluate_s, 3)}
    at = {"step": row["step"], "epoch": row["epoch"], "collapsed": collapsed}
    member.record.rows.append(at | metric_values | clock)


def _finish(member: _Member, model: nn.Module, status: Status, error: str | None = None) -> None:
    images, weights = np.concatenate(member.images), _to_numpy(dict(model.named_parameters()))
    checkpoint.finish(member.folder, member.attempt, status, member.record, images=images, weights=weights, error=error)


def _to_numpy(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}  # () stays ()


def _charge(members: Sequence[_Member], *, train_s: float = 0.0, evaluate_s: float = 0.0) -> None:
    """Adds seconds to the members' records, shared equally between those of a pack."""
    for member in members:
        member.record.train_s += train_s / len(members)
        member.record.evaluate_s += evaluate_s / len(members)


def _samples(model: nn.Module, config: TrialConfig, seed: int, device: torch.device) -> Tensor:
    """Images decoded from the prior, uint8 `(NUM_SAMPLES, 784)`."""
    z = torch.randn(NUM_SAMPLES, config.latent_dim, generator=generator(seed, "samples")).to(device)
    with torch.no_grad():
        return metrics.to_grey(head(model.decoder(z), config.output))  # type: ignore[operator]


def _device_name(device: str) -> str:
    return "cpu" if device == "cpu" else torch.cuda.get_device_name(device)
