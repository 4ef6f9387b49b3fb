"""The course of a trial: a pack of replicates is trained, evaluated, measured and saved, from where each is to its end.

A worker's whole job, without Ray: `trainables.ray_trainable` wraps it for Ray Tune, `study.run.inline` calls it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from trainables import checkpoint
from trainables.datasets import Dataset
from trainables.models import fit_pca, restore
from trainables.numerics import numerics
from trainables.pack import Pack
from trainables.recorder import Data, Member, all_finite, charge, measure
from trainables.records import Progress, Status
from trainables.registry import MEASUREMENTS
from trainables.schema import Replicate
from trainables.storage import Folder

REPORT_EVERY_S = 1.0


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
    """Runs replicates that can share a pack, each from its newest valid checkpoint; ended ones are not trained again.

    Then measures those that have finished and lack a measurement.

    Closing the generator (`close()`) stops at the next report and saves a checkpoint, so that no step is lost.

    Args:
        replicates: With equal `trainables.pack_key.pack_key`.
        data: The dataset that the configs name.
        folder: The run's `replicates` folder; each replicate writes into the folder of its hash.
        device: "cpu" or a CUDA device. On a CPU one thread is used, so that the numbers depend on nothing else.
        provenance: Written into each record.
        checkpoint_every_s: Seconds between checkpoints.
        measurements: Names in MEASUREMENTS and CURVES.
        pauses: Evaluated steps at which the trial saves checkpoints and yields the rows, so that the caller may close
            the generator there.

    Yields:
        A Progress about once a second, at each pause and at each end.

    Raises:
        trainables.storage.StorageError: The folder cannot be written.
    """
    if device == "cpu":
        torch.set_num_threads(1)
    numbers = numerics(device) + (" in a pack" if len(replicates) > 1 else "")
    name = "cpu" if device == "cpu" else torch.cuda.get_device_name(device)
    stamp = {"device": name, "numerics": numbers, "torch": torch.__version__} | dict(provenance or {})
    trial = _Trial(
        data=Data.on(device, data),
        folder=folder,
        stamp=stamp,
        checkpoint_every_s=checkpoint_every_s,
        members=len(replicates),
        measurements=measurements,
        pauses=pauses,
    )
    yield from trial.run(replicates)


@dataclass(kw_only=True)
class _Trial:
    """The arguments of `run` that all members share, and the times of its last checkpoint and its last report.

    `stamp`: the provenance of the members' records.
    """

    data: Data
    folder: Folder
    stamp: dict[str, Any]
    checkpoint_every_s: float
    members: int
    measurements: Sequence[str]
    pauses: Collection[int]
    _saved: float = field(default_factory=time.monotonic)
    _reported: float = field(default_factory=time.monotonic)
    _saved_step: int = 0

    def run(self, replicates: Sequence[Replicate]) -> Iterator[Progress]:
        """Brings replicates to their end. A pack that the device's memory does not hold goes on as two halves."""
        untrained = []
        for replicate in replicates:
            ended = checkpoint.result(self._folder(replicate))  # by an attempt whose driver did not hear of it
            if ended is None and replicate.config.task == "train":
                untrained.append(replicate)
                continue
            yield self.fit(replicate) if ended is None else self._end(replicate, ended.status)
            yield from self.examine(replicate)
        packs = self._packs(untrained)
        while packs:
            members = packs.pop(0)
            try:
                yield from self.train(members)
                continue
            except torch.OutOfMemoryError:
                if len(members) == 1:
                    raise
            torch.cuda.empty_cache()  # out here, where the error holds the pack no longer
            left = [member.replicate for member in members if member.status == "running"]
            half = len(left) // 2
            packs = self._packs(left[:half]) + self._packs(left[half:]) + packs

    def train(self, members: list[Member]) -> Iterator[Progress]:
        """Trains members that are at the same step as one pack, to the end; reports each end and each pause."""
        pack = self._pack(members)
        evaluated = set.intersection(*({row["step"] for row in member.record.rows} for member in members))
        for step in sorted(evaluated & set(self.pauses)):  # the driver may have died before it got these rows
            yield self._progress(pack, rows=_rows(members, step))
        targets = [step for step in pack.config.evaluation_steps if step >= pack.steps_done and step not in evaluated]
        with self._saved_on_exit(pack, members):
            while targets:
                if pack.steps_done < targets[0]:
                    self.step(pack, members, targets[0])
                    if self._report_is_due():
                        yield self._progress(pack)
                    continue
                paused = targets.pop(0) in self.pauses
                ended = self.evaluate(pack, members)
                running = [member for member in members if member.status == "running"]
                if running and (ended or paused):
                    self.save(pack, members)  # before the driver hears of it and may stop the others
                if ended or paused:
                    yield self._progress(pack, ended, _rows(running, pack.steps_done) if paused else {})
                for member in ended:
                    yield from self.examine(member.replicate)
                if not running:
                    return

    def step(self, pack: Pack, members: list[Member], target: int) -> None:
        """Trains one step towards the next evaluation, and saves checkpoints when they are due."""
        started = time.perf_counter()
        pack.step()
        due = time.monotonic() - self._saved > self.checkpoint_every_s and pack.steps_done < target
        if due or pack.steps_done == target:
            pack.synchronize()  # a GPU is many steps behind its queue
        charge(members, train_s=time.perf_counter() - started)
        if due:
            self.save(pack, members)

    def evaluate(self, pack: Pack, members: list[Member]) -> list[Member]:
        """Evaluates every running member at the pack's step; returns those that end there, done or diverged."""
        step = pack.steps_done
        losses, nlls = (values.tolist() for values in pack.batch_losses())
        ended = []
        for index, member in enumerate(members):
            if member.status != "running":
                continue
            started = time.perf_counter()
            model = pack.module(index)
            row = member.evaluate(model, step, record_images=step in pack.config.image_steps)
            row |= {"step": step, "epoch": step * pack.batch_size / len(self.data.images["train"])}
            row |= {"loss": losses[index], "train_nll": nlls[index]}
            member.follow(model, step, self.measurements)
            charge([member], evaluate_s=time.perf_counter() - started)
            member.append(row)
            diverged = not all_finite(row.values())
            if diverged or step == pack.config.steps:
                error = f"a value was not finite at step {step}" if diverged else None
                member.finish(model, "diverged" if diverged else "finished", error)
                ended.append(member)
        return ended

    def save(self, pack: Pack, members: list[Member]) -> None:
        """Writes a checkpoint of each running member."""
        for index, member in enumerate(members):
            if member.status == "running":
                member.save(pack.steps_done, pack.state(index))
        self._saved, self._saved_step = time.monotonic(), pack.steps_done

    def fit(self, replicate: Replicate) -> Progress:
        """Does a task without steps: PCA of the training split, or an estimate of its dimension."""
        started = time.perf_counter()
        member = self._start(replicate)
        config, images = replicate.config, self.data.images["train"]
        row: dict[str, Any] = {"step": 0, "epoch": 0.0}
        model = None
        if config.task == "pca":
            model, spectrum = fit_pca(images, config.width)
            member.record.train_s = time.perf_counter() - started
            row |= member.evaluate(model, 0, record_images=True)
            member.note(0, {"spectrum": spectrum.tolist()})
        else:
            from trainables import intrinsic_dimension  # loads scikit-learn, which no other trial needs

            points = intrinsic_dimension.subsample(config, replicate.seed, images, self.data.labels.get("train"))
            member.note(0, intrinsic_dimension.estimate(points, replicate.seed))
        charge([member], evaluate_s=time.perf_counter() - started - member.record.train_s)
        member.append(row)
        member.finish(model, "finished")
        return self._end(replicate, "finished")

    def examine(self, replicate: Replicate) -> Iterator[Progress]:
        """Makes the measurements that a finished replicate lacks, from its weights."""
        wanted = [name for name in self.measurements if name in MEASUREMENTS]
        folder, data = self._folder(replicate), self.data
        ended = checkpoint.result(folder) if wanted else None
        missing = [] if ended is None else checkpoint.unmeasured(folder, ended, wanted)
        if ended is None or not missing:
            return
        weights = checkpoint.read_weights(folder, ended)
        model = restore(replicate.config, weights, data.shape).to(data.images["test"].device)
        subject = data.subject(model, replicate)
        for name in missing:
            record, images = measure(subject, name, replicate, self.stamp)
            checkpoint.write_measurement(folder, ended, name, record, images)
            yield self._end(replicate, None)

    def _folder(self, replicate: Replicate) -> Folder:
        return self.folder.child(replicate.hash)

    def _start(self, replicate: Replicate) -> Member:
        return Member.start(replicate, self.data, self._folder(replicate), self.stamp)

    def _packs(self, replicates: Sequence[Replicate]) -> list[list[Member]]:
        """Resumes replicates; those at one step share a pack.

        In a search all seeds of a trial must reach a pause together, so all restart from the step of the slowest.
        """
        members = [self._start(replicate) for replicate in replicates]
        for member in members:
            member.resume()
        slowest = min((member.step for member in members), default=0)
        packs: dict[int, list[Member]] = {}
        for member in members:
            if self.pauses and member.step > slowest:
                member.resume(at_most=slowest)
            packs.setdefault(member.step, []).append(member)
        return [pack for _, pack in sorted(packs.items())]

    def _pack(self, members: list[Member]) -> Pack:
        """Builds the networks of a pack, in the state of their members' checkpoints."""
        configs, seeds = zip(*((member.replicate.config, member.replicate.seed) for member in members), strict=True)
        pack = Pack(configs, seeds, self.data.images["train"], self.data.shape)
        if members[0].step:
            states = [{name: torch.tensor(array) for name, array in member.state.items()} for member in members]
            pack.load(states, members[0].step)
        for member in members:
            member.state = {}
        self._saved_step = pack.steps_done
        return pack

    @contextlib.contextmanager
    def _saved_on_exit(self, pack: Pack, members: list[Member]) -> Iterator[None]:
        """Saves checkpoints where the caller closes the generator."""
        try:
            yield
        except GeneratorExit:
            if pack.steps_done != self._saved_step:
                self.save(pack, members)
            raise

    def _report_is_due(self) -> bool:
        now = time.monotonic()
        if now - self._reported <= REPORT_EVERY_S:
            return False
        self._reported = now
        return True

    def _progress(
        self, pack: Pack, ended: Sequence[Member] = (), rows: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Progress:
        statuses = {member.replicate.hash: member.status for member in ended}
        return Progress(pack.steps_done, pack.config.steps or 0, self.members, statuses, rows or {})

    def _end(self, replicate: Replicate, status: Status | None) -> Progress:
        """The report on a replicate at its last step: its end, or without a status a measurement after it."""
        steps = replicate.config.steps or 1
        return Progress(steps, steps, self.members, {} if status is None else {replicate.hash: status})


def _rows(members: Sequence[Member], step: int) -> dict[str, dict[str, Any]]:
    """The members' rows of a step, by hash."""
    return {member.replicate.hash: row for member in members for row in member.record.rows if row["step"] == step}
