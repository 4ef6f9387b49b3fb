"""Measures how well codes tell the digit: a linear classifier and nearest neighbours, with few and many labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from trainables.measurements.neighbours import nearest
from trainables.measurements.subject import Measured, Subject

PROBE_LABELS = (100, 1000, 10_000, 55_000)
"""How many labelled training images the probes learn from; the last is all of them."""
NEIGHBOURS = 10
MAX_ITERATIONS = 500
LABEL_DRAWS = 5
"""PCA has no seed, so its probes are repeated with this many draws of the labels."""


def measure_probes(subject: Subject) -> Measured:
    """Measures the test accuracy of both probes on the posterior means, with the first PROBE_LABELS of a random order.

    A dataset with fewer labels gives them all; one without labels, or of a single class, gives no probe. For a result
    without a seed, NAME/1, NAME/2 ... use the labels that seeds 1, 2 ... draw, as the networks of these seeds do.
    """
    labels = subject.labels.get("train")
    if labels is None or labels.unique().numel() < 2 or not subject.is_finite():
        return Measured({})
    train, test = scaled(subject.codes(subject.shown("train")), subject.codes(subject.shown("test")))
    truth, sizes = subject.labels["test"], [min(size, len(labels)) for size in PROBE_LABELS]
    profiles: dict[str, list[float]] = {}
    for seed in [subject.seed] if subject.config.seeded else range(LABEL_DRAWS):
        order = torch.randperm(len(labels), generator=replace(subject, seed=seed).draws("labels")).to(labels.device)
        codes, classes = train[order], labels[order]
        for name, answers in {"probe_linear": linear_answers, "probe_knn": neighbour_answers}.items():
            known = profiles.get(name, [])  # of all labels there is one draw
            new = [size for size in sizes if size < len(labels) or not known]
            accuracy = [(one == truth).double().mean().item() for one in answers(codes, classes, test, new)]
            profiles[name if seed == subject.seed else f"{name}/{seed}"] = accuracy + known[len(new) :]
    return Measured(profiles)


def scaled(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Codes, float64, centred and divided by the one sd over all latents, so that a rotation changes nothing."""
    mean, variance = train.double().mean(0), train.double().var(0, correction=0).mean()
    scale = variance.sqrt() if variance > 0 else 1.0
    return (train.double() - mean) / scale, (test.double() - mean) / scale


def linear_answers(train: Tensor, labels: Tensor, test: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Classes of test codes by multinomial logistic regression on the first of the labels.

    `train`: float64 `(n, N)`; `labels`: int64 `(n,)`; `test`: float64 `(m, N)`; `sizes`: how many of the training codes
    are used, in rising order. Returns `(m,)` for each of the sizes.
    """
    device, classes = test.device, int(labels.max()) + 1
    train, labels, test = train.cpu(), labels.cpu(), test.cpu()  # L-BFGS is thousands of steps too small for a GPU
    fits = [fit_logistic(train[:size], labels[:size], classes) for size in sizes]
    return [torch.addmm(bias, test, weight).argmax(1).to(device) for weight, bias in fits]


def fit_logistic(codes: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Minimises cross entropy + ||weight||^2 / (2 n), which is scikit-learn's logistic regression with C = 1.

    L-BFGS runs on weights for whitened codes, where it needs a third of the iterations; the minimum is the same one.

    Args:
        codes: float64 `(n, N)`.
        labels: int64 `(n,)`, below `classes`.
        classes: How many classes there are; one without a label gets a bias that excludes it.

    Returns:
        Weight `(N, classes)` and bias `(classes,)`.
    """
    count, width = codes.shape
    ridge = torch.eye(width, dtype=codes.dtype, device=codes.device) / count
    root = torch.linalg.cholesky(codes.T @ codes / count + ridge).T
    white = torch.linalg.solve_triangular(root, codes, upper=True, left=False)
    parameters = torch.zeros(width + 1, classes, dtype=codes.dtype, device=codes.device, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [parameters], max_iter=MAX_ITERATIONS, tolerance_grad=1e-5, history_size=20, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        weight = torch.linalg.solve_triangular(root, parameters[:-1], upper=True)
        logits = torch.addmm(parameters[-1], white, parameters[:-1])
        value: Tensor = functional.cross_entropy(logits, labels) + weight.square().sum() / (2 * count)
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(loss)
    solution = parameters.detach()
    weight: Tensor = torch.linalg.solve_triangular(root, solution[:-1], upper=True)
    return weight, solution[-1]


def neighbour_answers(train: Tensor, labels: Tensor, test: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Classes by a vote of the NEIGHBOURS nearest codes among the first of the labels; the lower class wins a tie.

    Arguments and result are those of `linear_answers`.
    """
    answers = []
    for size in sizes:
        votes = functional.one_hot(labels[nearest(train[:size], test, min(NEIGHBOURS, size))]).sum(1).double()
        answers.append((votes - 1e-3 * torch.arange(votes.shape[1], device=votes.device)).argmax(1))
    return answers
