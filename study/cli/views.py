"""What the command line shows of a study: before it runs cells, search, cost; then what it took, its best trials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from study import plan as space
from study.runfolder import device_hours
from study.searchspace import Range, SearchSpec
from study.spec import StudySpec, resolve_trial
from study.table import TableError, Tables
from study.tables.trials import search_of
from study.tables.trials import top as top_trials
from trainables.records import Standing as Outcome
from trainables.schema import METRICS, Replicate, TrialConfig

_PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False}  # what a spec says is shown as it is
OUT, ERR = Console(**_PLAIN), Console(stderr=True, **_PLAIN)
"""Where the command line prints."""


def cells_table(spec: StudySpec, plan: Sequence[Replicate]) -> Table:
    """Each cell, the fields in which cells differ, and what it costs."""
    cells = space.cells(spec)
    used = _used(spec)
    varying = [field for field, values in used.items() if len(values) > 1]
    shown = Table("cell", *varying, "seeds", "core-hours", box=None, header_style="bold")
    for label, config in cells.items():
        count = sum(replicate.cell == label for replicate in plan)
        values = ["-" if getattr(config, field) is None else str(getattr(config, field)) for field in varying]
        shown.add_row(label, *values, str(count), f"{count * space.core_hours(config):.2f}")
    return shown


def cells_lines(spec: StudySpec, plan: Sequence[Replicate], price: float | None = None) -> Iterator[str]:
    """What the cells have in common, and what all of them cost; in money at a price per core-hour."""
    same = [f"{field}={values.copy().pop()}" for field, values in _used(spec).items() if len(values) == 1]
    yield "\nIn every cell, where it applies: " + ", ".join(same)
    cost = _cost(space.total_core_hours(plan), price)
    yield f"\n{len(space.cells(spec))} cells, {len(plan)} replicates, {cost}.\n"


def space_table(search: SearchSpec) -> Table:
    """The fields that are searched, and what each may be."""
    shown = Table("searched", "values", box=None, header_style="bold")
    for field in search.space:
        options = [_range(o) if isinstance(o, Range) else str(o) for o in search.options(field)]
        shown.add_row(field, " | ".join(options))
    return shown


def search_lines(spec: StudySpec, search: SearchSpec, price: float | None = None) -> Iterator[str]:
    """How the search goes about it, and what it costs; in money at a price per core-hour."""
    aims = " and ".join(f"{'less' if METRICS[name].mode == 'min' else 'more'} {name}" for name in search.objectives)
    seeds = "one seed" if spec.seeds == 1 else f"{spec.seeds} seeds"
    yield f"Search: {search.trials} trials by {search.sampler} (seed {search.seed}), each of {seeds}, for {aims}."
    steps = {resolve_trial(spec, fields).steps or 0 for fields in search.samples(spec.base, 20)}
    if rungs := search.rungs(max(steps)):
        at = ", ".join(f"{rung:,}" for rung in rungs)
        share = search.expected_share(max(steps))
        yield (
            f"ASHA: at {at} of {max(steps):,} steps the best of every {search.reduction_factor} go on; about "
            f"{share:.0%} of all steps are expected to be trained."
        )
    else:
        yield f"No early stopping: every trial is trained for {_steps(steps)} steps."
    yield f"The search costs {_cost(space.search_core_hours(spec), price)}."


def spent_lines(outcomes: Iterable[Outcome], price: float | None = None) -> Iterator[str]:
    """The device-hours that replicates have taken so far, device by device; in money at a price per device-hour."""
    records = [found.record for found in outcomes if found.record and found.record.rows]
    rows = [(record.provenance.get("device"), record.train_s, record.evaluate_s) for record in records]
    spent = device_hours(pd.DataFrame(rows, columns=["device", "train_s", "evaluate_s"]))
    if not len(spent):
        yield "So far: no device-hours."
    for row in spent.to_dict("records"):
        device = "cpu (one core)" if row["device"] == "cpu" else row["device"]
        money = _money(row["hours"], price, "device-hour")
        yield f"So far: {row['hours']:,.2f} device-hours on {device}, training and evaluation together{money}."


def best_table(tables: Tables, top: int) -> Table:
    """The best trials of a run side by side, and what was drawn for each."""
    search, best = search_of(tables), _some(tables, top)
    shown = Table("trial", *map(str, best["trial"]), box=None, header_style="bold")
    for name in search.objectives:
        shown.add_row(name, *(f"{value:.2f}" for value in best[name]))
    for name in search.space:
        shown.add_row(name, *map(_short, best[f"field/{name}"]))
    return shown


def spec_of_best(tables: Tables, top: int, seeds: int) -> StudySpec:
    """A study of the best trials as arms, beside the arms that the search had, with as many seeds that it did not see.

    Its lower seeds, which chose them, are for `--first-seed` to leave out.
    """
    search, old = search_of(tables), tables.spec
    best, configs = _some(tables, top), space.trials(old)
    swept = {field for grid in old.grids for field in grid}
    arms = {}
    for row in best.to_dict("records"):  # the grid is for the other arms
        config, fields = configs[int(row["trial"])], search.asked[int(row["trial"])]
        own = {field: getattr(config, field) for field in swept if getattr(config, field) is not None}
        arms[row["cell"]] = own | fields
    kept = {arm: fields for arm, fields in old.arms.items() if arm not in arms}
    question = f"How good are the best {len(arms)} trials of {old.name} on seeds and images that did not choose them?"
    named = {"name": f"{old.name}-best", "title": f"The best of {old.name}, trained again", "question": question}
    return StudySpec(
        **named, seeds=old.seeds + seeds, base=old.base, arms=kept | arms, grid=old.grid, plugins=old.plugins
    )


def _used(spec: StudySpec) -> dict[str, set[Any]]:
    """The values of each field, over all cells."""
    cells = space.cells(spec).values()
    return {field: {getattr(config, field) for config in cells} - {None} for field in TrialConfig.model_fields}


def _cost(hours: float, price: float | None) -> str:
    speed, money = f"{space.STEPS_PER_CORE_S:.0f} steps/s", _money(hours, price, "core-hour")
    return f"about {hours:.2f} core-hours on a CPU of {speed} ({hours / 2:.2f} h on 2 cores){money}"


def _money(hours: float, price: float | None, unit: str) -> str:
    return "" if price is None else f": {hours * price:,.2f} at {price:.15g} per {unit}"


def _some(tables: Tables, count: int) -> pd.DataFrame:
    found = top_trials(tables, count)
    if not len(found):
        raise TableError(f"a trial of {tables.spec.name!r} must have finished before one is the best, but none has.")
    return found


def _range(given: Range) -> str:
    scale = ", log" if given.log else f", by {given.step:g}" if given.step else ""
    return f"{given.low:g} ... {given.high:g}{scale}"


def _steps(steps: set[int]) -> str:
    return f"{min(steps):,}" if len(steps) == 1 else f"{min(steps):,} to {max(steps):,}"


def _short(value: Any) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
