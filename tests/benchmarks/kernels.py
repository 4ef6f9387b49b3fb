"""Do the kernels of `trainables.kernels` shift a loss? The same networks with them and with torch's own, seed by seed.

Needs MNIST in STUDY_DATA_DIR. `python -m tests.benchmarks.kernels` takes 6 minutes on one core. docs/numerics.md has
its result.
"""

from __future__ import annotations

import math
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional

from analysis.intervals import t_interval
from tests.benchmarks.lines import Line, finish
from trainables import datasets, kernels, losses, metrics
from trainables.pack import Pack
from trainables.registry import ACTIVATIONS
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
    own_elu = mock.patch.dict(ACTIVATIONS, {"elu": "torch.nn.functional:elu"})
    with own_elu, mock.patch.object(losses, "bernoulli_nll_from_logits", _cross_entropy):
        return test_nll(model, seed, images)


def main() -> None:
    """Measures, prints the lines and writes `results/kernels.json`."""
    torch.set_num_threads(1)
    images = {split: torch.tensor(values) for split, values in datasets.load("mnist").images.items()}
    lines, pairs = [], {}
    for name, model in {"ELU": "autoencoder", "VAE": "vae"}.items():
        pairs[name] = [(test_nll(model, s, images), torchs_own_nll(model, s, images)) for s in range(SEEDS)]
        shifts = [own - torchs for own, torchs in pairs[name]]
        low, high = t_interval(shifts)
        note = f"mean {sum(shifts) / SEEDS:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}, of {SEEDS} seeds"
        what = f"{name}: shift of the test NLL after {STEPS:,} steps, kernels {kernels.VERSION} against torch's own"
        lines.append(Line(what, max(abs(low), abs(high)), "nats", MARGIN, note=note))
    finish("kernels", lines, {"test_nll": pairs})


def _cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


if __name__ == "__main__":
    main()
