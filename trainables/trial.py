"""Runs a pack of replicates from where they stand to their end: train, evaluate, record, checkpoint, finish.

The worker's whole job, without Ray: `trainables.ray_trainable` wraps it for Ray Tune, `study.run.inline` calls it.
"""

from __future__ import annotations

import pkgutil
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables import checkpoint, metrics
from trainables.batches import generator, shown_images
from trainables.datasets import Dataset
from trainables.losses import decoder_mean
from trainables.measurements.subject import Subject
from trainables.models import fit_pca, restore
from trainables.numerics import numerics
from trainables.pack import Pack
from trainables.recorder import NO_IMAGES, Member, all_finite, charge, finite
from trainables.records import ImageKey, Profile, Progress, Record, Status
from trainables.registry import CURVES, MEASUREMENTS
from trainables.schema import Replicate, TrialConfig
from trainables.storage import Folder

REPORT_EVERY_S = 1.0
BLOCK = 100
"""Test images per block of `profiles`' test_nll_by_block; a rest that fills none is left out."""
NUM_SAMPLES = 20
NUM_CODES = 2000
GRID = 15
"""Side of the decoded grid of a two-dimensional code."""


def run(
    replicates: Sequence[Replicate],
    data: Dataset,
    folder: Folder,
    *,
    device: str = "cpu",
    provenance: Mapping[str, Any] | None = None,
    checkpoint_every_s: float = checkpoint.EVERY_S,
    measurements: Sequence[str] = (),
    pauses: Collection[int] = (),
) -> Generator[Progress, None, None]:
    """Runs replicates that can share a pack, continuing each from its newest valid checkpoint; ended ones stay so.

    Then measures those that have finished, and have not been measured so.

    Closing the generator (`close()`) stops at the next report and saves a checkpoint, so that no step is lost.

    Args:
        replicates: With equal `trainables.schema.pack_key`.
        data: The dataset that the configs name.
        folder: The run's `replicates` folder; each replicate writes into the folder of its hash.
        device: "cpu" or a CUDA device. On a CPU one thread is used, so that the numbers depend on nothing else.
        provenance: Written into each record.
        checkpoint_every_s: Seconds between checkpoints.
        measurements: Names in MEASUREMENTS and CURVES.
        pauses: Evaluated steps at which checkpoints are saved, and what was measured there is yielded, so that whoever
            listens may close the generator there.

    Yields:
        A Progress about once a second, at each pause and at each end.

    Raises:
        trainables.storage.StorageError: The folder cannot be written.
    """
    if device == "cpu":
        torch.set_num_threads(1)
    images = {key: torch.tensor(value, device=device) for key, value in data.images.items()}
    labels = {key: torch.tensor(value, dtype=torch.long, device=device) for key, value in data.labels.items()}
    own = {"device": _device_name(device), "numerics": numerics(device), "torch": torch.__version__}
    if len(replicates) > 1:
        own["numerics"] += " in a pack"
    stamp = own | dict(provenance or {})
    trial = _Trial(images, labels, folder, stamp, checkpoint_every_s, len(replicates), measurements, pauses)
    yield from trial.go_on(replicates)


class _Trial:
    """What the members of a run share: the data, on the device, and how to write."""

    def __init__(
        self,
        images: dict[str, Tensor],
        labels: dict[str, Tensor],
        folder: Folder,
        stamp: dict[str, Any],
        checkpoint_every_s: float,
        size: int,
        measurements: Sequence[str],
        pauses: Collection[int],
    ):
        self.pauses = pauses
        self.images, self.labels, self.folder, self.stamp = images, labels, folder, stamp
        self.checkpoint_every_s, self.size, self.measurements = checkpoint_every_s, size, measurements
        self._saved = self._reported = time.monotonic()
        self.shown = [int((labels["test"] == digit).nonzero()[0]) for digit in labels["test"].unique().tolist()]

    def go_on(self, replicates: Sequence[Replicate]) -> Iterator[Progress]:
        """Brings replicates from where they stand to their end; those that stand at one step share a pack.

        If somebody listens at pauses, all go back to the step of the last one, so that they come to a pause together.
        """
        begun: list[tuple[int, Member, dict[str, np.ndarray]]] = []
        for replicate in replicates:
            found = checkpoint.result(self.folder.child(replicate.hash))
            if found is not None:  # by an attempt whose driver did not hear of it
                steps = replicate.config.steps or 1
                yield Progress(steps, steps, self.size, {replicate.hash: found.status})
                yield from self.examine(replicate)
            elif replicate.config.task != "train":
                yield self.fit(replicate)
                yield from self.examine(replicate)
            else:
                member = Member.start(replicate, self.folder, self.stamp)
                step, tensors = member.resume()
                begun.append((step, member, tensors))
        last = min((step for step, _, _ in begun), default=0)
        starts: dict[int, list[tuple[Member, dict[str, np.ndarray]]]] = {}
        for step, member, tensors in begun:
            if self.pauses and step > last:
                step, tensors = member.resume(at_most=last)
            starts.setdefault(step, []).append((member, tensors))
        for step, group in sorted(starts.items()):
            yield from self._train_or_split([member for member, _ in group], [tensors for _, tensors in group], step)

    def _train_or_split(
        self, members: list[Member], tensors: list[dict[str, np.ndarray]], step: int
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

    def train(self, members: list[Member], tensors: list[dict[str, np.ndarray]], step: int) -> Iterator[Progress]:
        """Trains members that stand at the same step as one pack, to the end."""
        config = members[0].replicate.config
        pack = Pack([m.replicate.config for m in members], [m.replicate.seed for m in members], self.images["train"])
        if step:
            pack.load([{key: torch.tensor(value) for key, value in state.items()} for state in tensors], step)
        evaluated = set.intersection(*({row["step"] for row in member.record.rows} for member in members))
        saved_at = step
        for past in sorted(evaluated & set(self.pauses)):  # an attempt before this one may not have been heard
            yield self._progress(pack, {}, _rows(members, past))
        targets = [target for target in config.evaluation_steps if target >= step and target not in evaluated]
        try:
            for target in targets:
                yield from self._advance(pack, members, target)
                ended = self._evaluate(pack, members)
                if ended and any(member.status == "running" for member in members):
                    self._save(pack, members)  # whoever hears of the end may stop the others
                    saved_at = target
                if ended:
                    yield self._progress(pack, ended)
                for member in members:
                    if member.replicate.hash in ended:
                        yield from self.examine(member.replicate)
                if all(member.status != "running" for member in members):
                    return
                if target in self.pauses:
                    self._save(pack, members)
                    saved_at = target
                    yield self._progress(pack, {}, _rows(members, target))
        except GeneratorExit:  # stopped from outside
            if pack.steps_done != saved_at:
                self._save(pack, members)
            raise

    def _advance(self, pack: Pack, members: list[Member], target: int) -> Iterator[Progress]:
        """Trains up to the step `target`, reporting and saving on the way."""
        while pack.steps_done < target:
            started = time.perf_counter()
            pack.step()
            save = time.monotonic() - self._saved > self.checkpoint_every_s and pack.steps_done < target
            if save or pack.steps_done == target:
                pack.synchronize()  # a GPU is asked for many steps ahead of those that it has done
            charge(members, train_s=time.perf_counter() - started)
            if save:
                self._save(pack, members)
            if time.monotonic() - self._reported > REPORT_EVERY_S:
                self._reported = time.monotonic()
                yield self._progress(pack, {})

    def fit(self, replicate: Replicate) -> Progress:
        """What has no steps: PCA of the training split, or an estimate of its dimension."""
        started = time.perf_counter()
        member = Member.start(replicate, self.folder, self.stamp)
        config, row, model = replicate.config, {"step": 0, "epoch": 0.0}, None
        if config.task == "pca":
            model, spectrum = fit_pca(self.images["train"], config.width)
            member.record.train_s = time.perf_counter() - started
            row |= self._measure(member, model, 0, record_images=True)
            member.note(0, {"spectrum": spectrum.tolist()})
        else:
            from trainables import intrinsic_dimension as dimension  # loads scikit-learn, which no other trial needs

            points = _subsample(config, replicate.seed, self.images["train"], self.labels["train"])
            member.note(0, dimension.estimate(points, replicate.seed))
        charge([member], evaluate_s=time.perf_counter() - started - member.record.train_s)
        member.append(row)
        member.finish(model, "finished")
        return Progress(1, 1, self.size, {replicate.hash: "finished"})

    def examine(self, replicate: Replicate) -> Iterator[Progress]:
        """Makes the measurements that are wanted of a finished replicate and have not been made, from its weights."""
        wanted = [name for name in self.measurements if name in MEASUREMENTS]
        folder, steps = self.folder.child(replicate.hash), replicate.config.steps or 0
        found = checkpoint.result(folder) if wanted else None
        missing = [] if found is None else checkpoint.unmeasured(folder, found, wanted)
        if found is None or not missing:
            return
        weights, _ = checkpoint.decode(folder.read(found.weights or ""))
        model = restore(replicate.config, weights).to(self.images["test"].device)
        subject = Subject(model, replicate.config, replicate.seed, self.images, self.labels)
        for name in missing:
            started = time.perf_counter()
            measured = pkgutil.resolve_name(MEASUREMENTS[name])(subject)
            seconds = {f"{name}_s": [round(time.perf_counter() - started, 3)]}
            record = Record(replicate.described(), provenance=self.stamp)
            for quantity, values in (dict(measured.profiles) | seconds).items():
                record.profiles.append(Profile(steps, quantity, list(map(finite, values))))
            record.images = [ImageKey(steps, *place) for *place, _ in measured.images]
            pixels = [image.cpu().numpy() for *_, image in measured.images]
            stacked = np.stack(pixels) if pixels else NO_IMAGES
            checkpoint.write_measurement(folder, found, name, record, stacked)
            yield Progress(max(steps, 1), max(steps, 1), self.size, {})

    def _evaluate(self, pack: Pack, members: list[Member]) -> dict[str, Status]:
        """Evaluates every running member at the pack's step; ends those that are done or diverged."""
        config, step = pack.config, pack.steps_done
        losses, nlls = (values.tolist() for values in pack.batch_losses())
        ended: dict[str, Status] = {}
        for index, member in enumerate(members):
            if member.status != "running":
                continue
            started = time.perf_counter()
            model = pack.module(index)
            row = self._measure(member, model, step, record_images=step in config.image_steps)
            row |= {"step": step, "epoch": step * pack.batch_size / len(self.images["train"])}
            row |= {"loss": losses[index], "train_nll": nlls[index]}
            self._follow(member, model, step)
            charge([member], evaluate_s=time.perf_counter() - started)
            member.append(row)
            diverged = not all_finite(row.values())
            if diverged or step == config.steps:
                error = f"a value was not finite at step {step}" if diverged else None
                member.finish(model, "diverged" if diverged else "finished", error)
                ended[member.replicate.hash] = member.status
        return ended

    def _measure(self, member: Member, model: nn.Module, step: int, *, record_images: bool) -> dict[str, Any]:
        """Evaluates a model on both splits into the keys of METRICS; records its images and profiles if wanted."""
        config, seed = member.replicate.config, member.replicate.seed
        for split in ("val", "test"):
            if split not in member.noise:
                member.noise[split] = metrics.evaluation_noise(config, seed, split, self.images[split])
                member.shown[split] = shown_images(config, seed, split, self.images[split])
        evaluations = {
            split: metrics.evaluate(model, self.images[split], config, noise, member.shown[split])
            for split, noise in member.noise.items()
        }
        test = evaluations["test"]
        if not member.record.rows:
            member.note(0, self._references)
            member.keep(step, "input", self.images["test"][self.shown])
        if record_images and all_finite(test.values.values()):
            member.note(
                step,
                {
                    "test_nll_by_label": metrics.by_group(test.nll, self.labels["test"]),
                    "test_nll_by_block": test.nll[: len(test.nll) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(1).tolist(),
                    "code_variance": test.code_variance.tolist(),
                    "kl_per_latent": test.kl_per_latent.tolist(),
                },
            )
            shown = member.shown["test"][self.shown]
            member.keep(step, "reconstruction", metrics.reconstruct(model, shown, config))
            if config.variational:
                member.keep(step, "sample", _samples(model, config, seed, shown.device))
            if config.latent_dim == 2:
                self._record_plane(member, model, step)
        return {f"{split}_{name}": value for split, e in evaluations.items() for name, value in e.values.items()}

    def _follow(self, member: Member, model: nn.Module, step: int) -> None:
        """Makes the measurements that are taken while a network trains."""
        replicate = member.replicate
        subject = Subject(model, replicate.config, replicate.seed, self.images, self.labels)
        for name in filter(CURVES.__contains__, self.measurements):
            measured = pkgutil.resolve_name(CURVES[name])(subject)
            member.note(step, measured.profiles)

    @cached_property
    def _references(self) -> dict[str, list[float]]:
        test = self.images["test"]
        return {
            "test_nll_floor": [metrics.entropy_floor(test)],
            "test_nll_mean_image": [metrics.mean_image_nll(test, self.images["train"])],
        }

    def _record_plane(self, member: Member, model: nn.Module, step: int) -> None:
        """For a two-dimensional code: codes of test images, and images decoded on a grid over them."""
        config = member.replicate.config
        with torch.no_grad():
            codes = model(member.shown["test"][:NUM_CODES].float() / 255).mu
            low, high = codes.quantile(0.01, dim=0), codes.quantile(0.99, dim=0)
            axes = [torch.linspace(float(low[axis]), float(high[axis]), GRID) for axis in range(2)]
            grid = torch.cartesian_prod(*axes).to(codes.device)
            member.keep(step, "grid", metrics.to_grey(decoder_mean(model.decoder(grid), config)))  # type: ignore[operator]
        profiles = {f"code_{axis}": codes[:, axis].tolist() for axis in range(2)}
        profiles |= {f"grid_axis_{axis}": axes[axis].tolist() for axis in range(2)}
        member.note(step, profiles | {"code_label": self.labels["test"][:NUM_CODES].float().tolist()})

    def _save(self, pack: Pack, members: list[Member]) -> None:
        for index, member in enumerate(members):
            if member.status == "running":
                member.save(pack.steps_done, pack.state(index))
        self._saved = time.monotonic()

    def _progress(
        self, pack: Pack, ended: dict[str, Status], rows: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Progress:
        return Progress(pack.steps_done, pack.config.steps or 0, self.size, ended, rows or {})


def _rows(members: Sequence[Member], step: int) -> dict[str, dict[str, Any]]:
    """What the running members measured at a step, by hash."""
    return {
        member.replicate.hash: row
        for member in members
        if member.status == "running"
        for row in member.record.rows
        if row["step"] == step
    }


def _subsample(config: TrialConfig, seed: int, images: Tensor, labels: Tensor) -> Tensor:
    """The points of an `intrinsic_dimension` trial: training images of a class or of all, `(sample_size, 784)`."""
    pool = images if config.digit is None else images[labels == config.digit]
    size = config.sample_size or 0
    if size > len(pool):
        raise ValueError(f"`sample_size <= {len(pool)}` (the images there are) must hold, but got {size}.")
    chosen = torch.randperm(len(pool), generator=generator(seed, "subsample"))[:size]
    return pool[chosen.to(pool.device)].float() / 255


def _samples(model: nn.Module, config: TrialConfig, seed: int, device: torch.device) -> Tensor:
    """Images decoded from the prior, uint8 `(NUM_SAMPLES, 784)`."""
    z = torch.randn(NUM_SAMPLES, config.width, generator=generator(seed, "samples")).to(device)
    with torch.no_grad():
        return metrics.to_grey(decoder_mean(model.decoder(z), config))  # type: ignore[operator]


def _device_name(device: str) -> str:
    return "cpu" if device == "cpu" else torch.cuda.get_device_name(device)
