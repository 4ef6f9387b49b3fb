"""The answer of a short run on the paper's images, read as anyone's own, beside the answer of all runs.

The run `dimension` has MNIST's files by their path, and its own rules for images of which nothing is known. So the
differences are what such a run leaves unknown of images of one's own.
"""

from __future__ import annotations

import math

import pandas as pd

from analysis.dimension.conclusion import NAMES
from analysis.dimension.estimate import Estimate
from analysis.dimension.loss_law import ACCEPTED, LossLaw
from analysis.dimension.sweeps import Sweep
from analysis.evidence import Evidence
from analysis.formats import ABSENT, decimals, table, with_interval
from analysis.report.embed import Grid
from study.cost import device_hours

AS_OWN = "MNIST"
"""The paper's images by the name that a path to their files gives them."""
SHOWN = ("L", "U", "I", "g 90 %")
"""The estimates that are compared, by key."""


def short_run(evidence: Evidence) -> tuple[str, pd.DataFrame] | None:
    """Compares the estimates of the run on AS_OWN with those of all runs.

    Args:
        evidence: The evidence in all runs, on the paper's data.

    Returns:
        What was run, in words, and a row per estimate: its name, both numbers with their intervals, and the difference.
        None without such a run.
    """
    tables = [one for one in evidence.tables if (one.ends["config/dataset"] == AS_OWN).any()]
    short = Evidence(tables, AS_OWN)
    curves = short.sweeps.by_network["vae"]
    if not isinstance(curves, Sweep):
        return None
    both = [{one.key: one for one in each.estimates} for each in (short, evidence)]
    rows: list[tuple[str, ...]] = []
    for mine, full in ((both[0][key], both[1][key]) for key in SHOWN):
        name = f"{NAMES[mine.key][0]} ({mine.key})" if mine.key in NAMES else mine.name
        rows.append((name, _number(mine), _number(full), _difference(mine, full)))
    laws = [each.law for each in (short, evidence)]
    rows.append((f"{NAMES['law'][0]}, for {ACCEPTED[0]:g} nats", *map(_law, laws), _of_laws(*laws)))
    hours = sum(device_hours(one.ends)["hours"].sum() for one in tables)
    text = (
        f"{len(curves.latent_dims)} N from {curves.latent_dims[0]} to {curves.latent_dims[-1]}, {curves.budget} steps, "
        f"{len(curves.seeds)} seeds: {decimals(hours, 2)} core-hours of training and evaluation."
    )
    return text, pd.DataFrame(rows, columns=["estimate", "short run", "all runs", "difference"])


def markdown(evidence: Evidence) -> str:
    """The comparison in Markdown."""
    compared = short_run(evidence)
    if compared is None:
        return "Not measured."
    text, frame = compared
    return f"{text}\n\n{table(frame.columns, frame.to_numpy())}"


def grid(evidence: Evidence) -> Grid:
    """The comparison for the report; empty without such a run."""
    compared = short_run(evidence)
    return Grid() if compared is None else Grid.of(compared[1], compared[0])


def _number(estimate: Estimate) -> str:
    """An estimate with its interval; where it is not settled, with the first reason in a few words."""
    if math.isnan(estimate.value) and math.isnan(estimate.least):
        return ABSENT
    reason = estimate.reason.split("; ")[0].partition(":")[0]
    return estimate.text if estimate.settled else f"{estimate.text} (not settled: {reason})"


def _difference(short: Estimate, full: Estimate) -> str:
    """The short run's estimate less that of all runs; of a range, that of both ends."""
    ends = [
        (one.least, one.most) if math.isfinite(one.least) and one.least < one.most else (one.value, one.value)
        for one in (short, full)
    ]
    differences = [mine - theirs for mine, theirs in zip(*ends, strict=True)]
    if not all(map(math.isfinite, differences)):
        return ABSENT
    return " to ".join(dict.fromkeys(f"{one:+.1f}" for one in differences))


def _law(law: LossLaw | str) -> str:
    if isinstance(law, str):
        return f"{ABSENT} (not settled: {law.partition(':')[0]})"
    return with_interval(*law.tolerance[ACCEPTED[0]]) if law.holds else f"{ABSENT} (no power law)"


def _of_laws(short: LossLaw | str, full: LossLaw | str) -> str:
    if isinstance(short, str) or isinstance(full, str) or not (short.holds and full.holds):
        return ABSENT
    return f"{short.tolerance[ACCEPTED[0]][0] - full.tolerance[ACCEPTED[0]][0]:+.1f}"
