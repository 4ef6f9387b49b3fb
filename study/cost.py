"""Estimates the core-hours of a study before it runs, adds up the device-hours that it took, and what they cost."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from study.plan import Plan
from study.spec import resolve_trial
from trainables.schema import TrialConfig
from trainables.shape import MNIST, Shape, Size

if TYPE_CHECKING:
    import pandas as pd

STEPS_PER_CORE_S = 65.0
"""Training steps of the paper's network per second on one core, as measured: the estimates rest on it."""
SECONDS_PER_POINT = 3e-3
"""Seconds per image of an estimate of the intrinsic dimension; 2 to 3.5 ms were measured for 1,000 to 55,000 images."""
_PAPER_WEIGHTS = 1_291_789
_DRAWS = 200


def core_hours(config: TrialConfig, size: Size = Size()) -> float:  # noqa: B008 (a tuple)
    """Estimates the core-hours of one replicate on data of this size, on a CPU; measurements are not included."""
    if config.task == "intrinsic_dimension":
        return (config.sample_size or 0) * SECONDS_PER_POINT / 3600
    if config.task != "train":
        return 5 / 3600 * max(1.0, min(size.shape.pixels, size.train) / MNIST.pixels) ** 2
    step_s = num_weights(config, size.shape) / _PAPER_WEIGHTS * (config.batch_size or 0) / 100 / STEPS_PER_CORE_S
    evaluation_s = (size.val + size.test) / (config.batch_size or 1) * step_s / 3
    return ((config.steps or 0) * step_s + (config.evaluations or 0) * evaluation_s) / 3600


def cells_core_hours(plan: Plan) -> float:
    """Estimates the core-hours of all replicates of a plan, without those that its search has yet to draw."""
    cells = ((plan.cells[label], count) for label, count in plan.counts.items())
    return sum(core_hours(config, plan.size(config)) * count for config, count in cells)


def search_core_hours(plan: Plan) -> float:
    """Estimates the core-hours of a study's search, from configurations drawn at random; 0 without a search."""
    spec = plan.spec
    if spec.search is None:
        return 0.0
    configs = [resolve_trial(spec, fields) for fields in spec.search.samples(spec.base, _DRAWS)]
    hours = [
        core_hours(config, plan.size(config)) * spec.search.expected_share(config.steps or 1) for config in configs
    ]
    return sum(hours) / len(hours) * spec.search.trials * spec.seeds


def num_weights(config: TrialConfig, shape: Shape = MNIST) -> int:
    """Counts the weights of a network, without biases and a posterior's second head; of PCA, its components."""
    widths = [shape.pixels, *(config.hidden_dims or ()), config.width]
    both_ways = 2 if config.task == "train" else 1
    return both_ways * sum(a * b for a, b in itertools.pairwise(widths))


def money(hours: float, price: float | None, unit: str) -> str:
    """Says what hours cost, as the end of a sentence; nothing without a price."""
    return "" if price is None else f": {hours * price:,.2f} at {price:.15g} per {unit}"


def device_hours(ends: pd.DataFrame) -> pd.DataFrame:
    """Adds up what replicates took of each device: `device`, `replicates`, `train_h`, `evaluate_h`, `hours` (both).

    Networks that trained at once on a device share its time. On a CPU a device is one core, since a replicate uses one
    thread. Measurements of finished networks are not included, nor what an attempt lost when it was killed. A replicate
    that moved to another device counts where it began.

    Args:
        ends: For each replicate its `device` and the seconds `train_s`, `evaluate_s` up to its last row; null where it
            has yet to begin.
    """
    seconds = ["train_s", "evaluate_s"]
    begun = ends[["device", *seconds]].dropna(subset=seconds, how="all")
    begun = begun.astype({"device": object, "train_s": float, "evaluate_s": float})
    begun = begun.fillna({"device": "not recorded", "train_s": 0.0, "evaluate_s": 0.0})
    devices = begun.groupby("device")
    hours = (devices[seconds].sum() / 3600).rename(columns={"train_s": "train_h", "evaluate_s": "evaluate_h"})
    hours.insert(0, "replicates", devices.size())
    return hours.assign(hours=hours["train_h"] + hours["evaluate_h"]).reset_index()
