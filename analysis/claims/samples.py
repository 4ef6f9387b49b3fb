"""From a part of a claim to its samples: one effect per seed, of arms that are matched in all else and paired by seed.

A sample says what it rests on: steps, seeds, and the replicates that failed, diverged, collapsed or lack a partner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.claims.arms import (
    Arm,
    AtBudget,
    Trouble,
    at_budget,
    bind,
    budget_text,
    seedwise,
    split,
    trouble_of,
    valued,
)
from analysis.claims.ledger import READING_FIELDS, Difference, Equivalence, Interaction, Ledger, Log10Ratio, Threshold
from analysis.claims.pool import Pool
from analysis.claims.value import Value
from trainables.schema import TrialConfig

OfValues = Difference | Log10Ratio | Threshold | Equivalence | Interaction


@dataclass(frozen=True)
class Sample:
    """The numbers that one test rests on; without values it could not be measured, and `note` says why.

    Attributes:
        contrast: The arms and how they are compared, as a reader writes it.
        value: The number of each replicate, as a reader writes it.
        at: The value of `by`, or of the label in `each`; empty if the part has neither.
        reading: Every field of READING_FIELDS that applies to the first arm, and the second's `other output` and `other
            network` (its activation, or that it is a VAE).
        departs: The free fields of the reading that are off their default: tests of one reading share them.
        values: The effect per seed, `(num_seeds,)`, in the part's unit.
        seeds: The seeds of `values`.
        means: The arms' means.
        excess: The second arm's mean loss above the floor; NaN if it is no loss.
        budget: Training steps or sample size; None if the arms have none.
        budget_text: The same, as a reader writes it.
        unplanned: Whether no run was to have the partner at this N or in this reading.
    """

    contrast: str
    value: str = ""
    at: dict[str, Any] = field(default_factory=dict)
    reading: dict[str, Any] = field(default_factory=dict)
    departs: tuple[tuple[str, Any], ...] = ()
    values: np.ndarray = field(default_factory=lambda: np.empty(0), compare=False)
    seeds: tuple[int, ...] = ()
    means: tuple[float, ...] = ()
    excess: float = float("nan")
    budget: int | None = None
    budget_text: str = ""
    trouble: Trouble = field(default_factory=Trouble)
    note: str = ""
    unplanned: bool = False


def samples_of_values(pool: Pool, ledger: Ledger, part: OfValues) -> list[Sample]:
    """The samples of a part that compares values: a sample for each pair or arm, label, reading and value of `by`."""
    labels: dict[str, Value] = {"": part.value}
    if part.value.each is not None:
        labels = {k: part.value.model_copy(update={"each": None, "index": i}) for k, i in part.value.each.items()}
    groups: Sequence[tuple[str, ...]] = part.pairs or [(name,) for name in part.arms]
    samples: list[Sample] = []
    for label, value in labels.items():
        for names in groups:
            arms = tuple(bind(ledger, name, part, (part.by, *part.readings)) for name in names)
            of_arms = [_paired(pool, part, value, arms, match) for match in matched(pool, part, value, arms)]
            samples += [replace(s, at=s.at | {"index": label}) if label else s for s in of_arms]
    if part.by and len({sample.at[part.by] for sample in samples if len(sample.values)}) < part.least:
        samples.append(Sample("", note=f"fewer than {part.least} values of {part.by}"))
    return _interactions(samples, part) if isinstance(part, Interaction) else samples


class Match(NamedTuple):
    """Replicates of each arm that agree in all matched fields, at one budget."""

    at_budget: AtBudget
    at: dict[str, Any]
    reading: dict[str, Any]
    departs: tuple[tuple[str, Any], ...]


def matched(pool: Pool, part: OfValues, value: Value, arms: tuple[Arm, ...]) -> Iterator[Match]:
    """Each cell of the first arm with the cells of the others that agree in every field that is free in both."""
    every = [valued(pool, arm.rows(pool), value) for arm in arms]
    free = arms[0].free
    cells = [split(rows, [f for f in free if f in arm.free]) for rows, arm in zip(every, arms, strict=True)]
    for key in cells[0] or [frozenset()]:
        keys = [frozenset((f, v) for f, v in key if f in arm.free) for arm in arms]
        partners = [of.get(own, rows[:0]) for of, own, rows in zip(cells, keys, every, strict=True)] if key else every
        fields = dict(key)
        departs = tuple((f, fields[f]) for f in free if f in part.readings and f in fields and fields[f] != _default(f))
        at = {part.by: fields[part.by]} if part.by in fields else {}
        yield Match(at_budget(partners, arms), at, _reading(arms, fields), departs)


def _paired(pool: Pool, part: OfValues, value: Value, arms: tuple[Arm, ...], match: Match) -> Sample:
    """The sample of matched cells."""
    rows, budget, missing = match.at_budget
    base = Sample(_contrast(part, arms), value.label, match.at, match.reading, match.departs, budget=budget)
    if missing:
        return replace(base, note=missing.reason, unplanned=missing.unplanned and bool(part.by or part.readings))
    numbers = [_by_draw(pool, value, frame, arm) for frame, arm in zip(rows, arms, strict=True)]
    if isinstance(part, Threshold) and part.against is not None:
        numbers.append(seedwise(valued(pool, rows[0], part.against)))
    first, *others = _aligned(numbers, [arm.closed_form and not value.drawn for arm in (*arms, *arms[:1])])
    first, others, note = _censored(part, first, others, budget)
    effects = _effects(part, first, others)
    effects = effects[np.isfinite(effects)]
    if not len(effects):
        return replace(base, note=note or "no seed has a value in every arm")
    return replace(
        base,
        values=effects.to_numpy(),
        seeds=tuple(int(seed) for seed in effects.index),
        means=tuple(float(series[effects.index].mean()) for series in (first, *others)),
        excess=_excess(pool, rows[-1], value, effects.index),
        budget_text=budget_text(budget, arms),
        trouble=trouble_of(rows, list(effects.index), arms),
        note=note,
    )


def _by_draw(pool: Pool, value: Value, rows: pd.DataFrame, arm: Arm) -> pd.Series:
    """The value by seed; of an arm in closed form for which a seed draws something, by the seed that drew."""
    values = seedwise(rows)
    if not (value.drawn and arm.closed_form):
        return values
    while len(values):
        draw = value.model_copy(update={"profile": f"{value.profile}/{len(values)}"})
        if not len(drawn := valued(pool, rows, draw)["value"].dropna()):
            break
        values[len(values)] = drawn.iloc[0]
    return values


def _aligned(numbers: list[pd.Series], fixed: Sequence[bool]) -> list[pd.Series]:
    """The series at the seeds that all have; a fixed one, of a closed form, is the partner of every seed."""
    pairs = list(zip(numbers, fixed, strict=False))
    drawn = [series for series, one in pairs if not one]
    seeds = sorted(set.intersection(*(set(series.index) for series in drawn or numbers)))
    return [pd.Series(series.iloc[0], index=seeds) if one and drawn else series[seeds] for series, one in pairs]


def _censored(
    part: OfValues, first: pd.Series, others: list[pd.Series], budget: int | None
) -> tuple[pd.Series, list[pd.Series], str]:
    """Arms that never got there: the first counts as its last step, a lower bound; seeds of the second are left out."""
    never, without = int(np.isinf(first).sum()), sum(int(np.isinf(series).sum()) for series in others)
    notes = []
    if never and isinstance(part, Log10Ratio) and part.direction == "greater" and budget:
        first = first.replace(float("inf"), float(budget))
        notes.append(
            f"the first arm never got there in {never} of {len(first)} seeds: its last step counts, a lower bound"
        )
    elif never:
        notes.append(f"{never} seeds never got there and are left out")
    if without:
        notes.append(f"the second arm never got there in {without} seeds, which are left out")
    return first, others, "; ".join(notes)


def _effects(part: OfValues, first: pd.Series, others: list[pd.Series]) -> pd.Series:
    if isinstance(part, Log10Ratio):
        numbers = pd.DataFrame({"first": first, "second": others[0]})
        logs = np.log10(numbers.where((numbers > 0) & np.isfinite(numbers)).to_numpy(dtype=float))
        return pd.Series(logs[:, 0] - logs[:, 1], index=numbers.index)
    finite = first.where(np.isfinite(first))
    if others:
        return finite - others[0].where(np.isfinite(others[0]))
    target = part.target if isinstance(part, Equivalence) else None
    return finite - (target or 0.0)


def _excess(pool: Pool, rows: pd.DataFrame, value: Value, seeds: pd.Index) -> float:
    """An arm's mean loss above the floor."""
    if value.metric is None or "nll" not in value.metric:
        return float("nan")
    above = valued(pool, rows, value.model_copy(update={"excess": True}))
    series = seedwise(above)
    return float(series[series.index.isin(seeds)].mean()) if len(series) > 1 else float(series.mean())


def _interactions(samples: list[Sample], part: Interaction) -> list[Sample]:
    """Differences at each N minus those at the reference, by seed."""
    interactions = []
    for sample in samples:
        base = [s for s in samples if s.contrast == sample.contrast and s.at.get(part.by) == part.reference]
        if sample.at.get(part.by) == part.reference:
            continue
        name = f"({sample.contrast}) minus the same at {part.by} = {part.reference}"
        if not base or not len(base[0].values) or not len(sample.values):
            interactions.append(
                replace(sample, contrast=name, values=np.empty(0), note=sample.note or "no reference N")
            )
            continue
        here, there = (pd.Series(s.values, index=s.seeds) for s in (sample, base[0]))
        effects = (here - there).dropna()
        seeds = tuple(int(seed) for seed in effects.index)
        interactions.append(replace(sample, contrast=name, values=effects.to_numpy(), seeds=seeds, means=()))
    return interactions or [Sample("", note="no such replicate")]


def _contrast(part: OfValues, arms: tuple[Arm, ...]) -> str:
    names = [arm.name for arm in arms]
    if isinstance(part, Log10Ratio):
        return " over ".join(names)
    if isinstance(part, Threshold) and part.against is not None:
        return f"{names[0]}, minus its {part.against.label}"
    target = f" minus {part.target:g}" if isinstance(part, Equivalence) and part.target is not None else ""
    return " minus ".join(names) + target


def _reading(arms: tuple[Arm, ...], shared: Mapping[str, Any]) -> dict[str, Any]:
    """The first arm's fields of the reading, and what the other network is."""
    first = arms[0].config
    reading = {f: shared.get(f, getattr(first, f)) if f in arms[0].free else getattr(first, f) for f in READING_FIELDS}
    if len(arms) > 1:
        other = arms[1]
        reading["other output"] = shared.get("output") if "output" in other.free else other.config.output
        reading["other network"] = other.config.model if other.config.variational else other.config.activation
    return {key: value for key, value in reading.items() if value is not None}


def _default(name: str) -> Any:
    return TrialConfig.model_fields[name].default
