"""The figures of a search, by name; `analysis.figures.catalogue` has those of any study."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from analysis.figures.base import Drawn, FigureEntry, NotApplicableError, Skipped
from analysis.search import history, importance, parallel, pareto, slices
from study.searchspace import SearchSpec
from study.table import Tables
from study.tables.trials import search_of

_HISTORY = FigureEntry("How the search went", history.history_data, history.plot_history, history.history_caption)
_IMPORTANCE = FigureEntry(
    "Which settings matter", importance.importance_data, importance.plot_importance, importance.importance_caption
)
_FRONT = FigureEntry("Rate against distortion", pareto.front_data, pareto.plot_front, pareto.front_caption)
_HYPERVOLUME = FigureEntry(
    "Hypervolume as the search goes on", pareto.hypervolume_data, pareto.plot_hypervolume, pareto.hypervolume_caption
)


def draw(tables: Tables) -> list[Drawn | Skipped]:
    """Every figure of a search; those that its tables cannot give come back as Skipped.

    Raises:
        study.table.TableError: The study has no search.
    """
    search = search_of(tables)

    def drawn(name: str, entry: FigureEntry) -> Drawn | Skipped:
        return entry.draw(f"{tables.spec.name}_{name}", tables)

    important, sliced = drawn("importance", _IMPORTANCE), drawn("slices", _slices(search))
    order = _order(important, sliced)
    first = [drawn("parallel", _parallel(search)), drawn("history", _HISTORY)]
    found = [*first, important, sliced, drawn("pairs", _pairs(search, order))]
    if len(search.objectives) > 1:
        found += [drawn("front", _FRONT), drawn("hypervolume", _HYPERVOLUME)]
    return found


def _slices(search: SearchSpec) -> FigureEntry:
    plot = partial(slices.plot_slices, search=search)
    return FigureEntry("The objective against each setting", slices.slices_data, plot, slices.slices_caption)


def _parallel(search: SearchSpec) -> FigureEntry:
    plot = partial(parallel.plot_parallel, search=search)
    title = "Every trial, from its settings to its objective"
    return FigureEntry(title, parallel.parallel_data, plot, parallel.parallel_caption)


def _pairs(search: SearchSpec, order: list[str]) -> FigureEntry:
    return FigureEntry(
        "The settings that matter most, in pairs",
        lambda tables: _enough(slices.slices_data(tables), order),
        partial(slices.plot_pairs, search=search, order=order),
        partial(slices.pairs_caption, order=order),
    )


def _order(important: Drawn | Skipped, sliced: Drawn | Skipped) -> list[str]:
    """Fields by importance at the common step, then those without one in their order."""
    fields = slices.varying(sliced.frame) if isinstance(sliced, Drawn) else []
    if isinstance(important, Skipped):
        return fields
    first = important.frame[important.frame["at"] == important.frame["at"].iloc[0]]
    ranks = first.dropna(subset="importance").sort_values("importance", ascending=False)["parameter"]
    return [field for field in ranks if field in fields] + [field for field in fields if field not in set(ranks)]


def _enough(data: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    if len(order) < 2:
        raise NotApplicableError("fewer than two settings vary")
    return data
