"""The arms of a claim's part: their replicates, one per seed, at a budget that all of them have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from analysis.claims.ledger import BUDGET_FIELDS, UNMATCHED_FIELDS, Ledger, TestedPart
from analysis.claims.pool import Pool
from analysis.claims.value import Value
from trainables.schema import TrialConfig

_COLUMNS = ["replicate", "seed", "status", "collapsed", "precision", "latent_dim"]
FieldValues: TypeAlias = frozenset[tuple[str, Any]]
"""Config fields with their values, `{(field, value)}`."""


class Arm(NamedTuple):
    """An arm as a part uses it: its config, and the fields of it that are not matched."""

    name: str
    config: TrialConfig
    free: tuple[str, ...]
    unmatched: frozenset[str] = frozenset(UNMATCHED_FIELDS)

    @property
    def closed_form(self) -> bool:
        """Whether it has one replicate, whatever the seed, which then is every seed's partner."""
        return self.config.task == "pca"

    def has(self, field: str) -> bool:
        """Whether a config field applies to it."""
        return getattr(self.config, field) is not None or field == "digit"

    def rows(self, pool: Pool) -> pd.DataFrame:
        """The arm's replicates, with the fields that differ between them."""
        matched = TrialConfig.model_fields.keys() - self.unmatched - set(self.free)
        masks = [pool.having(name, getattr(self.config, name)) for name in sorted(matched)]
        return pool.ends.loc[np.logical_and.reduce(masks), [*dict.fromkeys((*_COLUMNS, *BUDGET_FIELDS, *self.free))]]


@dataclass(frozen=True)
class Trouble:
    """Counts of the replicates that a sample leaves out or that a reader should know of, at its budget, over its arms.

    A pending replicate is unfinished if a later seed of its arm has begun: an arm may have fewer seeds than others.
    """

    failed: int = 0
    diverged: int = 0
    unfinished: int = 0
    unrecorded: int = 0
    unpaired: int = 0
    collapsed: int = 0

    def __add__(self, other: Trouble) -> Trouble:
        """Adds the counts."""
        return Trouble(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))


class Missing(NamedTuple):
    """Why there is no sample; `unplanned`: no run was to have it."""

    reason: str
    unplanned: bool


class AtBudget(NamedTuple):
    """The rows of each arm at one budget, of training steps or images; `missing` if they have none in common.

    `left_out` names the other budgets that all arms have, and their seeds.
    """

    rows: tuple[pd.DataFrame, ...]
    budget: int | None = None
    missing: Missing | None = None
    left_out: str = ""


def bind(ledger: Ledger, name: str, part: TestedPart, free: Sequence[str | None]) -> Arm:
    """An arm as a part uses it: fields that the part leaves free are so unless the arm names them itself."""
    own = ledger.arms[name]
    arm = Arm(name, ledger.arm(name, part.where), (), frozenset(UNMATCHED_FIELDS) - own.keys() - part.where.keys())
    return arm._replace(free=tuple(field for field in free if field and field not in own and arm.has(field)))


def at_budget(rows: Sequence[pd.DataFrame], arms: Sequence[Arm]) -> AtBudget:
    """The replicates of each arm at the budget at which most seeds have a value in all of them; the largest such.

    A longer run of one seed therefore takes nothing from those that the others have. `rows` have the columns of
    `Pool.ends` and `value`.
    """
    budget, chosen, left_out = None, list(rows), ""
    if any(not frame["value"].notna().any() for frame in chosen):
        return AtBudget(tuple(chosen), missing=_missing(chosen, arms, None))
    for name in BUDGET_FIELDS:
        bound = [index for index, arm in enumerate(arms) if arm.has(name)]
        if not bound:
            continue
        seeds = _seeds_by_budget([chosen[index] for index in bound], name)
        if not seeds:
            return AtBudget(tuple(chosen), missing=_missing(chosen, arms, name))
        budget = max(seeds, key=lambda size: (seeds[size], size))
        others = (f"{size:,} {name.replace('_', ' ')} ({seeds[size]} seeds)" for size in sorted(seeds) if size > budget)
        left_out = ", ".join(others).replace("(1 seeds)", "(1 seed)")
        for index in bound:
            chosen[index] = chosen[index][chosen[index][name] == budget]
    return AtBudget(tuple(chosen), budget, left_out=f"left out: {left_out}" if left_out else "")


def _seeds_by_budget(rows: Sequence[pd.DataFrame], name: str) -> dict[int, int]:
    """How many seeds have a value in all arms, by the budgets that all of them have."""
    runs = [set(frame.loc[frame["value"].notna(), [name, "seed"]].itertuples(index=False, name=None)) for frame in rows]
    sizes = set.intersection(*({size for size, _ in of_arm if size is not None} for of_arm in runs))
    shared = Counter(size for size, _ in set.intersection(*runs))
    return {int(size): shared[size] for size in sizes}


def _missing(rows: Sequence[pd.DataFrame], arms: Sequence[Arm], budget: str | None) -> Missing:
    """Why there is no sample: first empty arms, then unfinished ones, then values that were not recorded."""
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


def budget_text(budget: int | None, arms: Sequence[Arm]) -> str:
    """A budget as a reader writes it."""
    if budget is None:
        return "closed form"
    return f"{budget:,} {'images' if all(arm.config.task == 'intrinsic_dimension' for arm in arms) else 'steps'}"


def trouble_of(rows: Sequence[pd.DataFrame], used: Sequence[int], arms: Sequence[Arm]) -> Trouble:
    """Counts the replicates that are not among the seeds used, and those used that have collapsed."""
    return sum((_trouble(frame, used, arm) for frame, arm in zip(rows, arms, strict=True)), Trouble())


def _trouble(rows: pd.DataFrame, used: Sequence[int], arm: Arm) -> Trouble:
    best = rows.iloc[one_per_seed(rows)]
    status, recorded = best["status"].to_numpy(), best["value"].notna().to_numpy()
    finished = status == "finished"
    in_sample = finished & (best["seed"].isin(used).to_numpy() | arm.closed_form)
    before_the_last = best["seed"].to_numpy() < best.loc[status != "pending", "seed"].max()
    return Trouble(
        failed=int((status == "failed").sum()),
        diverged=int((status == "diverged").sum()),
        unfinished=int((np.isin(status, ("running", "stopped")) | (status == "pending") & before_the_last).sum()),
        unrecorded=int((finished & ~recorded).sum()),
        unpaired=int((finished & recorded & ~in_sample).sum()),
        collapsed=sum(one is True for one in best["collapsed"].to_numpy(object)[in_sample]),
    )


def split(rows: pd.DataFrame, fields: Sequence[str]) -> dict[FieldValues, pd.DataFrame]:
    """The rows by their values in these fields, in order of the values; whole if there are no fields."""
    if not fields:
        return {frozenset(): rows}
    places = rows.groupby(list(fields), sort=True).indices
    keys = {key: key if isinstance(key, tuple) else (key,) for key in places}
    return {frozenset(zip(fields, keys[key], strict=True)): rows.iloc[place] for key, place in places.items()}


def one_per_seed(rows: pd.DataFrame) -> np.ndarray:
    """The places of one replicate of each seed, by rising seed; one with a value comes first, and then fp32.

    Cells that differ in UNMATCHED_FIELDS, or in which of FLOAT32, are one training.
    """
    order = np.lexsort([rows["precision"].to_numpy() == "tf32", rows["value"].isna().to_numpy()])
    _, first = np.unique(rows["seed"].to_numpy()[order], return_index=True)
    return np.asarray(order[first])


def seedwise(rows: pd.DataFrame) -> pd.Series:
    """The value by seed, in order of the seeds, of the finished replicates that have one."""
    best = one_per_seed(rows)
    values = pd.Series(rows["value"].to_numpy(dtype=float)[best], index=rows["seed"].to_numpy(dtype=int)[best])
    return values.dropna()


def valued(pool: Pool, rows: pd.DataFrame, value: Value, *, lower: bool = False) -> pd.DataFrame:
    """These rows of `pool.ends` with the column `value`: see `Pool.values`."""
    return rows.assign(value=pool.values(value, lower=lower)[rows.index])
