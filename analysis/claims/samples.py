"""From a part of a claim to its samples: one effect per seed, of arms that are matched in all else and paired by seed.

A sample says on what it stands: steps, seeds, and the replicates that failed, diverged, collapsed or lack a partner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.claims.ledger import (
    BUDGET_FIELDS,
    READING_FIELDS,
    UNMATCHED_FIELDS,
    Difference,
    Equivalence,
    Interaction,
    Ledger,
    Log10Ratio,
    TestedPart,
    Threshold,
    Value,
)
from analysis.claims.pool import Pool
from trainables.schema import TrialConfig

_KEPT = ["replicate", "seed", "status", "collapsed", "precision", "latent_dim"]
OfValues = Difference | Log10Ratio | Threshold | Equivalence | Interaction


class Arm(NamedTuple):
    """An arm of a part: its config, and the fields of it that are not matched."""

    name: str
    config: TrialConfig
    free: tuple[str, ...]
    unmatched: frozenset[str] = frozenset(UNMATCHED_FIELDS)

    @property
    def closed_form(self) -> bool:
        """Whether it has one replicate, whatever the seed, which then is every seed's partner."""
        return self.config.task == "pca"

    def rows(self, pool: Pool) -> pd.DataFrame:
        """The replicates that it selects, with the fields that differ between them."""
        matched = TrialConfig.model_fields.keys() - self.unmatched - set(self.free)
        masks = [pool.having(name, getattr(self.config, name)) for name in sorted(matched)]
        return pool.ends.loc[np.logical_and.reduce(masks), [*dict.fromkeys((*_KEPT, *BUDGET_FIELDS, *self.free))]]


@dataclass(frozen=True)
class Trouble:
    """Replicates, at a sample's budget, that are not in it or should be known of; counts over all its arms."""

    failed: int = 0
    diverged: int = 0
    unfinished: int = 0
    unrecorded: int = 0
    unpaired: int = 0
    collapsed: int = 0


@dataclass(frozen=True)
class Sample:
    """What one test is made of; without values it could not be measured, and `note` says why.

    Attributes:
        contrast: What is subtracted from what, as a reader writes it.
        value: What of each replicate enters.
        at: The value of `by`, or of the label in `each`; empty if the part has neither.
        reading: Every field of READING_FIELDS that applies to the first arm, and the second's `other output` and `other
            network` (its activation, or that it is a VAE).
        departs: The free fields of the reading that are off their default: tests of one reading share them.
        values: The effect per seed, `(num_seeds,)`, in the part's unit.
        seeds: These seeds.
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
    values: np.ndarray = field(default_factory=lambda: np.empty(0))
    seeds: tuple[int, ...] = ()
    means: tuple[float, ...] = ()
    excess: float = float("nan")
    budget: int | None = None
    budget_text: str = ""
    trouble: Trouble = Trouble()
    note: str = ""
    unplanned: bool = False


def samples_of_values(pool: Pool, ledger: Ledger, part: OfValues) -> list[Sample]:
    """The samples of a part that compares values: a sample for each pair or arm, label, reading and value of `by`."""
    labels: dict[str, Value] = {"": part.value}
    if part.value.each is not None:
        labels = {k: part.value.model_copy(update={"each": None, "index": i}) for k, i in part.value.each.items()}
    groups: Sequence[tuple[str, ...]] = part.pairs or [(name,) for name in part.arms]
    found = []
    for label, value in labels.items():
        for names in groups:
            arms = tuple(bind(ledger, name, part, (part.by, *part.readings)) for name in names)
            samples = [_paired(pool, part, value, arms, cell) for cell in matched(pool, part, value, arms)]
            found += [replace(s, at=s.at | {"index": label}) if label else s for s in samples]
    if part.by and len({sample.at[part.by] for sample in found if len(sample.values)}) < part.least:
        found.append(Sample("", note=f"fewer than {part.least} values of {part.by}"))
    return _interactions(found, part) if isinstance(part, Interaction) else found


def bind(ledger: Ledger, name: str, part: TestedPart, free: Sequence[str | None]) -> Arm:
    """An arm as a part uses it: fields that the part leaves free are so unless the arm names them itself."""
    config = ledger.arm(name, part.where)
    own = ledger.arms[name]
    unmatched = frozenset(UNMATCHED_FIELDS) - own.keys() - part.where.keys()
    return Arm(name, config, tuple(f for f in free if f and f not in own and _applies(config, f)), unmatched)


class Missing(NamedTuple):
    """Why a cell has no sample; `unplanned`: no run was to have it."""

    reason: str
    unplanned: bool


class Cell(NamedTuple):
    """Matched replicates of each arm, at one budget, with their `value`; `missing` if there are none."""

    rows: tuple[pd.DataFrame, ...]
    at: dict[str, Any]
    reading: dict[str, Any]
    departs: tuple[tuple[str, Any], ...]
    budget: int | None
    missing: Missing | None


def matched(pool: Pool, part: OfValues, value: Value, arms: tuple[Arm, ...]) -> Iterator[Cell]:
    """Cells of the first arm with those of the others that agree in every field that is free in both."""
    every = [valued(pool, arm.rows(pool), value) for arm in arms]
    first, free = every[0], list(arms[0].free)
    parts = [split(frame, [name for name in free if name in arm.free]) for frame, arm in zip(every, arms, strict=True)]
    for key in parts[0] if len(first) else [()]:
        shared = dict(zip(free, key, strict=bool(len(first))))
        own = [tuple(shared[name] for name in free if name in shared and name in arm.free) for arm in arms]
        rows = [of.get(mine, frame[:0]) for of, mine, frame in zip(parts, own, every, strict=True)] if shared else every
        at = {part.by: shared[part.by]} if part.by and part.by in shared else {}
        reading = _reading(arms, shared)
        departs = tuple(
            (f, shared[f]) for f in free if f in part.readings and shared.get(f, _default(f)) != _default(f)
        )
        chosen, budget, missing = at_budget(rows, arms)
        yield Cell(chosen, at, reading, departs, budget, missing)


def at_budget(
    rows: Sequence[pd.DataFrame], arms: Sequence[Arm]
) -> tuple[tuple[pd.DataFrame, ...], int | None, Missing | None]:
    """The replicates of each arm at the largest budget at which all of them have a value; that budget; what is missing.

    `rows` have the columns of `Pool.ends` and `value`.
    """
    budget, chosen = None, list(rows)
    for name in BUDGET_FIELDS:
        bound = [index for index, arm in enumerate(arms) if _applies(arm.config, name)]
        if not bound:
            continue
        sizes = [set(chosen[index][name].to_numpy()[chosen[index]["value"].notna()]) for index in bound]
        common = set.intersection(*sizes)
        if not common:
            return tuple(chosen), None, _missing(chosen, arms, name)
        budget = int(max(common))
        for index in bound:
            chosen[index] = chosen[index][chosen[index][name] == budget]
    if any(not frame["value"].notna().any() for frame in chosen):
        return tuple(chosen), None, _missing(chosen, arms, None)
    return tuple(chosen), budget, None


def trouble_of(rows: Sequence[pd.DataFrame], used: Sequence[int], arms: Sequence[Arm]) -> Trouble:
    """Counts the replicates that are not among the seeds used, and those used that have collapsed."""
    counts = dict.fromkeys(Trouble.__dataclass_fields__, 0)
    for frame, arm in zip(rows, arms, strict=True):
        best = one_per_seed(frame)
        status, known = frame["status"].to_numpy()[best], frame["value"].notna().to_numpy()[best]
        finished = status == "finished"
        kept = finished & (np.isin(frame["seed"].to_numpy()[best], used) | arm.closed_form)
        counts["failed"] += int((status == "failed").sum())
        counts["diverged"] += int((status == "diverged").sum())
        counts["unfinished"] += sum(one in ("running", "pending", "stopped") for one in status)
        counts["unrecorded"] += int((finished & ~known).sum())
        counts["unpaired"] += int((finished & known & ~kept).sum())
        counts["collapsed"] += sum(one is True for one in frame["collapsed"].to_numpy(object)[best[kept]])
    return Trouble(**counts)


def split(rows: pd.DataFrame, fields: list[str]) -> dict[tuple[Any, ...], pd.DataFrame]:
    """The rows by their values in these fields, in order of the values; whole if there are no fields."""
    if not fields:
        return {(): rows}
    places = rows.groupby(fields, sort=True).indices
    return {key if isinstance(key, tuple) else (key,): rows.iloc[place] for key, place in places.items()}


def one_per_seed(rows: pd.DataFrame) -> np.ndarray:
    """Where one replicate of each seed stands, by rising seed; one with a value comes first, and then fp32.

    Cells that differ in UNMATCHED_FIELDS, or in which of FLOAT32, are one training.
    """
    order = np.lexsort([rows["precision"].to_numpy() == "tf32", rows["value"].isna().to_numpy()])
    _, first = np.unique(rows["seed"].to_numpy()[order], return_index=True)
    return np.asarray(order[first])


def seedwise(rows: pd.DataFrame) -> pd.Series:
    """The value by seed, in order of the seeds, of the finished replicates that have one."""
    best = one_per_seed(rows)
    found = pd.Series(rows["value"].to_numpy(dtype=float)[best], index=rows["seed"].to_numpy(dtype=int)[best])
    return found.dropna()


def budget_text(budget: int | None, arms: Sequence[Arm]) -> str:
    """A budget as a reader writes it."""
    if budget is None:
        return "closed form"
    return f"{budget:,} {'images' if all(arm.config.task == 'intrinsic_dimension' for arm in arms) else 'steps'}"


def _paired(pool: Pool, part: OfValues, value: Value, arms: tuple[Arm, ...], cell: Cell) -> Sample:
    """The sample of a matched cell."""
    base = Sample(_contrast(part, arms), value.label, cell.at, cell.reading, cell.departs, budget=cell.budget)
    if cell.missing:
        return replace(
            base, note=cell.missing.reason, unplanned=cell.missing.unplanned and bool(part.by or part.readings)
        )
    numbers = [_by_draw(pool, value, frame, arm) for frame, arm in zip(cell.rows, arms, strict=True)]
    if isinstance(part, Threshold) and part.against is not None:
        numbers.append(seedwise(valued(pool, cell.rows[0], part.against)))
    first, *others = _aligned(numbers, [arm.closed_form and not value.drawn for arm in (*arms, *arms[:1])])
    first, others, note = _censored(part, first, others, cell.budget)
    effects = _effects(part, first, others)
    effects = effects[np.isfinite(effects)]
    if not len(effects):
        return replace(base, note=note or "no seed has a value in every arm")
    return replace(
        base,
        values=effects.to_numpy(),
        seeds=tuple(int(seed) for seed in effects.index),
        means=tuple(float(series[effects.index].mean()) for series in (first, *others)),
        excess=_excess(pool, cell, value, effects.index),
        budget_text=budget_text(cell.budget, arms),
        trouble=trouble_of(cell.rows, list(effects.index), arms),
        note=note,
    )


def _by_draw(pool: Pool, value: Value, rows: pd.DataFrame, arm: Arm) -> pd.Series:
    """`seedwise`; of what is in closed form but for what a seed draws, by the seed that drew."""
    found = seedwise(rows)
    if not (value.drawn and arm.closed_form):
        return found
    while len(found):
        draw = value.model_copy(update={"profile": f"{value.profile}/{len(found)}"})
        if not len(drawn := valued(pool, rows, draw)["value"].dropna()):
            break
        found[len(found)] = drawn.iloc[0]
    return found


def _aligned(numbers: list[pd.Series], fixed: Sequence[bool]) -> list[pd.Series]:
    """The series at the seeds that all have; one that is fixed is the partner of every seed."""
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


def _excess(pool: Pool, cell: Cell, value: Value, seeds: pd.Index) -> float:
    """The last arm's mean loss above the floor."""
    rows = cell.rows[-1]
    if value.metric is None or "nll" not in value.metric:
        return float("nan")
    above = valued(pool, rows, value.model_copy(update={"excess": True}))
    series = seedwise(above)
    return float(series[series.index.isin(seeds)].mean()) if len(series) > 1 else float(series.mean())


def _interactions(samples: list[Sample], part: Interaction) -> list[Sample]:
    """Differences at each N minus those at the reference, by seed."""
    found = []
    for sample in samples:
        base = [s for s in samples if s.contrast == sample.contrast and s.at.get(part.by) == part.reference]
        if sample.at.get(part.by) == part.reference:
            continue
        name = f"({sample.contrast}) minus the same at {part.by} = {part.reference}"
        if not base or not len(base[0].values) or not len(sample.values):
            found.append(replace(sample, contrast=name, values=np.empty(0), note=sample.note or "no reference N"))
            continue
        here, there = (pd.Series(s.values, index=s.seeds) for s in (sample, base[0]))
        effects = (here - there).dropna()
        seeds = tuple(int(seed) for seed in effects.index)
        found.append(replace(sample, contrast=name, values=effects.to_numpy(), seeds=seeds, means=()))
    return found or [Sample("", note="no such replicate")]


def _contrast(part: OfValues, arms: tuple[Arm, ...]) -> str:
    names = [arm.name for arm in arms]
    if isinstance(part, Log10Ratio):
        return " over ".join(names)
    if isinstance(part, Threshold) and part.against is not None:
        return f"{names[0]}, minus its {part.against.label}"
    target = f" minus {part.target:g}" if isinstance(part, Equivalence) and part.target is not None else ""
    return " minus ".join(names) + target


def valued(pool: Pool, rows: pd.DataFrame, value: Value) -> pd.DataFrame:
    """These rows with the column `value`, NaN for replicates that have not finished."""
    numbers = rows["replicate"].map(pool.values(value)).astype(float)
    return rows.assign(value=numbers.where(rows["status"] == "finished"))


def _missing(rows: Sequence[pd.DataFrame], arms: Sequence[Arm], budget: str | None) -> Missing:
    """Why a cell has no sample; empty arms first, then unfinished ones, then what was not recorded."""
    pairs = list(zip(rows, arms, strict=True))
    if absent := [arm.name for frame, arm in pairs if not len(frame)]:
        return Missing(f"no replicate of {', '.join(dict.fromkeys(absent))}", unplanned=True)
    if waiting := [arm.name for frame, arm in pairs if not (frame["status"] == "finished").any()]:
        return Missing(f"no finished replicate of {', '.join(dict.fromkeys(waiting))}", unplanned=False)
    if blank := [arm.name for frame, arm in pairs if not frame["value"].notna().any()]:
        return Missing(f"{', '.join(dict.fromkeys(blank))}: not recorded", unplanned=False)
    sizes = [
        f"{arm.name}: {', '.join(f'{int(size):,}' for size in sorted(set(frame[budget].dropna())))}"
        for frame, arm in pairs
    ]
    return Missing(f"no {budget} in common ({'; '.join(sizes)})", unplanned=True)


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


def _applies(config: TrialConfig, name: str) -> bool:
    return getattr(config, name) is not None or name == "digit"
