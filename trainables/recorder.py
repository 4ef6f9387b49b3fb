"""The recorder of a replicate: its metrics, profiles and images at a step, its checkpoints and its end."""

from __future__ import annotations

import math
import pkgutil
import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import starmap
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables import checkpoint, metrics
from trainables.batches import generator, shown_images
from trainables.datasets import Dataset
from trainables.losses import decoder_mean
from trainables.measurements.subject import Measured, Subject, examples
from trainables.metrics import to_grey, to_unit
from trainables.numerics import continued
from trainables.quantities import IMAGE_KINDS, QUANTITIES
from trainables.records import ImageKey, Profile, Record, Status
from trainables.registry import CURVES, MEASUREMENTS
from trainables.schema import COLLAPSED_PIXEL_VARIANCE, METRICS, Replicate
from trainables.shape import Shape
from trainables.storage import Folder

BLOCK = 100
"""How many test images a block of `test_nll_by_block` holds; a rest that fills none is left out."""
NUM_SAMPLES = 20
"""How many images are decoded from the prior."""
NUM_CODES = 2000
"""How many test images a two-dimensional code is recorded of."""
GRID = 15
"""How many lines the grid over a two-dimensional code has along each axis."""


@dataclass(frozen=True)
class Data:
    """A dataset on the device: by split, images, uint8 `(n, pixels)`, and labels, int64 `(n,)`, where it has any."""

    images: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    shape: Shape

    @classmethod
    def on(cls, device: str, dataset: Dataset) -> Data:
        """Copies a dataset to a device."""
        images = {split: torch.tensor(array, device=device) for split, array in dataset.images.items()}
        labels = {split: torch.tensor(a, dtype=torch.long, device=device) for split, a in dataset.labels.items()}
        return cls(images, labels, dataset.shape)

    @cached_property
    def examples(self) -> list[int]:
        """The test images whose reconstructions are recorded."""
        return examples(self.labels, len(self.images["test"]))

    def subject(self, model: nn.Module, replicate: Replicate) -> Subject:
        """A replicate's network with this data, to be measured."""
        return Subject(model, replicate.config, replicate.seed, self.images, self.labels, self.shape)

    @cached_property
    def references(self) -> dict[str, list[float]]:
        """Profiles that the data alone decides."""
        test = self.images["test"]
        return {
            "test_nll_floor": [metrics.entropy_floor(test)],
            "test_nll_mean_image": [metrics.mean_image_nll(test, self.images["train"])],
        }


@dataclass
class Member:
    """A pack's member: a replicate, the attempt that writes into its folder, its record, and its images.

    `images`: uint8 `(n, pixels)` each; `step`, `state`: of the checkpoint that it goes on from.
    """

    replicate: Replicate
    data: Data
    folder: Folder
    attempt: str
    record: Record
    images: list[np.ndarray] = field(default_factory=list)
    status: Status = "running"
    step: int = 0
    state: dict[str, np.ndarray] = field(default_factory=dict)
    _noise: dict[str, Tensor] = field(default_factory=dict)
    _shown: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(cls, replicate: Replicate, data: Data, folder: Folder, stamp: dict[str, Any]) -> Member:
        """A new attempt at a replicate, in its folder; `stamp` is the record's provenance."""
        record = Record(replicate.described(), provenance=stamp, shape=data.shape)
        return cls(replicate, data, folder, uuid.uuid4().hex[:8], record)

    def resume(self, at_most: int | None = None) -> None:
        """Goes on from the newest valid checkpoint, of a step up to `at_most` if that is given; else from the start."""
        self.step, self.state, self.images = 0, {}, []
        stamp = self.record.provenance
        self.record = Record(self.replicate.described(), provenance=stamp, shape=self.data.shape)
        newest = checkpoint.read_checkpoint(self.folder, at_most)
        if newest is not None:
            self.step, self.state, self.record = newest
            self.record.provenance = continued(self.record.provenance, stamp)
            self.images = [self.state.pop("images")]

    def evaluate(self, model: nn.Module, step: int, *, record_images: bool) -> dict[str, Any]:
        """Evaluates a model on both splits into the keys of METRICS; records its images and profiles if wanted."""
        evaluations = {split: self._evaluate(model, split) for split in ("val", "test")}
        test = evaluations["test"]
        if not self.record.rows:
            self.note(0, self.data.references)
            self.keep(step, "input", self.data.images["test"][self.data.examples])
        if record_images and all_finite(test.values.values()):
            count = len(test.nll) // BLOCK
            blocks = test.nll[: count * BLOCK].reshape(count, BLOCK).mean(1)
            self.note(step, {"test_nll_by_block": blocks.tolist(), "code_variance": test.code_variance.tolist()})
            self.note(step, {"kl_per_latent": test.kl_per_latent.tolist()})
            self._record_images(model, step)
        return {f"{split}_{name}": value for split, e in evaluations.items() for name, value in e.values.items()}

    def follow(self, model: nn.Module, step: int, measurements: Iterable[str]) -> None:
        """Makes the measurements in CURVES, which are taken while a network trains."""
        subject = self.data.subject(model, self.replicate)
        for name in filter(CURVES.__contains__, measurements):
            self.note(step, _taken(CURVES, name, subject).profiles)

    def append(self, row: Mapping[str, Any]) -> None:
        """Records an evaluation: `step`, `epoch` and METRICS, of which those that are absent or not finite are null."""
        values = {name: finite(row.get(name)) for name in METRICS}
        variance = values["test_pixel_variance"]
        collapsed = variance is not None and variance < COLLAPSED_PIXEL_VARIANCE
        clock = {"train_s": round(self.record.train_s, 3), "evaluate_s": round(self.record.evaluate_s, 3)}
        self.record.rows.append({"step": row["step"], "epoch": row["epoch"], "collapsed": collapsed} | values | clock)

    def note(self, step: int, profiles: Mapping[str, Sequence[float]]) -> None:
        """Records values by quantity; those that are not finite are null."""
        self.record.profiles += [Profile(step, name, list(map(finite, values))) for name, values in profiles.items()]

    def keep(self, step: int, kind: str, images: Tensor) -> None:
        """Records images, uint8 `(n, pixels)`."""
        self.record.images += [ImageKey(step, kind, index, None, None) for index in range(len(images))]
        self.images.append(images.cpu().numpy())

    def save(self, step: int, state: dict[str, Tensor]) -> None:
        """Writes a checkpoint."""
        tensors = _to_numpy(state) | {"images": np.concatenate(self.images)}
        checkpoint.write_checkpoint(self.folder, self.attempt, step, tensors, self.record)

    def finish(self, model: nn.Module | None, status: Status, error: str | None = None) -> None:
        """Writes the result, with the model's weights where there is one."""
        self.status = status
        images = np.concatenate([_no_images(self.data.shape), *self.images])
        weights = None if model is None else _to_numpy(dict(model.named_parameters()))
        checkpoint.finish(self.folder, self.attempt, status, self.record, images=images, weights=weights, error=error)

    def _evaluate(self, model: nn.Module, split: str) -> metrics.Evaluation:
        """Evaluates a split with the noise and the inputs that are the same at every step."""
        config, seed, images = self.replicate.config, self.replicate.seed, self.data.images[split]
        if split not in self._noise:
            self._noise[split] = metrics.evaluation_noise(config, seed, split, images)
            self._shown[split] = shown_images(config, seed, split, images)
        return metrics.evaluate(model, images, config, self._noise[split], self._shown[split])

    def _record_images(self, model: nn.Module, step: int) -> None:
        """Records reconstructions; of a VAE samples; of a two-dimensional code its plane."""
        config = self.replicate.config
        self.keep(step, "reconstruction", metrics.reconstruct(model, self._shown["test"][self.data.examples], config))
        if config.variational:
            z = torch.randn(NUM_SAMPLES, config.width, generator=generator(self.replicate.seed, "samples"))
            self.keep(step, "sample", self._draw(model, z))
        if config.latent_dim == 2:
            self._record_plane(model, step)

    @torch.no_grad()
    def _record_plane(self, model: nn.Module, step: int) -> None:
        """Records codes of test images, and images decoded on a grid over them, of a two-dimensional code."""
        codes = model(to_unit(self._shown["test"][:NUM_CODES])).mu
        low, high = codes.quantile(0.01, dim=0), codes.quantile(0.99, dim=0)
        axes = [torch.linspace(float(low[axis]), float(high[axis]), GRID) for axis in range(2)]
        self.keep(step, "grid", self._draw(model, torch.cartesian_prod(*axes)))
        profiles = {f"code_{axis}": codes[:, axis].tolist() for axis in range(2)}
        profiles |= {f"grid_axis_{axis}": axes[axis].tolist() for axis in range(2)}
        if self.data.labels:
            profiles["code_label"] = self.data.labels["test"][:NUM_CODES].float().tolist()
        self.note(step, profiles)

    @torch.no_grad()
    def _draw(self, model: nn.Module, codes: Tensor) -> Tensor:
        """Mean images at codes `(n, N)` on the CPU, uint8 `(n, pixels)`."""
        decoded = model.decoder(codes.to(self.data.images["test"].device))  # type: ignore[operator]
        return to_grey(decoder_mean(decoded, self.replicate.config))


def measure(subject: Subject, name: str, replicate: Replicate, stamp: dict[str, Any]) -> tuple[Record, np.ndarray]:
    """Makes a measurement in MEASUREMENTS of a network.

    Returns:
        A record of its profiles, its seconds among them, and its images' keys; and the images, uint8 `(n, pixels)`.
    """
    started = time.perf_counter()
    measured = _taken(MEASUREMENTS, name, subject)
    seconds = {f"{name}_s": [round(time.perf_counter() - started, 3)]}
    step, shape = replicate.config.steps or 0, subject.shape
    record = Record(replicate.described(), provenance=stamp, shape=shape)
    for quantity, values in (dict(measured.profiles) | seconds).items():
        record.profiles.append(Profile(step, quantity, list(map(finite, values))))
    record.images = [ImageKey(step, kind, index, axis, value) for kind, index, axis, value, _ in measured.images]
    drawn = [image.cpu().numpy()[None] for *_, image in measured.images]
    return record, np.concatenate([_no_images(shape), *drawn])


def charge(members: Sequence[Member], *, train_s: float = 0.0, evaluate_s: float = 0.0) -> None:
    """Adds seconds to the members' records, shared equally between those of a pack."""
    for member in members:
        member.record.train_s += train_s / len(members)
        member.record.evaluate_s += evaluate_s / len(members)


def _taken(registry: Mapping[str, str], name: str, subject: Subject) -> Measured:
    """The result of a measurement, such as a user's own.

    Raises:
        ValueError: It is no Measured of numbers, or has a name that another measurement records.
    """
    result: object = pkgutil.resolve_name(registry[name])(subject)
    if not isinstance(result, Measured) or not all(starmap(_is_profile, dict(result.profiles).items())):
        raise ValueError(
            f"`{name}` must return a Measured, of lists of numbers by name (of a tensor its .tolist()), but got "
            f"{' '.join(repr(result).split()):.200}."
        )
    recorders = {quantity: QUANTITIES[quantity].by for quantity in result.profiles if quantity in QUANTITIES}
    recorders |= {kind: IMAGE_KINDS[kind].by for kind, *_ in result.images if kind in IMAGE_KINDS}
    if others := {key: by for key, by in recorders.items() if by != name}:
        taken, by = next(iter(others.items()))
        raise ValueError(f"`{name}` must use names of its own, but {taken!r} is recorded by `{by}`: use another one.")
    return result


def _is_profile(quantity: object, values: object) -> bool:
    """Whether a quantity's name is text and its values are numbers or None."""
    if not (isinstance(quantity, str) and isinstance(values, Collection)):
        return False
    return all(one is None or isinstance(one, int | float) for one in values)


def finite(value: float | None) -> float | None:
    """The value, or None where it is not finite: tables hold no NaN."""
    return value if value is not None and math.isfinite(value) else None


def all_finite(values: Iterable[float | None]) -> bool:
    """Whether every value is finite or None."""
    return all(math.isfinite(value) for value in values if value is not None)


def _no_images(shape: Shape) -> np.ndarray:
    return np.empty((0, shape.pixels), np.uint8)


def _to_numpy(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}  # () stays ()
