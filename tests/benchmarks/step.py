"""The training step on a CPU: against its bare matrix products, against torch.compile, and in bf16.

Floor: the step's 17 matrix products alone (6 forward, 5 input gradients, 6 weight gradients), preallocated, each in the
faster of its layouts. All in one thread and one run, rounds interleaved; a ratio is the median of the rounds' ratios.
Needs MNIST in STUDY_DATA_DIR. The accuracy of bf16 is read from results/precision (`study launch precision`).
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from study.table import load_tables
from tests.benchmarks.lines import Line, finish, seconds
from trainables import datasets
from trainables.losses import objective
from trainables.numerics import has_native_bf16
from trainables.pack import Pack
from trainables.schema import TrialConfig

ROUNDS, STEPS = 9, 40
WIDTHS = [(784, 500), (500, 500), (500, 5), (5, 500), (500, 500), (500, 784)]
BATCH = 100
PRECISION_RUN = Path(__file__).parents[2] / "results" / "precision"
PARTS = {
    "matrix products": ("mm", "addmm"),
    "Adam": ("_fused_adam_", "_foreach_add_"),
    "ELU, forward and backward": ("elu", "elu_backward"),
    "gradient clipping": ("clamp_",),
    "loss": ("log_sigmoid_forward", "sigmoid", "sub_", "sub", "neg", "clamp_min", "exp_", "log_", "log1p_", "mul"),
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


def precision_lines(fp32: Callable[[], None], bf16: Callable[[], None]) -> list[Line]:
    """The speed of bf16 where the processor has it, and what it does to the loss."""
    ratio = statistics.median(seconds(fp32, 5) / seconds(bf16, 3) for _ in range(3))
    native = has_native_bf16()
    note = "" if native else f"no AVX512-BF16 or AMX here; emulated, bf16 takes {1 / ratio:.1f} times as long"
    speed = Line("bf16: fp32 step / bf16 step", ratio if native else None, "times", 1.4, "more", note)
    what = "bf16: difference of the final test NLL to fp32 (10,000 steps)"
    if not PRECISION_RUN.is_dir():
        return [speed, Line(what, None, "nats", 0.5, note="study launch precision, merged into results/precision")]
    rows = load_tables(str(PRECISION_RUN)).results
    final = rows[rows["final"]].pivot_table(index="seed", columns="config/precision", values="test_nll")
    gaps = (final["bf16"] - final["fp32"]).dropna()
    note = f"mean of {len(gaps)} seeds: {', '.join(f'{gap:+.2f}' for gap in gaps)} (results/precision)"
    return [speed, Line(what, abs(float(gaps.mean())), "nats", 0.5, note=note)]


def main() -> None:
    """Measures, prints the lines and writes `results/step.json`."""
    torch.set_num_threads(1)
    images = torch.tensor(datasets.load("mnist").images["train"])
    packs = {name: Pack([TrialConfig(model=model)], [0], images).step for name, model in _NETWORKS.items()}
    runs = {"floor": products(), **packs, "ELU, torch.compile": compiled(TrialConfig(), images)}
    for run in runs.values():
        seconds(run, 10)
    rounds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            rounds[name].append(1e3 * seconds(run, STEPS))
    ratios = {
        name: statistics.median(own / floor for own, floor in zip(values, rounds["floor"], strict=True))
        for name, values in rounds.items()
    }
    parts = shares(runs["ELU"])
    told = ", ".join(f"{part} {share:.0%}" for part, share in parts.items())
    lines = [
        Line("step / its bare matrix products, ELU", ratios["ELU"], "times", 1.25, note=f"profile: {told}"),
        Line("step / its bare matrix products, VAE", ratios["VAE"], "times", 1.25),
        Line("the same with torch.compile, ELU", ratios["ELU, torch.compile"], "times", note="for comparison"),
        *precision_lines(runs["ELU"], Pack([TrialConfig(precision="bf16")], [0], images).step),
    ]
    finish("step", lines, {"rounds_ms": rounds, "profile": parts})


_NETWORKS = {"ELU": "autoencoder", "VAE": "vae"}


def _fastest_layout(rows: int, inner: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    out = torch.empty(rows, columns)
    lefts = [torch.randn(rows, inner), torch.randn(inner, rows).T]
    rights = [torch.randn(inner, columns), torch.randn(columns, inner).T]
    pairs = list(itertools.product(lefts, rights))
    times = [min(seconds(partial(torch.mm, a, b, out=out), 20) for _ in range(3)) for a, b in pairs]
    a, b = pairs[times.index(min(times))]
    return a, b, out


if __name__ == "__main__":
    main()
