"""The training step on a CPU: against its bare matrix products, against torch.compile, and in bf16.

Floor: the step's 17 matrix products alone (6 forward, 5 input gradients, 6 weight gradients), preallocated, each in the
faster of its layouts. All in one thread and one run, rounds interleaved, in processor time; a ratio is the median of
the rounds' ratios.
Needs MNIST in STUDY_DATA_DIR. The accuracy of bf16 is read from results/precision (`study launch precision`).
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from study.run.ray_cluster import HUGE_PAGES
from study.table import load_tables
from tests.benchmarks.lines import Line, finish, processor_seconds
from trainables import datasets
from trainables.losses import objective
from trainables.numerics import has_native_bf16
from trainables.pack import Pack
from trainables.schema import TrialConfig

ROUNDS, STEPS = 25, 10
WIDTHS = [(784, 500), (500, 500), (500, 5), (5, 500), (500, 500), (500, 784)]
BATCH = 100
PRECISION_RUN = Path(__file__).parents[2] / "results" / "precision"
PARTS = {
    "matrix products": ("mm", "addmm"),
    "Adam": ("_fused_adam_",),
    "ELU, forward and backward": ("exp_", "elu_backward", "_Elu", "_EluBackward"),
    "gradient clipping": ("clamp_",),
    "loss": ("sigmoid", "log_", "addcmul_", "rsub", "_BernoulliNll", "_BernoulliNllBackward"),
}
"""Operators of a profile by what they do; all others are launching, copying and autograd's own work."""


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


def compiled(config: TrialConfig, images: Tensor) -> Callable[[], None]:
    """The same step with its forward and backward pass through torch.compile, which needs a C++ compiler."""
    pack = Pack([config], [0], images)

    @torch.compile
    def loss_of(x: Tensor, beta: Tensor) -> Tensor:
        return objective(pack.members[0](x, None), x, config, beta)[0]

    def step() -> None:
        pack.inputs.prepare(pack.steps_done)
        batch = pack.inputs.batch()
        loss_of(batch.x[0], batch.beta[0]).backward()
        for parameter in pack.parameters.values():
            if parameter.grad is not None:
                parameter.grad.clamp_(-5.0, 5.0)
        pack.optimizer.step(pack.config.learning_rate or 0.0)
        pack.optimizer.zero_grad()
        pack.inputs.step += 1
        pack.steps_done += 1

    return step


def shares(step: Callable[[], None]) -> dict[str, float]:
    """Where a step's time goes: shares of the profiled CPU time by part."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(STEPS):
            step()
    spent: Counter[str] = Counter()
    for event in profiled.key_averages():
        name = event.key.removeprefix("aten::")
        part = next((part for part, names in PARTS.items() if name in names), "launching, copying, autograd")
        spent[part] += event.self_cpu_time_total
    return {part: us / spent.total() for part, us in spent.most_common()}


def precision_lines(ratios: dict[str, float]) -> list[Line]:
    """The speed of bf16 where the processor has it, and what it does to the loss."""
    native = has_native_bf16()
    speed = [
        Line(
            f"bf16 step / the bare matrix products in fp32, {name}",
            ratios[f"{name}, bf16"] if native else None,
            "times",
            0.9,
            note="" if native else f"emulated here: {ratios[f'{name}, bf16']:.1f}",
        )
        for name in _NETWORKS
    ]
    what = "bf16: difference of the final test NLL to fp32 (10,000 steps)"
    if not PRECISION_RUN.is_dir():
        return [*speed, Line(what, None, "nats", 0.5, note="study launch precision, merged into results/precision")]
    rows = load_tables(str(PRECISION_RUN)).results
    final = rows[rows["final"]].pivot_table(index="seed", columns="config/precision", values="test_nll")
    gaps = (final["bf16"] - final["fp32"]).dropna()
    note = f"mean of {len(gaps)} seeds: {', '.join(f'{gap:+.2f}' for gap in gaps)} (results/precision)"
    return [*speed, Line(what, abs(float(gaps.mean())), "nats", 0.5, note=note)]


def main() -> None:
    """Measures, prints the lines and writes `results/step.json`."""
    if "GLIBC_TUNABLES" not in os.environ:  # a worker of Ray's is started with it
        os.execve(sys.executable, [sys.executable, "-m", "tests.benchmarks.step"], os.environ | WORKERS)
    torch.set_num_threads(1)
    images = torch.tensor(datasets.load("mnist").images["train"])
    packs = {
        name + suffix: Pack([TrialConfig(model=model, precision=precision)], [0], images).step  # type: ignore[arg-type]
        for precision, suffix in {"fp32": "", "bf16": ", bf16"}.items()
        for name, model in _NETWORKS.items()
    }
    runs = {"floor": products(), **packs, "ELU, torch.compile": compiled(TrialConfig(), images)}
    for run in runs.values():
        processor_seconds(run, 10)
    rounds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            rounds[name].append(1e3 * processor_seconds(run, STEPS))
    ratios = {
        name: statistics.median(own / floor for own, floor in zip(values, rounds["floor"], strict=True))
        for name, values in rounds.items()
    }
    parts = shares(runs["ELU"])
    told = ", ".join(f"{part} {share:.0%}" for part, share in parts.items())
    lines = [
        Line("step / its bare matrix products, ELU", ratios["ELU"], "times", 1.35, note=f"profile: {told}"),
        Line("step / its bare matrix products, VAE", ratios["VAE"], "times", 1.35),
        Line("the same with torch.compile, ELU", ratios["ELU, torch.compile"], "times", note="for comparison"),
        *precision_lines(ratios),
    ]
    finish("step", lines, {"rounds_ms": rounds, "profile": parts})


WORKERS = {"GLIBC_TUNABLES": HUGE_PAGES}
_NETWORKS = {"ELU": "autoencoder", "VAE": "vae"}


def _fastest_layout(rows: int, inner: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    out = torch.empty(rows, columns)
    lefts = [torch.randn(rows, inner), torch.randn(inner, rows).T]
    rights = [torch.randn(inner, columns), torch.randn(columns, inner).T]
    pairs = list(itertools.product(lefts, rights))
    times = [min(processor_seconds(partial(torch.mm, a, b, out=out), 20) for _ in range(3)) for a, b in pairs]
    a, b = pairs[times.index(min(times))]
    return a, b, out


if __name__ == "__main__":
    main()
