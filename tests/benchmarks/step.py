"""Measures our training step against its peers, side by side in one run and one thread: `make bench`.

Floor: the step's 17 matrix products alone (6 forward, 5 input gradients, 6 weight gradients), preallocated, each in the
faster of its layouts. Peer: the same network, optimiser, clipping and batch, fed by torchvision's DataLoader with
ToTensor. Rounds are interleaved; each number is the median over rounds. Needs MNIST in STUDY_DATA_DIR.
"""

import argparse
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from trainables import datasets
from trainables.losses import objective
from trainables.models import build
from trainables.pack import Pack, generator
from trainables.schema import TrialConfig

ROUNDS, STEPS = 5, 100
WIDTHS = [(784, 500), (500, 500), (500, 5), (5, 500), (500, 500), (500, 784)]
BATCH = 100
GOALS = {"floor": 1.35, "DataLoader": 1.4}
OUT = Path(__file__).parent / "results" / "step.json"


def products() -> Callable[[], None]:
    """The 17 products of a step, each in the layout that is fastest here."""
    chosen = []
    for layer, (inputs, outputs) in enumerate(WIDTHS):
        shapes = [(BATCH, inputs, outputs), (outputs, BATCH, inputs)]  # forward, weight gradient
        shapes += [(BATCH, outputs, inputs)] * (layer > 0)  # input gradient
        chosen += [_fastest_layout(*shape) for shape in shapes]

    def run() -> None:
        for a, b, out in chosen:
            torch.mm(a, b, out=out)

    return run


def ours(config: TrialConfig, images: Tensor) -> Callable[[], None]:
    """Our step, as a study runs it."""
    return Pack([config], [0], images).step


def with_loader(config: TrialConfig, root: Path) -> Callable[[], None]:
    """The step that a user would write: module, DataLoader, clip_grad_value_, fused Adam."""
    model = build(config, generator(0, "init"))
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    biases = [p for name, p in model.named_parameters() if not name.endswith("weight")]
    groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": config.l2}, {"params": biases}]
    optimizer = torch.optim.Adam(groups, lr=config.learning_rate or 0.0, fused=True)
    loader = DataLoader(MNIST(root, transform=ToTensor()), batch_size=BATCH, shuffle=True, drop_last=True)
    batches = _forever(loader)
    beta = torch.tensor(config.beta or 0.0)

    def step() -> None:
        x = next(batches).flatten(1)
        noise = torch.randn(BATCH, config.latent_dim) if config.variational else None
        loss, _ = objective(model(x, noise), x, config, beta)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), config.grad_clip or 0.0)
        optimizer.step()

    return step


def measure(runs: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Milliseconds per call in each round, the rounds interleaved."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        _seconds(run, STEPS // 5)
    for _ in range(ROUNDS):
        for name, run in runs.items():
            found[name].append(1e3 * _seconds(run, STEPS))
    return found


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="print where our step's time goes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.tensor(datasets.load("mnist").images["train"])
    configs = {"elu": TrialConfig(), "vae": TrialConfig(model="vae")}
    runs = {"floor": products()}
    for name, config in configs.items():
        runs |= {f"ours, {name}": ours(config, images), f"DataLoader, {name}": with_loader(config, datasets.data_dir())}
    rounds = measure(runs)
    medians = {name: statistics.median(values) for name, values in rounds.items()}
    lines = [_line(name, medians) for name in configs]
    shown = Table(
        "network", "floor [ms]", "ours [ms]", "DataLoader [ms]", "ours / floor", "DataLoader / ours", "verdict"
    )
    for line in lines:
        shown.add_row(*(f"{value:.2f}" if isinstance(value, float) else str(value) for value in line.values()))
    Console(width=130).print(shown)
    OUT.parent.mkdir(exist_ok=True)
    machine = {"processor": _processor(), "threads": 1, "torch": torch.__version__, "date": f"{datetime.now(UTC):%F}"}
    OUT.write_text(
        json.dumps({"machine": machine, "goals": GOALS, "results": lines, "rounds_ms": rounds}, indent=2) + "\n"
    )
    if arguments.profile:
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            for _ in range(STEPS):
                runs["ours, elu"]()
        Console(width=130).print(
            profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=14), markup=False
        )


def _line(name: str, medians: dict[str, float]) -> dict[str, float | str]:
    floor, own, peer = medians["floor"], medians[f"ours, {name}"], medians[f"DataLoader, {name}"]
    misses = []
    if own / floor > GOALS["floor"]:
        misses.append(f"floor goal {GOALS['floor']} missed by {own / floor - GOALS['floor']:.2f}")
    if peer / own < GOALS["DataLoader"]:
        misses.append(f"DataLoader goal {GOALS['DataLoader']} missed by {GOALS['DataLoader'] - peer / own:.2f}")
    times: dict[str, float | str] = {"network": name, "floor_ms": floor, "ours_ms": own, "loader_ms": peer}
    return {**times, "to_floor": own / floor, "to_loader": peer / own, "verdict": "; ".join(misses) or "both goals met"}


def _fastest_layout(rows: int, inner: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    out = torch.empty(rows, columns)
    lefts = [torch.randn(rows, inner), torch.randn(inner, rows).T]
    rights = [torch.randn(inner, columns), torch.randn(columns, inner).T]
    pairs = list(itertools.product(lefts, rights))
    seconds = [min(_seconds(partial(torch.mm, a, b, out=out), 20) for _ in range(3)) for a, b in pairs]
    a, b = pairs[seconds.index(min(seconds))]
    return a, b, out


def _forever(loader: DataLoader[Any]) -> Iterator[Tensor]:
    while True:
        for x, _ in loader:
            yield x


def _seconds(run: Callable[[], object], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - started) / times


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
