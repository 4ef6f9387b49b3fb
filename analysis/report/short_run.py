"""The answers of short runs: on the paper's images as if nothing were known of them, beside all runs, and on others.

The study `dimension` has its own rules for images of which nothing is known. On MNIST's files, read by their path, the
differences to the answer of all runs are what such a run leaves unknown of images of one's own.
"""

from __future__ import annotations

import math

import pandas as pd

from analysis.dimension.conclusion import NAMES
from analysis.dimension.estimate import Estimate
from analysis.dimension.loss_law import ACCEPTED, LossLaw
from analysis.dimension.network_estimates import OTHER_PLATEAU
from analysis.dimension.sweeps import DATA, PAPERS, Sweep
from analysis.evidence import Evidence
from analysis.formats import ABSENT, decimals, table, with_interval
from analysis.report.embed import Grid
from study.table import Tables, device_hours

AS_OWN = "MNIST"
"""The paper's images by the name that a path to their files gives them."""
STUDY = "dimension"
"""The study whose runs are short."""
SHOWN = ("L", "U", "I", "a", "b", "g 90 %")
"""The estimates that are compared, by key."""


def short_runs(evidence: Evidence) -> tuple[str, pd.DataFrame] | None:
    """Compares the estimates of the run on AS_OWN with those of all runs, and shows those of other images beside them.

    Args:
        evidence: The evidence in all runs, on the paper's data.

    Returns:
        What was run, in words, and a row per estimate: its name, the numbers of all runs, of all runs read by the rules
        and after the steps of the short one, and of the short one, with their intervals; the short one's difference to
        all runs, and the numbers of each other data set. None without a run on AS_OWN.
    """
    short = {name: Evidence(tables, name) for name, tables in _runs_by_data(evidence).items()}
    if AS_OWN not in short:
        return None
    mine, full = short.pop(AS_OWN), evidence
    names = [name for name, _ in _cells(mine)]
    frame = pd.DataFrame({"estimate": names, "MNIST, all runs": _texts(full), "MNIST, short run": _texts(mine)})
    if (steps := _steps(mine)) and isinstance(full.sweeps.by_network["vae"], Sweep):
        frame.insert(2, f"MNIST, all runs after {steps:,} steps", _read_at(full, steps))
    frame["difference"] = [*_differences(mine, full), _of_laws(mine.law, full.law)]
    for name, other in short.items():
        frame[f"{DATA.get(name, name)}, short run"] = _texts(other)
    budgets = [_budget(DATA.get(name, name), one) for name, one in {AS_OWN: mine, **short}.items()]
    return f"{'; '.join(filter(None, budgets))}.", frame


def _runs_by_data(evidence: Evidence) -> dict[str, list[Tables]]:
    """The tables of the study `dimension` by data set, AS_OWN first."""
    found: dict[str, list[Tables]] = {}
    for tables in evidence.tables:
        if tables.spec.name == STUDY:
            for name in set(tables.ends["config/dataset"].dropna()) - {PAPERS}:
                found.setdefault(str(name), []).append(tables)
    return dict(sorted(found.items(), key=lambda item: (item[0] != AS_OWN, item[0])))


def _budget(data: str, evidence: Evidence) -> str:
    """The N, steps, seeds and hours of a short run."""
    curves = evidence.sweeps.by_network["vae"]
    if not isinstance(curves, Sweep):
        return ""
    hours = sum(device_hours(one.ends)["hours"].sum() for one in evidence.tables)
    dims = curves.latent_dims
    return (
        f"{data}: {len(dims)} N from {dims[0]} to {dims[-1]}, {curves.budget} steps, {len(curves.seeds)} seeds, "
        f"{decimals(hours, 2)} device-hours of training and evaluation"
    )


def _steps(evidence: Evidence) -> int:
    """The steps that a short run has at every N; 0 where it has no VAE or these differ."""
    curves = evidence.sweeps.by_network["vae"]
    return int(curves.steps[0]) if isinstance(curves, Sweep) and len(set(curves.steps.tolist())) == 1 else 0


def _read_at(full: Evidence, steps: int) -> list[str]:
    """The numbers of all runs as if training had ended after some steps, by the plateau's rule of other data."""
    read = full.estimates_at(steps)
    read["L"] = read[OTHER_PLATEAU]
    return [*(_number(read[key]) if key in read else ABSENT for key in SHOWN), ABSENT]


def _cells(evidence: Evidence) -> list[tuple[str, str]]:
    """Names and numbers of the rows."""
    by_key = {one.key: one for one in evidence.estimates}
    rows = [
        (f"{NAMES[key][0]} ({key})" if key in "LUI" else f"{by_key[key].name} ({key[0]})", _number(by_key[key]))
        for key in SHOWN
    ]
    return [*rows, (f"{NAMES['law'][0]}, for {ACCEPTED[0]:g} nats", _law(evidence.law))]


def _texts(evidence: Evidence) -> list[str]:
    return [number for _, number in _cells(evidence)]


def _differences(short: Evidence, full: Evidence) -> list[str]:
    both = [{one.key: one for one in each.estimates} for each in (short, full)]
    return [_difference(both[0][key], both[1][key]) for key in SHOWN]


def markdown(evidence: Evidence) -> str:
    """The comparison in Markdown."""
    compared = short_runs(evidence)
    if compared is None:
        return "Not measured."
    text, frame = compared
    return f"{text}\n\n{table(frame.columns, frame.to_numpy())}"


def grid(evidence: Evidence) -> Grid:
    """The comparison for the report; empty without such a run."""
    compared = short_runs(evidence)
    return Grid() if compared is None else Grid.of(compared[1], compared[0])


def _number(estimate: Estimate) -> str:
    """An estimate with its interval; where it is not settled, with the cause."""
    if math.isnan(estimate.value) and math.isnan(estimate.least):
        return ABSENT
    return estimate.number if estimate.settled else f"{estimate.number} (not settled: {estimate.cause})"


def _difference(short: Estimate, full: Estimate) -> str:
    """The short run's estimate less that of all runs; of a range, that of both ends. None where it is not settled."""
    ends = [
        (one.least, one.most) if math.isfinite(one.least) and one.least < one.most else (one.value, one.value)
        for one in (short, full)
    ]
    differences = [mine - theirs for mine, theirs in zip(*ends, strict=True)]
    if not short.settled or not all(map(math.isfinite, differences)):
        return ABSENT
    return " to ".join(dict.fromkeys(f"{one:+z.1f}" for one in differences))


def _law(law: LossLaw | str) -> str:
    if isinstance(law, str):
        return f"{ABSENT} (not settled: {law.partition(':')[0]})"
    return with_interval(*law.tolerance[ACCEPTED[0]]) if law.holds else f"{ABSENT} (no power law)"


def _of_laws(short: LossLaw | str, full: LossLaw | str) -> str:
    if isinstance(short, str) or isinstance(full, str) or not (short.holds and full.holds):
        return ABSENT
    return f"{short.tolerance[ACCEPTED[0]][0] - full.tolerance[ACCEPTED[0]][0]:+z.1f}"
