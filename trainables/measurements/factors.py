"""Whether the codes tell the factors that drew the images: where the data are strokes, which have known ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainables.controls import stroke_factors
from trainables.measurements.subject import Measured, Subject

MOST_LATENTS = 32
"""A quadratic regression has N (N + 3) / 2 terms."""
RIDGE = 1e-6
"""Relative to the number of images: keeps the equations of a code that does not move solvable."""


@torch.no_grad()
def measure_factors(subject: Subject) -> Measured:
    """Measures the share of the factors' variance that a linear and a quadratic regression on the codes explain.

    Each class has a regression of its own, fitted to the training images and read on the test images; the share is the
    mean over factors. Strokes only, up to MOST_LATENTS latents.
    """
    factors = stroke_factors(subject.config.dataset)
    if factors is None or subject.config.width > MOST_LATENTS or not subject.is_finite():
        return Measured({})
    codes = {split: subject.codes(subject.shown(split)).double().cpu() for split in ("train", "test")}
    known = {split: torch.as_tensor(factors[split][: len(codes[split])], dtype=torch.float64) for split in codes}
    labels = {split: subject.labels[split].cpu().numpy() for split in codes}
    values = []
    for terms in (_linear, _quadratic):
        guesses = torch.zeros_like(known["test"])
        for label in np.unique(labels["test"]):
            train, test = (torch.as_tensor(labels[split] == label) for split in ("train", "test"))
            mean, spread = codes["train"][train].mean(0), codes["train"][train].std(0).clamp(min=1e-12)
            inputs = [terms((codes[s][of] - mean) / spread) for s, of in (("train", train), ("test", test))]
            guesses[test] = inputs[1] @ _fit(inputs[0], known["train"][train])
        left = (known["test"] - guesses).square().sum(0) / (known["test"] - known["test"].mean(0)).square().sum(0)
        values.append(1 - left.mean().item())
    return Measured({"factor_r2": values})


def _fit(inputs: Tensor, targets: Tensor) -> Tensor:
    """Least squares: weights `(terms, factors)`."""
    ridge = RIDGE * len(inputs) * torch.eye(inputs.shape[1], dtype=inputs.dtype)
    weights: Tensor = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ targets)
    return weights


def _linear(codes: Tensor) -> Tensor:
    return torch.cat([torch.ones(len(codes), 1, dtype=codes.dtype), codes], 1)


def _quadratic(codes: Tensor) -> Tensor:
    first, second = torch.triu_indices(codes.shape[1], codes.shape[1])
    return torch.cat([_linear(codes), codes[:, first] * codes[:, second]], 1)
