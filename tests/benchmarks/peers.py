"""Measures our training against what a user would do instead, on the same work: `python -m tests.benchmarks.peers`.

Peers of one process: a plain PyTorch loop with a DataLoader, Lightning's Trainer, pythae's BaseTrainer. Of two: a Ray
Tune function trainable. Each is tried in several settings (SETTINGS) and compared in its best one, in rounds of a seed
each, two processes at a time as in a study. All train the same network from the same init on the same batches in the
same order, one thread a process; a VAE's noise is each one's own. Peers take torch's own ELU and cross-entropy, as
their users would; with our kernels they are lines of their own.

The quantity is training steps per second and core, steps / (wall x cores): a process has one core and one more for each
worker of its DataLoader; under Ray both trials together have the two cores that Ray was given. The first steps are not
counted, nor imports, reading the data, the ends of epochs, evaluation and saving. The detail adds the processor time.
Needs MNIST in STUDY_DATA_DIR; `make bench` installs Lightning and pythae.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import logging
import multiprocessing
import os
import pkgutil
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from tests.benchmarks.lines import Line, finish
from tests.benchmarks.peers_work import Clock, Setting, Work, torchs_own_kernels
from tests.benchmarks.step import shares
from trainables import datasets, metrics
from trainables.numerics import has_native_bf16
from trainables.pack import Pack
from trainables.schema import TrialConfig

GOAL, BF16_GOAL, LOSS_GOAL, BF16_LOSS_GOAL = 1.2, 1.4, 1.0, 0.5
"""The least ratios in fp32, and with bf16 where the processor has it; the largest differences of the loss, in nats."""
SEEDS, RAY_ROUNDS = 3, 2
STEPS, RAY_STEPS, SEARCH_STEPS, WARM_UP = 500, 200, 60, 15
MODELS = {"autoencoder": "ELU", "vae": "VAE"}
OURS = "ours"
BF16, OUR_KERNELS = ", bf16", ", our kernels"
"""The endings of a peer's name where it trains in bf16, and where it is given our kernels."""
TRAINERS = {
    OURS: "tests.benchmarks.peers_work:train_ours",
    "plain loop": "tests.benchmarks.peers_work:train_loop",
    "Lightning": "tests.benchmarks.peers_lightning:train",
    "pythae": "tests.benchmarks.peers_pythae:train",
}
PACKAGES = {"Lightning": "lightning", "pythae": "pythae"}
TUTORIAL = Setting("torchvision", adam="loop")
"""What a tutorial has: torchvision's MNIST, and Adam as it comes."""
SETTINGS: dict[str, list[Setting]] = {
    OURS: [Setting()],
    OURS + BF16: [Setting(precision="bf16")],
    "plain loop": [
        TUTORIAL,
        *(Setting(data, workers) for data in ("torchvision", "batches") for workers in range(3)),
        *(Setting("tensors"), Setting("tensors", workers=1)),
        *(Setting(adam="loop"), Setting(adam="foreach"), Setting(clip="loop")),
    ],
    "Lightning": [
        *(Setting(data, mode="barebones") for data in ("torchvision", "tensors", "batches")),
        *(Setting(adam="loop", mode="barebones"), Setting(adam="foreach", mode="barebones")),
        *(Setting(workers=1, mode="barebones"), Setting(), Setting(mode="manual")),
    ],
    "pythae": [
        *(Setting("tensors", workers, mode="own loader") for workers in range(2)),
        *(Setting("torchvision"), Setting("tensors"), Setting(), Setting(workers=1)),
        *(Setting(adam="loop"), Setting(adam="foreach")),
    ],
    "plain loop" + BF16: [Setting(precision="bf16"), Setting("tensors", precision="bf16")],
    "Lightning" + BF16: [Setting(adam="foreach", precision="bf16", mode="barebones")],
    "plain loop" + OUR_KERNELS: [Setting(kernels="ours"), Setting("tensors", kernels="ours")],
    "Lightning" + OUR_KERNELS: [Setting(kernels="ours", mode="barebones")],
}
"""The settings in which each is tried, by name."""


@dataclass(frozen=True)
class Task:
    """One run of one peer."""

    peer: str
    model: str
    seed: int
    steps: int
    setting: Setting
    evaluated: bool


@dataclass(frozen=True)
class Result:
    """What a run gave; `error`: why it did not run.

    Milliseconds per step: `step_ms` of the wall clock, `cpu_ms` of the training process's processor, `workers_ms` of
    its workers' processors.
    """

    step_ms: float = float("inf")
    cpu_ms: float = float("inf")
    workers_ms: float = 0.0
    nll: float | None = None
    error: str = ""


def measure(task: Task) -> Result:
    """Trains, in the process that calls it."""
    config, images = TrialConfig(model=task.model), _images()
    clock = Clock(WARM_UP, task.steps)
    train: Callable[[Work, Setting], nn.Module] = pkgutil.resolve_name(TRAINERS[_tool(task.peer)])
    own = task.peer.startswith(OURS) or task.setting.kernels == "ours"
    try:
        with nullcontext() if own else torchs_own_kernels():
            model = train(Work(config, task.seed, task.steps, images["train"], clock), task.setting)
    except Exception as error:  # noqa: BLE001 (a peer that does not run with today's torch is a result)
        return Result(error=f"{type(error).__name__}: {error}")
    nll = None
    if task.evaluated:
        noise = metrics.evaluation_noise(config, task.seed, "test", images["test"])
        nll = metrics.evaluate(model, images["test"], config, noise).values["nll"]
    return Result(1e3 * clock.step_s, 1e3 * clock.step_cpu_s, 1e3 * clock.workers_cpu_s, nll)


def products_share() -> float:
    """The share of our step's time that is in its matrix products."""
    return shares(Pack([TrialConfig()], [0], _images()["train"]).step)["matrix products"]


def run(pool: ProcessPoolExecutor, tasks: Sequence[Task]) -> dict[Task, Result]:
    """Runs tasks of one process two at a time, in their order, and then those with workers one at a time."""
    light = [task for task in tasks if task.setting.cores == 1]
    found = dict(zip(light, pool.map(measure, light), strict=True))
    heavy = [task for task in tasks if task.setting.cores > 1]
    return found | {task: pool.submit(measure, task).result() for task in heavy}


def best_settings(found: Mapping[Task, Result]) -> dict[str, Setting]:
    """The setting of least cost, processor time of a step x cores, for each peer that runs.

    Were a peer never kept waiting, by its workers or by what else runs here, that would be its wall x cores.
    """
    best: dict[str, tuple[float, Setting]] = {}
    for task, result in found.items():
        cost = result.cpu_ms * task.setting.cores
        if not result.error and (task.peer not in best or cost < best[task.peer][0]):
            best[task.peer] = (cost, task.setting)
    return {peer: setting for peer, (_, setting) in best.items()}


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS, help="of a run in the rounds [%(default)s]")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="rounds [%(default)s]")
    arguments = parser.parse_args()
    os.environ["STUDY_DATA_DIR"] = str(datasets.data_dir().resolve())
    os.environ["TQDM_DISABLE"] = "1"  # pythae's progress bar cannot be left out otherwise
    marks = [time.perf_counter()]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"), initializer=_prepare) as pool:
        searched = search(pool)
        marks.append(time.perf_counter())
        rounds = compare(pool, best_settings(searched), arguments.seeds, arguments.steps)
        share = pool.submit(products_share).result()
        marks.append(time.perf_counter())
    under_ray = _under_ray(best_settings(searched)["plain loop"])
    marks.append(time.perf_counter())
    took = dict(zip(("settings", "rounds", "Ray"), (b - a for a, b in itertools.pairwise(marks)), strict=True))
    detail: dict[str, Any] = {
        "settings tried": _listed(searched),
        "rounds": _listed(rounds),
        "Ray": under_ray,
        "seconds": took,
    }
    detail["share of matrix products in our step"] = share
    finish("peers", all_lines(searched, rounds, under_ray, share), detail)


def search(pool: ProcessPoolExecutor) -> dict[Task, Result]:
    """Every setting of every peer that is installed, on the auto-encoder; ours beside them."""
    native = has_native_bf16()
    installed = [
        peer
        for peer in SETTINGS
        if importlib.util.find_spec(PACKAGES.get(_tool(peer), "torch")) and (native or not peer.endswith(BF16))
    ]
    tasks = [Task(peer, "autoencoder", 0, SEARCH_STEPS, s, False) for peer in installed for s in SETTINGS[peer]]
    return run(pool, tasks)


def compare(pool: ProcessPoolExecutor, best: Mapping[str, Setting], seeds: int, steps: int) -> dict[Task, Result]:
    """Every peer in its best setting and ours, in rounds of a seed each."""
    return run(pool, [Task(p, m, seed, steps, best[p], True) for seed in range(seeds) for m in MODELS for p in best])


def all_lines(
    searched: Mapping[Task, Result],
    rounds: Mapping[Task, Result],
    under_ray: Sequence[Mapping[str, Any]],
    share: float,
) -> list[Line]:
    """What was measured, against the goals."""
    lines = [line for model in MODELS for line in _lines(model, rounds, under_ray, share)]
    missing = [peer for peer in SETTINGS if peer not in best_settings(searched)]
    return [*lines, _tutorial(searched), *(_absent(peer, searched) for peer in missing)]


def _under_ray(setting: Setting) -> list[dict[str, Any]]:
    """Rounds of one ELU and one VAE trial at a time, in the first also with workers."""
    from tests.benchmarks import peers_ray  # Ray takes seconds to import

    found = []
    for index in range(RAY_ROUNDS):
        settings = [setting] if index else [setting, replace(setting, workers=1)]
        steps_s, walls = peers_ray.compare(list(MODELS), settings, RAY_STEPS, _images()["train"].numpy())
        found.append({"step_s": steps_s, "wall_s": walls, "steps": RAY_STEPS})
    return found


def _lines(
    model: str, rounds: Mapping[Task, Result], under_ray: Sequence[Mapping[str, Any]], share: float
) -> Iterable[Line]:
    """The lines of one model."""
    name = MODELS[model]
    cost: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    for task, result in rounds.items():
        if task.model == model:
            cost.setdefault(task.peer, []).append(result.step_ms * task.setting.cores)
            cpu.setdefault(task.peer, []).append(result.cpu_ms + result.workers_ms)
    ours = statistics.median(cost[OURS])
    yield Line(f"ours, {name}", 1e3 / ours, "steps/s/core", note=_range([1e3 / c for c in cost[OURS]]))

    def against(own: str, peer: str, what: str = "", goal: float | None = None, why: str = "") -> Line:
        """The line of a peer against ours, by the median of the rounds."""
        times = statistics.median(cost[peer]) / statistics.median(cost[own])
        ratios = [theirs / mine for theirs, mine in zip(cost[peer], cost[own], strict=True)]
        setting = next(str(task.setting) for task in rounds if task.peer == peer)
        by_cpu = statistics.median(cpu[peer]) / statistics.median(cpu[own])
        note = f"{setting}; {_range(ratios)}; by processor time {by_cpu:.2f}{why}"
        return Line(f"{own} / {peer}{what}, {name}", times, "times", goal, "more", note)

    peers = sorted((peer for peer in cost if not peer.startswith(OURS)), key=lambda peer: statistics.median(cost[peer]))
    as_they_are = [peer for peer in peers if not peer.endswith(OUR_KERNELS)]
    fp32, *others = [peer for peer in as_they_are if not peer.endswith(BF16)]
    bound = statistics.median(cost[fp32]) / (share * ours)
    why = f"; {share:.0%} of our step is matrix products: without anything else it would be {bound:.2f}"
    yield against(OURS, fp32, ", the best peer of one process in fp32", GOAL, why)
    yield from (against(OURS, peer) for peer in others)
    yield from (against(OURS, peer) for peer in peers if peer.endswith(OUR_KERNELS))
    if OURS + BF16 in cost:
        yield against(OURS + BF16, as_they_are[0], ", the best peer in any precision", BF16_GOAL)
        yield from (against(OURS + BF16, peer) for peer in as_they_are[1:] if peer.endswith(BF16))
    yield _ray_line(model, under_ray)
    yield from _loss_lines(model, rounds)


def _ray_line(model: str, rounds: Sequence[Mapping[str, Any]]) -> Line:
    by_setting: dict[str, list[float]] = {}
    for found in rounds:
        for setting, steps_s in found["step_s"].items():
            by_setting.setdefault(setting, []).append(1 / steps_s[model])
    ours = by_setting.pop(OURS)
    setting, theirs = max(by_setting.items(), key=lambda item: statistics.median(item[1]))
    note = f"{setting}; ours {statistics.median(ours):.1f}, peer {statistics.median(theirs):.1f} steps/s/core"
    ratio = statistics.median(ours) / statistics.median(theirs)
    return Line(f"ours / Ray function trainable, two trials, {MODELS[model]}", ratio, "times", GOAL, "more", note)


def _loss_lines(model: str, rounds: Mapping[Task, Result]) -> Iterable[Line]:
    """Yields the largest differences to our test NLL in fp32, by seed: of a peer in fp32, and of ours in bf16.

    An auto-encoder's runs differ by rounding only. A VAE's peers draw another noise than ours, as another seed would.
    """
    nlls: dict[str, list[float]] = {}
    for task, result in rounds.items():
        if task.model == model and result.nll is not None:
            nlls.setdefault(task.peer, []).append(result.nll)
    ours = nlls.pop(OURS)
    apart = {peer: [theirs - own for theirs, own in zip(nlls[peer], ours, strict=True)] for peer in nlls}
    steps = max(task.steps for task in rounds)

    def line(peer: str, what: str, goal: float) -> Line:
        note = f"{steps} steps, {len(ours)} seeds; {peer} - ours: {statistics.mean(apart[peer]):.2g}"
        if len(ours) > 1:
            error = statistics.stdev(apart[peer]) / len(ours) ** 0.5
            note += f" on average, standard error {error:.2g}; sd over our seeds {statistics.stdev(ours):.2g}"
        if TrialConfig(model=model).variational and peer != OURS + BF16:
            note += "; not the same noise"
        return Line(f"test NLL, {what}, {MODELS[model]}", max(map(abs, apart[peer])), "nats", goal, note=note)

    peer = max((p for p in apart if not p.endswith(BF16)), key=lambda name: max(map(abs, apart[name])))
    yield line(peer, "largest difference to a peer", LOSS_GOAL)
    if OURS + BF16 in apart:
        yield line(OURS + BF16, "largest difference of ours in bf16 to fp32", BF16_LOSS_GOAL)


def _absent(peer: str, searched: Mapping[Task, Result]) -> Line:
    errors = {result.error for task, result in searched.items() if task.peer == peer}
    return Line(f"ours / {peer}", None, "times", note="; ".join(sorted(errors)) or "install it with `make bench`")


def _tutorial(searched: Mapping[Task, Result]) -> Line:
    ours = next(result for task, result in searched.items() if task.peer == OURS)
    theirs = next(result for task, result in searched.items() if task.setting == TUTORIAL)
    note = f"{TUTORIAL}; by processor time, one run"
    return Line("ours / plain loop as in a tutorial, ELU", theirs.cpu_ms / ours.cpu_ms, "times", note=note)


def _listed(found: Mapping[Task, Result]) -> list[dict[str, Any]]:
    """Every run with its numbers, for the JSON."""
    rows = []
    for task, result in found.items():
        row = {"peer": task.peer, "model": task.model, "seed": task.seed, "steps": task.steps}
        row |= {"setting": str(task.setting), "cores": task.setting.cores}
        if result.error:
            rows.append(row | {"error": result.error})
            continue
        times = {"step_ms": result.step_ms, "cpu_ms": result.cpu_ms, "workers_cpu_ms": result.workers_ms}
        rate = 1e3 / (result.step_ms * task.setting.cores)
        rows.append(row | times | {"nll": result.nll, "steps/s/core": round(rate, 2)})
    return rows


def _range(values: Sequence[float]) -> str:
    return f"rounds {min(values):.3g} to {max(values):.3g}"


def _tool(peer: str) -> str:
    """The key of TRAINERS behind a name in SETTINGS."""
    return peer.removesuffix(BF16).removesuffix(OUR_KERNELS)


def _prepare() -> None:
    """Of each process of the pool."""
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # of DataLoader's workers, as in a script of one's own
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")  # Lightning's advice


@cache
def _images() -> dict[str, Tensor]:
    return {split: torch.tensor(images) for split, images in datasets.load("mnist").images.items()}


if __name__ == "__main__":
    main()
