"""A pack on a GPU: `python -m tests.benchmarks.gpu`, some minutes. Needs torch, numpy and MNIST in STUDY_DATA_DIR.

Measures the captured step of one member against the eager one, 64 members against 16 concurrent eager processes with a
DataLoader each, the step's distance to the memory roofline, what TF32 and bf16 do to the loss, and growth. Where
pydantic and the rest of the package are installed, also whole studies by `study launch --runner inline`.
`--device cpu --quick` runs all of it with few members and steps, to see that it works.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from tests.benchmarks.lines import Line, finish, seconds, table
from trainables import metrics
from trainables.batches import generator
from trainables.cuda_graph import WARM_UP
from trainables.losses import objective
from trainables.models import build
from trainables.pack import Pack

NUM_TRAIN = 55_000
BYTES_PER_WEIGHT = 32
"""Read and written at least once a step, in float32: the weight, its gradient and Adam's two moments."""
LATENT = """
name: latent-timing
seeds: 5
base: {dataset: mnist, precision: tf32}
grid: {latent_dim: [1, 2, 3, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200]}
arms: {linear: {activation: linear}, elu: {activation: elu}, vae: {model: vae}}
"""


@dataclass(frozen=True)
class Settings:
    """The fields of TrialConfig that a pack and its evaluation read, for a machine without pydantic."""

    task: str = "train"
    latent_dim: int = 5
    model: str = "autoencoder"
    activation: str = "elu"
    hidden_dims: tuple[int, ...] = (500, 500)
    output: str = "sigmoid"
    likelihood: str = "bernoulli"
    init: str = "he"
    learning_rate: float = 5e-4
    learning_rate_schedule: str = "constant"
    batch_size: int = 100
    l2: float = 1e-5
    grad_clip: float = 5.0
    weight_dropout: float = 0.0
    input: str = "grey"
    input_noise: float = 0.0
    precision: str = "fp32"
    beta: float | None = None
    kl_warmup_steps: int | None = None
    posterior: str | None = None

    @property
    def variational(self) -> bool:
        """Whether the model has a posterior; the ones measured here have none."""
        return False

    @property
    def width(self) -> int:
        """`latent_dim`, as in TrialConfig."""
        return self.latent_dim


class Size(NamedTuple):
    """How much is measured: members, steps of a timing, steps of a training, eager processes, their seconds."""

    members: int
    steps: int
    trained: int
    processes: int
    peer_s: float


def pack_of(members: int, images: Tensor, **fields: Any) -> Pack:
    """A warm pack of the paper's ELU auto-encoder, seeds 0 ... members - 1."""
    pack = Pack([cast(Any, Settings(**fields))] * members, list(range(members)), images)
    for _ in range(WARM_UP + 2):
        pack.step()
    return pack


def say(what: str) -> None:
    """Tells at once what was measured, or is being measured: a lent GPU may be taken back before the end."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def step_seconds(pack: Pack, steps: int, *, eager: bool = False) -> float:
    """Seconds of a step: captured where there is a GPU, or eager."""

    def run() -> None:
        for _ in range(steps):
            if eager:
                pack.inputs.prepare(pack.steps_done)
                pack._update()
                pack.steps_done += 1
            else:
                pack.step()
        pack.synchronize()

    found = min(seconds(run) for _ in range(3)) / steps
    name = f"{len(pack.seeds)} members, N = {pack.config.width}, {pack.config.precision}"
    say(f"{'eager' if eager else 'captured'} step of {name}: {1e6 * found:,.0f} µs")
    return found


def peers_per_second(images: Tensor, size: Size) -> float:
    """Steps a second, all together, of concurrent processes that each train eagerly from a DataLoader."""
    say(f"{size.processes} eager processes")
    context = multiprocessing.get_context("spawn")
    barrier, counts = context.Barrier(size.processes), context.Queue()
    arguments = (images.cpu().numpy(), str(images.device), size.peer_s, barrier, counts)
    workers = [context.Process(target=_eager_peer, args=(*arguments, seed)) for seed in range(size.processes)]
    for worker in workers:
        worker.start()
    total = sum(counts.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join()
    return float(total / size.peer_s)


def _eager_peer(images: np.ndarray, device: str, limit_s: float, barrier: Any, counts: Any, seed: int) -> None:
    """One process: the same network, Adam and clipping, eager, its batches from a DataLoader over memory."""
    torch.set_num_threads(1)
    config = cast(Any, Settings())
    model = build(config, generator(seed, "init")).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    loader = DataLoader(TensorDataset(torch.tensor(images)), batch_size=100, shuffle=True, drop_last=True)
    beta, count = torch.zeros((), device=device), 0

    def step(batch: Tensor) -> None:
        x = batch.to(device).float() / 255
        loss, _ = objective(model(x, None), x, config, beta)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), config.grad_clip)
        optimizer.step()

    step(next(iter(loader))[0])
    barrier.wait()
    started = _now(device)
    while _now(device, wait=False) - started < limit_s:
        for (batch,) in loader:
            step(batch)
            count += 1
            if _now(device, wait=False) - started > limit_s:
                break
    counts.put(count * limit_s / (_now(device) - started))


def copy_bandwidth(device: torch.device, megabytes: int) -> float:
    """Bytes a second that a copy within the device's memory moves, read and written both counted."""
    source = torch.empty(megabytes * 250_000, device=device)
    target = torch.empty_like(source)

    def run() -> None:
        for _ in range(10):
            target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    run()
    return 10 * 2 * source.nbytes / min(seconds(run) for _ in range(5))


def test_nll(images: dict[str, Tensor], precision: str, size: Size) -> float:
    """Test NLL after training, in nats per image: the mean over the pack's seeds."""
    pack = pack_of(min(size.members, 5), images["train"], precision=precision)
    while pack.steps_done < size.trained:
        pack.step()
    say(f"{pack.steps_done:,} steps of {len(pack.seeds)} members in {precision}")
    test = images["test"]
    noise = torch.empty(len(test), 0, device=test.device)
    found = [metrics.evaluate(pack.module(i), test, pack.config, noise).values["nll"] for i in range(len(pack.seeds))]
    return float(np.mean([value for value in found if value is not None]))


def step_lines(images: dict[str, Tensor], size: Size) -> list[Line]:
    """The lines of the step: captured against eager, against concurrent processes, against the roofline."""
    train, members = images["train"], size.members
    one = pack_of(1, train)
    eager, captured = step_seconds(one, size.steps, eager=True), step_seconds(one, size.steps)
    times = {p: step_seconds(pack_of(members, train, precision=p), size.steps) for p in ("fp32", "tf32", "bf16")}
    bandwidth = copy_bandwidth(train.device, 1000 if train.is_cuda else 10)
    weights = members * sum(parameter.numel() for parameter in one.parameters.values())
    roofline = weights * BYTES_PER_WEIGHT / bandwidth
    peers, ours = peers_per_second(train, size), members / times["tf32"]
    told = ", ".join(f"{p} {1e6 * t:,.0f} µs" for p, t in times.items())
    against = f"{members} members in tf32 / {size.processes} eager processes, member-steps per second"
    note = f"{told}; roofline {1e6 * roofline:,.0f} µs at {bandwidth / 1e12:.2f} TB/s"
    return [
        Line("one member: eager / captured step", eager / captured, "times", 5, "more", f"{1e6 * captured:,.0f} µs"),
        Line(against, ours / peers, "times", 20, "more", f"{ours:,.0f} against {peers:,.0f}"),
        Line(f"{members} members in tf32: step / its roofline", times["tf32"] / roofline, "times", 2, note=note),
    ]


def precision_lines(images: dict[str, Tensor], size: Size) -> list[Line]:
    """What TF32 and bf16 do to the test NLL."""
    nll = {p: test_nll(images, p, size) for p in ("fp32", "tf32", "bf16")}
    lines = []
    for low in ("tf32", "bf16"):
        note = f"{size.trained:,} steps, {nll[low]:.2f} against {nll['fp32']:.2f}"
        gap = abs(nll[low] - nll["fp32"])
        lines.append(Line(f"{low}: difference of the test NLL to fp32", gap, "nats", 0.5, note=note))
    return lines


def growth(train: Tensor, size: Size) -> dict[str, list[list[float]]]:
    """Seconds of a step against members and against N."""
    counts = [m for m in (1, 2, 4, 8, 16, 32, 64, 128) if m <= 2 * size.members]
    wide = [pack_of(size.members, train, latent_dim=n) for n in (1, 8, 64, 512)]
    return {
        "members": [[m, step_seconds(pack_of(m, train), size.steps)] for m in counts],
        "N": [[pack.config.width, step_seconds(pack, size.steps)] for pack in wide],
    }


def study_line(what: str, spec: str, goal: float) -> Line:
    """Wall seconds of a whole study by `study launch --runner inline`, all its start-up included."""
    missing = [name for name in ("pydantic", "typer", "safetensors", "pyarrow") if not importlib.util.find_spec(name)]
    if missing or not torch.cuda.is_available():
        why = f"{', '.join(missing)} missing" if missing else "no CUDA device"
        return Line(what, None, "s", goal, note=why)
    code = "from study.cli.app import main; main()"
    with tempfile.TemporaryDirectory() as folder:
        command = ["launch", spec, "--runner", "inline", "--device", "cuda", "--run", f"{folder}/run"]
        wall = seconds(lambda: subprocess.run([sys.executable, "-c", code, *command], check=True))
    return Line(what, wall, "s", goal, note=f"study {' '.join(command[:5])}")


def load_images(device: torch.device) -> dict[str, Tensor]:
    """MNIST's 55,000 training and 10,000 test images, uint8 `(n, 784)`, on the device."""
    raw = Path(os.environ["STUDY_DATA_DIR"]) / "MNIST" / "raw"
    found = {}
    for split, name in (("train", "train-images-idx3-ubyte"), ("test", "t10k-images-idx3-ubyte")):
        plain = raw / name
        content = plain.read_bytes() if plain.is_file() else gzip.decompress((raw / f"{name}.gz").read_bytes())
        pixels = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 784)
        found[split] = torch.tensor(pixels[-NUM_TRAIN:], device=device)
    return found


def main() -> None:
    """Measures, prints the lines and, on a GPU, writes `results/gpu.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="few members and steps: to see that it works")
    parser.add_argument("--no-studies", action="store_true", help="the step alone, not the two whole studies")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("No CUDA device here: results/gpu.json stays as it was. The command is ready for a machine with one.")
        return
    device = torch.device(arguments.device)
    images = load_images(device)
    if arguments.quick:
        torch.set_num_threads(1)
        quick = Size(2, 1, 2, 1, 0.2)
        print(table([*step_lines(images, quick), *precision_lines(images, quick)]))
        return
    size = Size(64, 300, 10_000, 16, 10.0)
    lines = [*step_lines(images, size), *precision_lines(images, size)]
    if not arguments.no_studies:
        lines += [study_line("the whole `paper` study, 5 seeds, 50,000 steps", "paper", 60)]
        with tempfile.TemporaryDirectory() as folder:
            spec = Path(folder) / "latent.yaml"
            spec.write_text(LATENT)
            lines += [study_line("14 values of N, three models, 5 seeds, 50,000 steps", str(spec), 300)]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    finish("gpu", lines, {"device": name, "growth": growth(images["train"], size)})


def _now(device: str, *, wait: bool = True) -> float:
    if wait and device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
