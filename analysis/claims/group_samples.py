"""Samples that compare more than two cells: rates over many, curves of several arms, a loss over N."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.claims.arms import (
    Arm,
    Trouble,
    at_budget,
    bind,
    budget_text,
    one_per_seed,
    seedwise,
    split,
    trouble_of,
    valued,
)
from analysis.claims.effects import CurveGap, PairedRates, SeedEffects
from analysis.claims.ledger import Curves, Ledger, Rate, Reach
from analysis.claims.pool import Pool
from analysis.claims.samples import Sample
from analysis.claims.value import Value
from analysis.dimension.curve_shapes import first_within

_NOISE_DRAWS = 100_000


def samples_of_rates(pool: Pool, ledger: Ledger, part: Rate) -> list[Sample]:
    """The share of trials in trouble of each pair of arms, first minus second, over the cells that both have."""
    pairs = [(bind(ledger, one, part, part.over), bind(ledger, other, part, part.over)) for one, other in part.pairs]
    return [_rate(pool, part, arms) for arms in pairs]


def samples_of_curves(pool: Pool, ledger: Ledger, part: Curves) -> list[Sample]:
    """The statistic of the arms' curves.

    A gap is one number of all seeds' mean curves; a lead is one number a seed.
    """
    arms = tuple(bind(ledger, name, part, ()) for name in part.arms)
    value = Value(metric=part.metric)
    every = [valued(pool, arm.rows(pool), value) for arm in arms]
    rows, budget, missing, left_out = at_budget(every, arms)
    base = Sample(", ".join(part.arms), f"{part.statistic.replace('_', ' ')} of {part.metric}", budget=budget)
    if missing or budget is None:
        return [replace(base, note=missing.reason if missing else "no training steps")]
    seeds = sorted(set.intersection(*(set(seedwise(frame).index) for frame in rows)))
    if not seeds:
        return [replace(base, note="no seed has finished in every arm")]
    if part.apart and len(seeds) < len(arms):
        return [
            replace(base, note=f"{len(arms)} networks at different seeds need as many, and {len(seeds)} have ended")
        ]
    curves = _curves(pool, part.metric, rows, seeds, part.after * budget)
    if part.apart:
        curves = np.stack([np.roll(of_arm, place, axis=0) for place, of_arm in enumerate(curves)])
    if not curves.size:
        return [replace(base, note=f"no evaluation after {100 * part.after:g} % of the run")]
    effect, note = _statistic(part, curves)
    return [
        replace(
            base,
            effect=effect,
            seeds=tuple(seeds),
            budget_text=budget_text(budget, arms),
            trouble=trouble_of(rows, seeds, arms),
            note="; ".join(filter(None, (f"{curves.shape[2]} evaluations{note}", left_out))),
        )
    ]


def samples_of_reach(pool: Pool, ledger: Ledger, part: Reach) -> list[Sample]:
    """The N, for each seed, at which one arm comes down to the other's value; each N at its longest run."""
    arm = bind(ledger, part.curve, part, ("latent_dim",))
    goal = bind(ledger, part.goal, part, ("latent_dim",))
    if part.goal_at is not None:
        goal = goal._replace(free=(), config=goal.config.model_copy(update={"latent_dim": part.goal_at}))
    base = Sample(_reach_contrast(part), part.value.label)
    by_dim, goals = (_by_dim(pool, part.value, each) for each in (arm, goal))
    if part.goal_at is None:
        by_dim = {dim: rows for dim, rows in by_dim.items() if dim in goals}
    if len(by_dim) < 2 or not goals:
        return [replace(base, note=f"{part.curve} and {part.goal} have not finished at two N or more")]
    table, aims = (pd.DataFrame({n: seedwise(rows) for n, rows in each.items()}).dropna() for each in (by_dim, goals))
    seeds = sorted(set(aims.index) & set(table.index))
    if not seeds:
        return [replace(base, note="no seed has finished at every N")]
    aim = aims[list(by_dim)] if part.goal_at is None else aims.iloc[:, [0] * len(by_dim)]
    above = table.loc[seeds].to_numpy() - aim.loc[seeds].to_numpy()
    reached = np.array([first_within(table.columns.to_numpy(), row, part.within) for row in above])
    chosen = [*by_dim.values(), *goals.values()]
    steps = [int(rows["steps"].iloc[0]) for rows in chosen]
    never = int(np.isnan(reached).sum())
    note = f"not up to N = {max(by_dim)} in {never} seeds, for which that N is a lower bound" if never else ""
    lower = np.where(np.isnan(reached), float(max(by_dim)), reached)
    upper = np.where(np.isnan(reached), np.inf, reached)
    return [
        replace(
            base,
            effect=SeedEffects(lower, lower, upper),
            seeds=tuple(seeds),
            budget=min(steps),
            budget_text=f"{min(steps):,} to {max(steps):,} steps" if min(steps) < max(steps) else f"{steps[0]:,} steps",
            trouble=trouble_of(chosen, seeds, [arm] * len(by_dim) + [goal] * len(goals)),
            note=note,
        )
    ]


def _reach_contrast(part: Reach) -> str:
    comes = f"within {part.within:g} of" if part.within else "down to"
    return f"N at which {part.curve} comes {comes} {part.goal} at {f'N = {part.goal_at}' if part.goal_at else 'that N'}"


def _by_dim(pool: Pool, value: Value, arm: Arm) -> dict[int, pd.DataFrame]:
    """An arm's replicates at each latent dimension at which they have ended, at the budget that most seeds have."""
    by_dim: dict[int, pd.DataFrame] = {}
    for dim, frame in valued(pool, arm.rows(pool), value).groupby("latent_dim"):
        (rows,), _, absent, _ = at_budget([frame], [arm])
        if absent is None:
            by_dim[int(str(dim))] = rows
    return by_dim


@dataclass(frozen=True)
class _Trials:
    """One cell of two arms: by seed whether the trial got into trouble, in columns 0 and 1."""

    in_trouble: pd.DataFrame
    budget: int
    rows: tuple[pd.DataFrame, ...]


def _rate(pool: Pool, part: Rate, arms: tuple[Arm, Arm]) -> Sample:
    first, second = arms
    base = Sample(f"{first.name} minus {second.name}", "share diverged or collapsed")
    cells = list(_trials(pool, part, arms))
    trials = pd.concat([cell.in_trouble for cell in cells]) if cells else pd.DataFrame()
    if not len(trials):
        return replace(base, note=f"no cell has ended both in {first.name} and in {second.name}")
    seeds = tuple(sorted({int(seed) for seed in trials.index}))
    only_first, only_second = (int((trials[one] > trials[1 - one]).sum()) for one in (0, 1))
    budget = min(cell.budget for cell in cells)
    note = ", ".join(f"{int(trials[i].sum())} of {len(trials)} in {arm.name}" for i, arm in enumerate(arms))
    if not trials.to_numpy().any():
        note += "; no trial did in either arm: there is nothing to avoid"
    return replace(
        base,
        effect=PairedRates(only_first, only_second, len(trials), len(seeds)),
        seeds=seeds,
        budget=budget,
        budget_text=budget_text(budget, arms),
        trouble=sum((trouble_of(cell.rows, seeds, arms) for cell in cells), Trouble()),
        note=note,
    )


def _trials(pool: Pool, part: Rate, arms: tuple[Arm, Arm]) -> Iterator[_Trials]:
    """The cells that both arms have, at one budget each."""
    first, second = (_in_trouble(arm.rows(pool)) for arm in arms)
    free = [field for field in part.over if all(field in arm.free for arm in arms)]
    partners = split(second, free)
    for key, cell in split(first, free).items():
        rows, budget, missing, _ = at_budget([cell, partners.get(key, second[:0])], arms)
        if missing is None and budget is not None:
            pairs = pd.DataFrame(dict(enumerate(map(seedwise, rows)))).dropna()
            yield _Trials(pairs, budget, rows)


def _in_trouble(rows: pd.DataFrame) -> pd.DataFrame:
    """`value`: 1 for a trial that has diverged or collapsed, 0 for another that has finished, NaN for the rest."""
    bad = (rows["status"] == "diverged") | rows["collapsed"].fillna(False).astype(bool)
    ended = rows["status"].isin(("finished", "diverged"))
    return rows.assign(value=bad.astype(float).where(ended))


def _curves(pool: Pool, metric: str, rows: tuple[pd.DataFrame, ...], seeds: list[int], after: float) -> np.ndarray:
    """A metric at the evaluations after step `after` that all have, `(arms, seeds, evaluations)`."""
    chosen = [frame.iloc[one_per_seed(frame)].set_index("seed")["replicate"] for frame in rows]
    names = [str(arm[seed]) for arm in chosen for seed in seeds]
    points = pool.curve(metric)
    points = points[points["replicate"].isin(names)]
    grid = points.pivot(index="step", columns="replicate", values="value").dropna()
    kept = grid[grid.index > after][names].to_numpy(dtype=float)
    array: np.ndarray = kept.T.reshape(len(rows), len(seeds), len(kept))
    return array


def _statistic(part: Curves, curves: np.ndarray) -> tuple[SeedEffects | CurveGap, str]:
    """The statistic of curves `(arms, seeds, evaluations)`, and a note on it."""
    if part.statistic != "least_lead":
        return CurveGap(curves, largest=part.statistic == "largest_gap"), ""
    leader = curves.argmin(axis=0)
    shares = np.stack([(leader == arm).mean(axis=1) for arm in range(len(part.arms))])
    means = shares.mean(axis=1)
    texts = (f"{name} {100 * share:.0f} %" for name, share in zip(part.arms, means, strict=True))
    effect = SeedEffects.exact(shares[int(means.argmin())], resolution=1 / curves.shape[2])
    alone = f"; {_by_noise_alone(part.arms, curves)}" if part.apart else ""
    return effect, f"; leads: {', '.join(texts)}{alone}"


def _by_noise_alone(names: tuple[str, ...], curves: np.ndarray) -> str:
    """The shares that arms would lead, had each its own mean and nothing but the spread of its points about it."""
    levels, spread = curves.mean(axis=(1, 2)), curves.std(axis=2).mean(axis=1)
    noise = np.random.default_rng(0).standard_normal((_NOISE_DRAWS, len(names)))
    leader = (levels + spread * noise).argmin(axis=1)
    texts = (f"{name} {100 * (leader == arm).mean():.0f} %" for arm, name in enumerate(names))
    return f"noise of sd {spread.mean():.1f} about their means alone predicts {', '.join(texts)}"
