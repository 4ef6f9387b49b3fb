"""The figures of a search, by name; `analysis.figures.catalogue` has those of any study."""

from __future__ import annotations

from functools import partial
from typing import Any

from analysis.figures.base import Drawn, FigureEntry, Skipped
from analysis.search import history, importance, parallel, pareto, slices
from study.table import Tables
from study.tables.trials import search_of


def draw(tables: Tables) -> list[Drawn | Skipped]:
    """Every figure of a search; those that its tables cannot give come back as Skipped.

    Raises:
        study.table.TableError: The study has no search.
    """
    search = search_of(tables)

    def drawn(name: str, title: str, *parts: Any) -> Drawn | Skipped:
        return FigureEntry(title, *parts).draw(f"{tables.spec.name}_{name}", tables)

    parts: tuple[Any, ...] = importance.importance_data, importance.plot_importance, importance.importance_caption
    important = drawn("importance", "Which settings matter", *parts)
    parts = slices.slices_data, partial(slices.plot_slices, search=search), slices.slices_caption
    sliced = drawn("slices", "The objective against each setting", *parts)
    order = _order(important, sliced)
    parts = parallel.parallel_data, partial(parallel.plot_parallel, search=search), parallel.parallel_caption
    figures = [drawn("parallel", "Every trial, from its settings to its objective", *parts)]
    parts = history.history_data, history.plot_history, history.history_caption
    figures += [drawn("history", "How the search went", *parts), important, sliced]
    plot, caption = partial(slices.plot_pairs, search=search, order=order), partial(slices.pairs_caption, order=order)
    title = "The settings that matter most, in pairs"
    figures.append(drawn("pairs", title, partial(slices.pairs_data, order=order), plot, caption))
    if len(search.objectives) > 1:
        parts = pareto.front_data, pareto.plot_front, pareto.front_caption
        figures.append(drawn("front", "Rate against distortion", *parts))
        parts = pareto.hypervolume_data, pareto.plot_hypervolume, pareto.hypervolume_caption
        figures.append(drawn("hypervolume", "Hypervolume as the search goes on", *parts))
    return figures


def _order(important: Drawn | Skipped, sliced: Drawn | Skipped) -> list[str]:
    """Fields by importance at the common step, then those without one in their order."""
    fields = slices.varying(sliced.frame) if isinstance(sliced, Drawn) else []
    if isinstance(important, Skipped):
        return fields
    first = important.frame[important.frame["at"] == important.frame["at"].iloc[0]]
    ranks = first.dropna(subset="importance").sort_values("importance", ascending=False)["parameter"]
    return [field for field in ranks if field in fields] + [field for field in fields if field not in set(ranks)]
