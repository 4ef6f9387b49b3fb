"""The trials of a search as a frame, read from the tables: what was drawn, how far each came, how it is judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from study.plan import trial_label
from study.runfolder import TableError
from study.searchspace import Parameter, SearchSpec
from study.spec import StudySpec
from study.tables.files import Tables
from trainables.schema import METRICS

STATES = {"failed": "failed", "diverged": "failed", "stopped": "stopped", "pending": "running", "running": "running"}
"""A trial's state by the status of any of its replicates; the first that applies holds, else it has finished."""


def search_of(tables: Tables) -> SearchSpec:
    """Returns the search of a study; raises TableError if it has none."""
    if tables.spec.search is None:
        raise TableError(f"the study {tables.spec.name!r} must have a `search`, but it has arms only.")
    return tables.spec.search


def searched(tables: Tables) -> set[str]:
    """Labels of the cells that only the search has drawn, which comparisons of cells leave out."""
    asked = tables.spec.search.asked if tables.spec.search else []
    return {trial_label(number) for number in range(len(asked))}


def trials(tables: Tables) -> pd.DataFrame:
    """Makes a row for each trial that the search has drawn, in the order of their numbers.

    Columns: `trial` (its number), `cell` (that its rows are under), `state` (finished, stopped, failed, running),
    `error` (why it was stopped or failed), `step` (training steps of each replicate), `seconds` (of all, training and
    evaluation), each objective (the mean over the replicates at the last step; null unless finished), and `field/NAME`
    for what was drawn of a field, null where it was not.

    Raises:
        TableError: The study has no search.
    """
    search = search_of(tables)
    labels = {config: label for label, config in tables.configs.items()}
    ends = tables.ends[tables.ends["seed"] < tables.spec.seeds]
    places = ends.groupby("cell").indices
    names = ["status", "error", "step", "train_s", "evaluate_s", *search.objectives]
    held = {name: (ends[name].to_numpy(object), ends[name].notna().to_numpy()) for name in names}
    rows = []
    for number, (fields, config) in enumerate(zip(search.asked, tables.plan.trials, strict=True)):
        place = places.get(labels[config], np.array([], dtype=int))
        of = {name: list(values[place][known[place]]) for name, (values, known) in held.items()}
        statuses = set(of["status"])
        if len(place) < tables.spec.seeds:
            statuses.add("pending")  # the trial is younger than the tables
        state = next((state for status, state in STATES.items() if status in statuses), "finished")
        if state == "finished" and not all(of[name] for name in search.objectives):
            state = "failed"
        error = next(iter(of["error"]), None)
        rows.append(
            {"trial": number, "cell": labels[config], "state": state, "error": error}
            | {"step": int(max(of["step"], default=0)), "seconds": float(sum(of["train_s"] + of["evaluate_s"]))}
            | {name: float(np.mean(of[name])) if state == "finished" else float("nan") for name in search.objectives}
            | {f"field/{name}": fields.get(name) for name in search.space}
        )
    columns = ["trial", "cell", "state", "error", "step", "seconds", *search.objectives]
    return pd.DataFrame(rows, columns=columns + [f"field/{name}" for name in search.space])


def curves(tables: Tables, metric: str) -> pd.DataFrame:
    """A metric of each trial at each evaluated step, the mean over its replicates: `trial`, `step`, `value`.

    A step counts where every replicate has the value.
    """
    named = trials(tables)[["trial", "cell"]]
    rows = tables.rows("results", ["cell", "seed", "step", metric]).dropna()
    rows = rows[rows["seed"] < tables.spec.seeds]
    means = rows.groupby(["cell", "step"])[metric].agg(["mean", "size"]).reset_index()
    means = means[means["size"] == tables.spec.seeds].rename(columns={"mean": "value"})
    found = named.merge(means, on="cell")[["trial", "step", "value"]]
    return found.sort_values(["trial", "step"], ignore_index=True)


def parameters(tables: Tables) -> list[dict[str, tuple[Parameter, Any]]]:
    """Returns the values that the sampler drew for each trial, by the parameter's name."""
    search = search_of(tables)
    return [search.parameters(fields) for fields in search.asked]


def ranked(tables: Tables) -> pd.DataFrame:
    """Ranks the finished trials, the best first; with several objectives, only those of the Pareto front."""
    search, found = search_of(tables), trials(tables)
    found = found[found["state"] == "finished"]
    signs = [1 if METRICS[name].mode == "min" else -1 for name in search.objectives]
    losses = found[search.objectives].to_numpy(float) * signs
    if len(search.objectives) > 1:
        found = found[np.array([not ((losses <= row).all(1) & (losses < row).any(1)).any() for row in losses], bool)]
    name = search.objectives[0]
    return found.sort_values(name, ascending=signs[0] == 1, kind="stable", ignore_index=True)


def top(tables: Tables, count: int) -> pd.DataFrame:
    """Selects the best `count` trials; of a Pareto front, `count` evenly spaced ones, both ends included."""
    found = ranked(tables)
    if len(search_of(tables).objectives) == 1 or len(found) <= count:
        return found.head(count)
    places = np.linspace(0, len(found) - 1, count).round().astype(int)
    return found.iloc[places].reset_index(drop=True)


def best_trials(tables: Tables, count: int) -> pd.DataFrame:
    """Returns the rows of `top`; raises TableError if no trial has finished."""
    best = top(tables, count)
    if not len(best):
        raise TableError(f"a trial of {tables.spec.name!r} must have finished before one is the best, but none has.")
    return best


def spec_of_best(tables: Tables, count: int, seeds: int) -> StudySpec:
    """Makes a study that trains the best `count` trials again: they become arms, beside the arms that the study had.

    `seeds` fresh seeds follow the search's own, which chose the trials; `--first-seed` leaves those out.
    """
    search, old, configs = search_of(tables), tables.spec, tables.plan.trials
    swept = {field for grid in old.grids for field in old.fields_of(grid)}
    arms = {}
    for row in best_trials(tables, count).to_dict("records"):
        config, fields = configs[int(row["trial"])], search.asked[int(row["trial"])]
        own = {field: getattr(config, field) for field in swept if getattr(config, field) is not None}
        arms[row["cell"]] = own | fields  # with the grid's fields, so that the grid sweeps the other arms alone
    others = {arm: fields for arm, fields in old.arms.items() if arm not in arms}
    question = f"How good are the best {len(arms)} trials of {old.name} on seeds and images that did not choose them?"
    return old.with_keys(
        name=f"{old.name}-best",
        title=f"The best of {old.name}, trained again",
        question=question,
        seeds=old.seeds + seeds,
        arms=others | arms,
        measurements=[],
        search=None,
    )
