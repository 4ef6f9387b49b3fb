"""The samples of one part of a claim: networks paired by seed that differ only in what the claim compares.

A sample holds one difference (or ratio) for each seed. It also says what it rests on: steps, seeds, and the replicates
that failed, diverged, collapsed or lack a partner.
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
from analysis.claims.effects import Effect, SeedEffects
from analysis.claims.ledger import READING_FIELDS, Difference, Equivalence, Interaction, Ledger, Log10Ratio, Threshold
from analysis.claims.pool import Pool
from analysis.claims.value import Value
from trainables.schema import TrialConfig

_USUAL = {name: TrialConfig.model_fields[name].default for name in READING_FIELDS}
OfValues = Difference | Log10Ratio | Threshold | Equivalence | Interaction


@dataclass(frozen=True)
class Sample:
    """The numbers that one test rests on; without an effect it could not be measured, and `note` says why.

    Attributes:
        contrast: The arms and how they are compared, as a reader writes it.
        value: The number of each replicate, as a reader writes it.
        at: The value of `by`, or of the label in `each`; empty if the part has neither.
        reading: Every field of READING_FIELDS that applies to the first arm, and the second's `other output` and `other
            network` (its activation, or that it is a VAE).
        departs: The free fields of the reading that are off their default: tests of one reading share them.
        effect: The effect over the seeds, in the part's unit.
        seeds: The seeds of the effect.
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
    effect: Effect | None = field(default=None, compare=False)
    seeds: tuple[int, ...] = ()
    excess: float = float("nan")
    budget: int | None = None
    budget_text: str = ""
    trouble: Trouble = field(default_factory=Trouble)
    note: str = ""
    unplanned: bool = False


def samples_of_values(pool: Pool, ledger: Ledger, part: OfValues) -> list[Sample]:
    """The samples of a part that compares values: a sample for each pair or arm, label, reading and value of `by`."""
    each = {word: part.value.model_copy(update={"each": (), "index": word}) for word in part.value.each}
    labels = each or {"": part.value}
    groups: Sequence[tuple[str, ...]] = part.pairs or [(name,) for name in part.arms]
    samples: list[Sample] = []
    for label, value in labels.items():
        for names in groups:
            arms = tuple(bind(ledger, name, part, (part.by, *part.readings)) for name in names)
            of_arms = [_paired(pool, part, value, arms, match) for match in matched(pool, part, value, arms)]
            samples += [replace(s, at=s.at | {"index": label}) if label else s for s in of_arms]
    if part.by and len({sample.at[part.by] for sample in samples if sample.effect}) < part.least:
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
    values = _values(part, value)
    every = [valued(pool, _between(part, arm.rows(pool)), v) for arm, v in zip(arms, values, strict=False)]
    free = arms[0].free
    cells = [split(rows, [f for f in free if f in arm.free]) for rows, arm in zip(every, arms, strict=True)]
    for key in cells[0] or [frozenset()]:
        keys = [frozenset((f, v) for f, v in key if f in arm.free) for arm in arms]
        partners = [of.get(own, rows[:0]) for of, own, rows in zip(cells, keys, every, strict=True)] if key else every
        fields = dict(key)
        departs = tuple((f, fields[f]) for f in free if f in part.readings and f in fields and fields[f] != _USUAL[f])
        at = {part.by: fields[part.by]} if part.by in fields else {}
        yield Match(at_budget(partners, arms), at, _reading(arms, fields), departs)


def _between(part: OfValues, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows whose value of `by` lies between the part's two."""
    if part.between is None or part.by not in rows:
        return rows
    return rows[rows[part.by].between(*part.between)]


def _paired(pool: Pool, part: OfValues, value: Value, arms: tuple[Arm, ...], match: Match) -> Sample:
    """The sample of matched cells."""
    rows, budget, missing, left_out = match.at_budget
    base = Sample(_contrast(part, arms), value.label, match.at, match.reading, match.departs, budget=budget)
    if missing:
        return replace(base, note=missing.reason, unplanned=missing.unplanned and bool(part.by or part.readings))
    numbers = [_by_draw(pool, value, frame, arm) for frame, arm in zip(rows, arms, strict=True)]
    values = _values(part, value)
    read = list(zip(values, [*rows, *rows[:1]], strict=False))
    if len(read) > len(numbers):
        numbers.append(seedwise(valued(pool, rows[0], values[1])))
    numbers = _aligned(numbers, [arm.closed_form and not value.drawn for arm in (*arms, *arms[:1])])
    bounds = [_bounds(pool, *source, series) for source, series in zip(read, numbers, strict=True)]
    effects = pd.DataFrame({name: _effects(part, ends) for name, ends in _ends(bounds).items()}).dropna()
    if not len(effects):
        return replace(base, note="no seed has a value in every arm")
    return replace(
        base,
        effect=SeedEffects(
            effects["values"].to_numpy(),
            effects["lower"].to_numpy(),
            effects["upper"].to_numpy(),
            _resolution(part, value, numbers),
        ),
        seeds=tuple(int(seed) for seed in effects.index),
        excess=_excess(pool, rows[-1], values[-1], effects.index),
        budget_text=budget_text(budget, arms),
        trouble=trouble_of(rows, list(effects.index), arms),
        note="; ".join(filter(None, (_never(numbers), left_out))),
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


class _Bounds(NamedTuple):
    """Numbers by seed, and the least and the most that each may be."""

    values: pd.Series
    lower: pd.Series
    upper: pd.Series


def _bounds(pool: Pool, value: Value, rows: pd.DataFrame, numbers: pd.Series) -> _Bounds:
    """Numbers with their bounds: a time lies between two evaluations, or after the last one if it never came."""
    if value.steps_until is None:
        return _Bounds(numbers, numbers, numbers)
    lower = seedwise(valued(pool, rows, value, lower=True))[numbers.index]
    return _Bounds(numbers.where(np.isfinite(numbers), lower), lower, numbers)


def _ends(bounds: Sequence[_Bounds]) -> dict[str, list[pd.Series]]:
    """The numbers of all arms that make the effect, the least and the most that it may be."""
    first, *others = bounds
    return {
        "values": [each.values for each in bounds],
        "lower": [first.lower, *(other.upper for other in others)],
        "upper": [first.upper, *(other.lower for other in others)],
    }


def _effects(part: OfValues, numbers: Sequence[pd.Series]) -> pd.Series:
    """The effect by seed of the arms' numbers."""
    first, *others = numbers
    if isinstance(part, Log10Ratio):
        with np.errstate(divide="ignore"):
            first, *others = (np.log10(series.where(series > 0)) for series in numbers)
    if others:
        return first - others[0]
    return first - ((part.target if isinstance(part, Equivalence) else None) or 0.0)


def _resolution(part: OfValues, value: Value, numbers: Sequence[pd.Series]) -> float:
    """The step of an effect that counts something; 0 of any other."""
    if isinstance(part, Log10Ratio) or not value.counts:
        return 0.0
    return float(np.sqrt(len(numbers)))  # a difference is rounded twice


def _never(numbers: Sequence[pd.Series]) -> str:
    """A note on the arms that never got there."""
    notes = []
    for name, series in zip(("first", "second"), numbers, strict=False):
        if never := int(np.isinf(series).sum()):
            notes.append(f"the {name} arm never got there in {never} of {len(series)} seeds: its last step is a bound")
    return "; ".join(notes)


def _excess(pool: Pool, rows: pd.DataFrame, value: Value, seeds: pd.Index) -> float:
    """An arm's mean loss above the floor."""
    if "nll" not in str(value.metric or value.profile):
        return float("nan")
    above = valued(pool, rows, value.model_copy(update={"excess": True}))
    series = seedwise(above)
    return float(series[series.index.isin(seeds)].mean()) if len(series) > 1 else float(series.mean())


def _interactions(samples: list[Sample], part: Interaction) -> list[Sample]:
    """Differences at each N minus those at the reference, by seed."""
    interactions = []
    for sample in samples:
        if sample.at.get(part.by) == part.reference:
            continue
        base = [s for s in samples if s.contrast == sample.contrast and s.at.get(part.by) == part.reference]
        name = f"({sample.contrast}) minus the same at {part.by} = {part.reference}"
        if not base or not base[0].effect or not sample.effect:
            sample = replace(sample, contrast=name, effect=None, note=sample.note or "no reference N")
            interactions.append(sample)
            continue
        here, there = (_by_seed(each) for each in (sample, base[0]))
        seeds = sorted(set(here.index) & set(there.index))
        effect = SeedEffects(
            (here["values"] - there["values"])[seeds].to_numpy(),
            (here["lower"] - there["upper"])[seeds].to_numpy(),
            (here["upper"] - there["lower"])[seeds].to_numpy(),
            float(np.sqrt(2)) * getattr(sample.effect, "resolution", 0.0),
        )
        interactions.append(replace(sample, contrast=name, effect=effect, seeds=tuple(seeds)))
    return interactions or [Sample("", note="no such replicate")]


def _by_seed(sample: Sample) -> pd.DataFrame:
    effect = sample.effect
    ends = {name: getattr(effect, name) for name in ("values", "lower", "upper")}
    return pd.DataFrame(ends, index=list(sample.seeds))


def _values(part: OfValues, value: Value) -> tuple[Value, ...]:
    """The first arm's value, and the second one's or, of a part with one arm, the one that it is compared with."""
    against = part.against if isinstance(part, Threshold | Equivalence) else None
    if part.pairs:
        return value, against or value
    return (value,) if against is None else (value, against)


def _contrast(part: OfValues, arms: tuple[Arm, ...]) -> str:
    names = [arm.name for arm in arms]
    if isinstance(part, Log10Ratio):
        return " over ".join(names)
    if isinstance(part, Threshold | Equivalence) and part.against is not None:
        other = f", minus its {part.against.label}" if len(arms) == 1 else f" minus {names[1]}'s {part.against.label}"
        return names[0] + other
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
