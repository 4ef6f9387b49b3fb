"""What `scale` has measured, how it grows, and what a larger study would take: sums over numbers, nothing is run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.growth import LINEAR
from tests.benchmarks.lines import Line
from tests.benchmarks.scale_driver import Measured
from tests.benchmarks.scale_worker import REPORTS

LARGE_TRIALS, LARGE_WORKERS = 10_000, 100
"""What is extrapolated to. A worker reports once a second."""
HEAD_GIB = 16
"""Memory of a small head node."""
TABLES_AGE_S, TABLES_SHARE = 600.0, 0.05
"""How old the tables may be while a study runs; the share of its time for which the driver rebuilds them."""
BINS = 8
GROWS = {
    "scheduling_s": "the driver's processor time for the reports",
    "whole_s": "the driver's processor time in all",
    "peak_mib": "the driver's peak memory",
    "build_s": "tables, built from the folders",
    "rebuild_s": "tables, rebuilt",
}
Curve = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Setting:
    """What a launch is measured in: the cluster's nodes, its workers (each has a CPU), and the study's trials."""

    nodes: int
    workers: int
    trials: int


@dataclass(frozen=True)
class Cost:
    """What a driver took. Seconds are of its processor, as if it had been as fast as it was at its fastest."""

    report_s: float
    """For a report and its share of a trial's start and end, while all workers are busy; the tables apart."""
    report_wall_s: float
    """Of the clock, on a machine that did other work too."""
    scheduling_s: float
    """`report_s` times the reports."""
    whole_s: float
    peak_mib: float
    build_s: float
    rebuild_s: float
    slowness: float
    """How many times as long the fixed work took as at its fastest."""
    bins: list[list[float]]
    """`[trials that have ended, report_s, reports]` of parts of the launch."""


@dataclass(frozen=True)
class Limit:
    """Something that runs out: `value` of `most` at the large study, and all of it at `times` the large study."""

    what: str
    value: float
    unit: str
    most: float
    times: float
    note: str


def costs(found: Mapping[Setting, Measured]) -> dict[Setting, Cost]:
    """What each launch took."""
    works = np.concatenate([np.array(measured.reports)[:, 2] for measured in found.values()])
    fastest = float(np.quantile(works, 0.05))
    return {setting: cost(measured, setting, fastest) for setting, measured in found.items()}


def cost(found: Measured, setting: Setting, fastest: float) -> Cost:
    """What a launch took; `fastest`: seconds of the fixed work on a core that does nothing else."""
    ends = REPORTS * setting.workers  # while workers start or run out of trials, a report costs less
    reports = np.array(found.reports)[ends:-ends]
    edges = np.linspace(0, len(reports) - 1, BINS + 1).astype(int)
    slowness = np.array([reports[a:b, 2].mean() for a, b in itertools.pairwise(edges)]) / fastest
    spent = np.diff(reports[edges, 0]) / np.diff(edges) / slowness
    middles = (ends + (edges[1:] + edges[:-1]) / 2) / REPORTS
    wall_s = float(reports[-1, 1] - reports[0, 1]) / (len(reports) - 1)
    return Cost(
        report_s=float(spent.mean()),
        report_wall_s=wall_s,
        scheduling_s=float(spent.mean()) * REPORTS * setting.trials,
        whole_s=found.whole_s / float(slowness.mean()),
        peak_mib=found.peak_mib,
        build_s=found.build[0] * fastest / found.build[1],
        rebuild_s=found.rebuild[0] * fastest / found.rebuild[1],
        slowness=float(slowness.mean()),
        bins=np.column_stack([middles, spent, np.diff(edges)]).tolist(),
    )


def curves(found: Mapping[Setting, Cost]) -> dict[str, list[list[float]]]:
    """`[size, value]` by what was measured: over trials, over nodes and over workers."""
    most = largest(found)
    by_trials = {s.trials: c for s, c in found.items() if (s.nodes, s.workers) == (most.nodes, most.workers)}
    usual = min((s.trials for s in found if (s.nodes, s.workers) != (most.nodes, most.workers)), default=most.trials)
    fewest = min(s.nodes for s in found)
    same = {s: c.report_s for s, c in found.items() if s.trials == usual}
    grown = {name: [[float(size), getattr(c, name)] for size, c in by_trials.items()] for name in GROWS}
    grown["bins"] = [point for c in by_trials.values() for point in c.bins]
    grown["nodes"] = [[s.nodes, report_s] for s, report_s in same.items() if s.workers == most.workers]
    grown["workers"] = [[s.workers, report_s] for s, report_s in same.items() if s.nodes == fewest]
    return {name: sorted(points) for name, points in grown.items()}


def lines(found: Mapping[Setting, Cost]) -> list[Line]:
    """What was measured, how it grows, and what is extrapolated from that."""
    grown, most = curves(found), largest(found)
    last = found[most]
    where = f"{most.trials:,} trials, {most.workers} at once, {most.nodes} nodes"
    by_nodes, by_workers = (", ".join(f"{n:.0f}: {1e3 * s:.2f}" for n, s in grown[key]) for key in ("nodes", "workers"))
    scaled = f"scaled to the core at its fastest, {last.slowness:.2f} times"
    measured = [
        Line("the driver's processor time per report", 1e3 * last.report_s, "ms", note=f"{where}; {scaled}"),
        Line("wall time per report", 1e3 * last.report_wall_s, "ms", note="on a machine that did other work too"),
        Line("processor time per report, most nodes", 1e3 * grown["nodes"][-1][1], "ms", note=by_nodes),
        Line("processor time per report, most workers", 1e3 * grown["workers"][-1][1], "ms", note=by_workers),
        Line("the driver's peak memory", last.peak_mib / 2**10, "GiB", note=where),
        Line("tables, built from the folders", last.build_s, "s", note=f"rebuilt: {last.rebuild_s:.2f} s"),
    ]
    for name, what in GROWS.items():
        note = ", ".join(f"{size:,.0f}: {value:.3g}" for size, value in grown[name])
        measured.append(Line(f"exponent: trials, {what}", exponent(grown[name]), "", LINEAR, note=note))
    return measured + extrapolated(limits(grown, most.workers))


def exponent(curve: Curve) -> float:
    """The power by which a value grows with size: the slope of the line through all points, both axes logarithmic."""
    sizes, values = np.log(np.array(curve)).T
    return float(np.polyfit(sizes, values, 1)[0])


def limits(grown: Mapping[str, Curve], workers: int) -> list[Limit]:
    """What LARGE_TRIALS on LARGE_WORKERS take of a driver, by straight lines through what `workers` workers took.

    A report costs more with each trial that there has been, and with each worker; a slope that noise has made negative
    counts as none.
    """
    base, per_trial = _straight(grown["bins"])
    off = 2 * _slope_error(grown["bins"])
    further = _straight(grown["workers"])[1] * (LARGE_WORKERS - workers)
    cores = LARGE_WORKERS * (base + further + per_trial * LARGE_TRIALS)
    first_trials = _times(1 / LARGE_WORKERS - base - further, per_trial)
    parts = f"a report: {1e3 * base:.2f} ms, {1e6 * per_trial:.2f} ± {1e6 * off:.2f} µs more for each trial before it"
    parts += f", {1e3 * further:.2f} ms for more workers"
    filled = f"{LARGE_WORKERS / cores:.0f} workers fill a core, or {LARGE_WORKERS} after {first_trials:,.0f} trials"
    start_gib, trial_gib = (mib / 2**10 for mib in _straight(grown["peak_mib"]))
    needed_gib, each = trial_gib * LARGE_TRIALS, f"{2**20 * trial_gib:.0f} KiB a trial"
    rebuild_s = _straight(grown["rebuild_s"])[1] * LARGE_TRIALS
    age_s, rebuilt = rebuild_s / TABLES_SHARE, f"rebuilt in {rebuild_s:.1f} s, for {TABLES_SHARE:.0%} of its time"
    return [
        Limit("cores for reports", cores, "", 1, _times(1, cores), f"{parts}; {filled}"),
        Limit("memory", start_gib + needed_gib, "GiB", HEAD_GIB, _times(HEAD_GIB - start_gib, needed_gib), each),
        Limit("age of the tables", age_s, "s", TABLES_AGE_S, _times(TABLES_AGE_S, age_s), rebuilt),
    ]


def extrapolated(found: Sequence[Limit]) -> list[Line]:
    """The limits at the large study, and which of them comes first."""
    large = f"extrapolated to {LARGE_TRIALS:,} trials, {LARGE_WORKERS} workers"
    first = min(found, key=lambda limit: limit.times)
    each = [Line(f"{large}: {limit.what}", limit.value, limit.unit, limit.most, note=limit.note) for limit in found]
    note = ", ".join(f"{limit.what} {limit.times:,.3g}" for limit in found)
    what = f"{large}: the first limit, {first.what}, in times that study"
    return [*each, Line(what, first.times, "", 1, "more", note)]


def largest(found: Mapping[Setting, Cost]) -> Setting:
    """Most nodes, most workers, most trials."""
    return max(found, key=lambda setting: (setting.nodes, setting.workers, setting.trials))


def _straight(points: Curve) -> tuple[float, float]:
    """Intercept and slope of the line through points; where the slope would be negative, their mean and 0.

    A point may have a third number, its weight: of how many it is the mean.
    """
    sizes, values, weights = _columns(points)
    slope, intercept = np.polyfit(sizes, values, 1, w=np.sqrt(weights)) if len(set(sizes)) > 1 else (0.0, 0.0)
    return (float(intercept), float(slope)) if slope > 0 else (float(np.average(values, weights=weights)), 0.0)


def _slope_error(points: Curve) -> float:
    """The standard error of that slope; 0 where there are too few points to tell."""
    sizes, values, weights = _columns(points)
    if len(points) < 4 or len(set(sizes)) < 3:
        return 0.0
    return float(np.sqrt(np.polyfit(sizes, values, 1, w=np.sqrt(weights), cov=True)[1][0, 0]))


def _columns(points: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = np.array(points, float)
    return table[:, 0], table[:, 1], table[:, 2] if table.shape[1] > 2 else np.ones(len(table))


def _times(most: float, needed: float) -> float:
    """How often `needed` goes into `most`; where nothing is needed, more often than anybody will ask."""
    return most / max(needed, 1e-9)
