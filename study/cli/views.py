"""Tables and lines that `study` prints: a study's cells, search and cost; a run's progress and best trials."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table

from study import cost
from study.plan import Plan
from study.searchspace import Range, SearchSpec
from study.spec import StudySpec, resolve_trial
from trainables.records import Standing
from trainables.schema import METRICS, TrialConfig
from trainables.storage import Folder

if TYPE_CHECKING:
    from study.tables.files import Tables

_Table = partial(Table, box=None, header_style="bold")


def studies_table(specs: Iterable[StudySpec]) -> Table:
    """Lists studies: what each answers, its size and its cost."""
    table = _Table("study", "what it answers", "cells", "replicates", "core-hours")
    for size in map(size_of, specs):
        hours = f"{size['core_hours']:.2f}"
        table.add_row(size["name"], size["question"], str(size["cells"]), str(size["replicates"]), hours)
    return table


def size_of(spec: StudySpec) -> dict[str, Any]:
    """Returns a study's name, question, cells, replicates and core-hours, the search's trials included."""
    plan = Plan(spec)
    trials = spec.search.trials if spec.search else 0
    return {
        "name": spec.name,
        "question": spec.question,
        "cells": len(plan.cells) + trials,
        "replicates": sum(plan.counts.values()) + trials * spec.seeds,
        "core_hours": cost.cells_core_hours(plan) + cost.search_core_hours(plan),
    }


def cells_table(plan: Plan) -> Table:
    """Lists the cells: the fields in which they differ, and what each costs."""
    varying = [field for field, values in _used(plan).items() if len(values) > 1]
    table = _Table(Column("cell", overflow="fold"), *varying, "seeds", "core-hours")
    for label, config in plan.cells.items():
        values = ["-" if getattr(config, field) is None else str(getattr(config, field)) for field in varying]
        seeds = plan.counts[label]
        table.add_row(label, *values, str(seeds), f"{seeds * cost.core_hours(config, plan.size(config)):.2f}")
    return table


def cells_lines(plan: Plan, price: float | None = None) -> Iterator[str]:
    """Describes what the cells have in common, and what all of them cost; in money at a price per core-hour."""
    same = [f"{field}={values.copy().pop()}" for field, values in _used(plan).items() if len(values) == 1]
    yield "\nIn every cell, where it applies: " + ", ".join(same)
    cells, replicates = len(plan.cells), sum(plan.counts.values())
    numbers = f"{_count(cells, 'cell')}, {_count(replicates, 'replicate')}"
    yield f"\n{numbers}, {_cost(cost.cells_core_hours(plan), price)}.\n"


def space_table(search: SearchSpec) -> Table:
    """Lists the fields that are searched, and the values of each."""
    table = _Table("searched", "values")
    for field in search.space:
        options = [_range(o) if isinstance(o, Range) else str(o) for o in search.options(field)]
        table.add_row(field, " | ".join(options))
    return table


def search_lines(plan: Plan, search: SearchSpec, price: float | None = None) -> Iterator[str]:
    """Describes how the search proceeds and what it costs; in money at a price per core-hour."""
    spec = plan.spec
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
        length = f"{min(steps):,}" + f" to {max(steps):,}" * (len(steps) > 1)
        yield f"No early stopping: every trial is trained for {length} steps."
    yield f"The search costs {_cost(cost.search_core_hours(plan), price)}."


def cell_standings(plan: Plan, standings: Mapping[str, Standing]) -> Iterator[dict[str, Any]]:
    """Sums up how far each cell's replicates have come, by the fields of `study.cli.outputs.CellStatus`."""
    for label, config in plan.cells.items():
        members = [standings[replicate.hash] for replicate in plan.members[label]]
        last = [member.record.rows[-1] for member in members if member.record and member.record.rows]
        nll = [row["test_nll"] for row in last if row["test_nll"] is not None]
        yield {
            "cell": label,
            "replicates": len(members),
            "statuses": dict(sorted(Counter(member.status for member in members).items())),
            "collapsed": any(_collapsed(member) for member in members),
            "step": int(min(row["step"] for row in last)) if last else None,
            "steps": config.steps or 0,
            "test_nll": sum(nll) / len(nll) if nll else None,
        }


def status_table(plan: Plan, standings: Mapping[str, Standing]) -> Table:
    """Lists how far each cell's replicates have come."""
    table = _Table(Column("cell", overflow="fold"), "replicates", "status", "step", "test NLL [nats/image]")
    for cell in cell_standings(plan, standings):
        text = ", ".join(f"{count} {key}" for key, count in cell["statuses"].items())
        text += " (collapsed)" if cell["collapsed"] else ""
        steps = "-" if cell["step"] is None else f"{cell['step']:,} of {cell['steps']:,}"
        nll = cell["test_nll"]
        number = "-" if nll is None else format(nll, ".2f" if abs(nll) < 1e6 else ".3g")
        table.add_row(cell["cell"], str(cell["replicates"]), text, steps, number)
    return table


def total_line(plan: Plan, standings: Mapping[str, Standing]) -> str:
    """Sums up how far all replicates have come."""
    counts = Counter(standing.status for standing in standings.values())
    text = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return f"All: {_count(len(plan.cells), 'cell')}, {_count(len(standings), 'replicate')}: {text}."


def error_lines(plan: Plan, standings: Mapping[str, Standing], errors: Folder) -> Iterator[str]:
    """Names the replicates that ended with an error, the error, and the file with its traceback."""
    traces = set(errors.names())
    for replicate in plan.replicates:
        if error := standings[replicate.hash].error:
            trace = f"{replicate.hash}.txt"
            where = f" Traceback: {errors.url}/{trace}" if trace in traces else ""
            yield f"{replicate.cell}, seed {replicate.seed} ({replicate.hash}): {error}{where}"


def device_hours(standings: Iterable[Standing]) -> dict[str, float]:
    """Adds up the hours that replicates have taken of each device; as `study.cost.device_hours`, without pandas."""
    hours: dict[str, float] = {}
    for record in (standing.record for standing in standings):
        if record and record.rows:
            device = record.provenance.get("device") or "not recorded"
            hours[device] = hours.get(device, 0.0) + (record.train_s + record.evaluate_s) / 3600
    return dict(sorted(hours.items()))


def spent_lines(standings: Iterable[Standing], price: float | None = None) -> Iterator[str]:
    """Adds up the device-hours that replicates have taken, by device; in money at a price per device-hour."""
    spent = device_hours(standings)
    if not spent:
        yield "So far: no device-hours."
    for device, hours in spent.items():
        name = "cpu (one core)" if device == "cpu" else device
        money = cost.money(hours, price, "device-hour")
        yield f"So far: {hours:,.2f} device-hours on {name}, training and evaluation together{money}."


def best_table(tables: Tables, top: int) -> Table:
    """Lists the best trials of a run side by side, with the values that were drawn for each."""
    from study.tables.trials import best_trials, search_of

    search, best = search_of(tables), best_trials(tables, top)
    table = _Table("trial", *map(str, best["trial"]))
    for name in search.objectives:
        table.add_row(name, *(f"{value:.2f}" for value in best[name]))
    for name in search.space:
        table.add_row(name, *map(_short, best[f"field/{name}"]))
    return table


def _collapsed(standing: Standing) -> bool:
    """Whether a replicate that has come to its end draws the same image for all; early in training every one does."""
    rows = standing.record.rows if standing.record else []
    return standing.ended and bool(rows) and bool(rows[-1]["collapsed"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _used(plan: Plan) -> dict[str, set[Any]]:
    """Collects the values of each field over all cells."""
    cells = plan.cells.values()
    return {field: {getattr(config, field) for config in cells} - {None} for field in TrialConfig.model_fields}


def _cost(hours: float, price: float | None) -> str:
    speed, money = f"{cost.STEPS_PER_CORE_S:.0f} steps/s", cost.money(hours, price, "core-hour")
    return f"about {hours:.2f} core-hours on a CPU of {speed} ({hours / 2:.2f} h on 2 cores){money}"


def _range(limits: Range) -> str:
    scale = ", log" if limits.log else f", by {limits.step:g}" if limits.step else ""
    return f"{limits.low:g} ... {limits.last:g}{scale}"


def _short(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
