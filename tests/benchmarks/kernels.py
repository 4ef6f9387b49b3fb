"""Do the kernels of `trainables.kernels` shift a loss? The same networks with them and with torch's own, seed by seed.

Needs MNIST in STUDY_DATA_DIR. `python -m tests.benchmarks.kernels` takes 6 minutes on one core. docs/numerics.md has
its result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from analysis.intervals import t_interval
from tests.benchmarks.lines import Line, finish
from tests.benchmarks.peers_work import torchs_own_kernels
from trainables import datasets, kernels, metrics
from trainables.pack import Pack
from trainables.schema import TrialConfig

SEEDS, STEPS, MARGIN = 5, 1_000, 0.1
"""Seeds and steps of each network; the largest shift, in nats, for which results keep their version."""


def test_nll(model: str, seed: int, images: dict[str, Tensor]) -> float:
    """The test NLL of the paper's network of N = 5 after STEPS steps, nats per image."""
    config = TrialConfig(model=model, precision="fp32")
    pack = Pack([config], [seed], images["train"])
    for _ in range(STEPS):
        pack.step()
    noise = metrics.evaluation_noise(config, seed, "test", images["test"])
    return metrics.evaluate(pack.module(0), images["test"], config, noise).values["nll"] or math.nan


def torchs_own_nll(model: str, seed: int, images: dict[str, Tensor]) -> float:
    """The same with the functions of kernels 1."""
    with torchs_own_kernels():
        return test_nll(model, seed, images)


def main() -> None:
    """Measures, prints the lines and writes `results/kernels.json`."""
    torch.set_num_threads(1)
    images = {split: torch.tensor(values) for split, values in datasets.load("mnist").images.items()}
    pairs = {
        name: [(test_nll(model, seed, images), torchs_own_nll(model, seed, images)) for seed in range(SEEDS)]
        for name, model in {"ELU": "autoencoder", "VAE": "vae"}.items()
    }
    finish("kernels", [shift(name, values) for name, values in pairs.items()], {"test_nll": pairs})


def shift(name: str, pairs: Sequence[tuple[float, float]]) -> Line:
    """The line of a network: the end of its interval that is farther from 0, from test NLLs with both kernels."""
    shifts = [own - torchs for own, torchs in pairs]
    low, high = t_interval(shifts)
    note = f"mean {np.mean(shifts):+.1e}, 95 % interval {low:+.1e} to {high:+.1e}, of {len(pairs)} seeds"
    what = f"{name}: shift of the test NLL after {STEPS:,} steps, kernels {kernels.VERSION} against torch's own"
    return Line(what, max(abs(low), abs(high)), "nats", MARGIN, note=note)


if __name__ == "__main__":
    main()
