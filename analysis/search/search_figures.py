"""Every figure of a search, by name (a study's are in `analysis.figures.catalogue`), and the page that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.figures.architecture import NotApplicableError
from analysis.figures.catalogue import Drawn, FigureEntry, Skipped, draw_entry
from analysis.formats import ABSENT, decimals, figures, table, with_interval
from analysis.search import history, importance, pareto, slices
from study.searchspace import SearchSpec
from study.tables.trials import search_of

if TYPE_CHECKING:
    from study.table import Tables


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
        return draw_entry(f"{tables.spec.name}_{name}", entry, tables)

    important, sliced = drawn("importance", _IMPORTANCE), drawn("slices", _slices(search))
    order = _order(important, sliced)
    found = [drawn("history", _HISTORY), important, sliced, drawn("pairs", _pairs(search, order))]
    if len(search.objectives) > 1:
        found += [drawn("front", _FRONT), drawn("hypervolume", _HYPERVOLUME)]
    return found


def page(tables: Tables, found: pd.DataFrame, figures: Sequence[Drawn | Skipped], command: str) -> str:
    """The search's page in Markdown: best configurations (`found`, of `best_data`), what was stopped, figures."""
    spec = tables.spec
    parts = [f"# {spec.title or spec.name}", spec.question, f"`{command}`"]
    parts += ["## Best configurations", _markdown(found)]
    parts.append(
        "Trials are ranked by the validation images and the search's own seeds. `test` is the same metric on the test "
        "images over seeds that the search did not use, with its 95 % t interval: `study best RUN --spec FILE` writes "
        "the study that trains them."
    )
    rungs = history.rungs_data(tables)
    if len(rungs):
        parts += ["## What early stopping did", _markdown(rungs)]
    for figure in figures:
        if isinstance(figure, Drawn):
            shown = f"![{figure.title}]({figure.name}.png)\n\n*{figure.caption}*"
        else:
            shown = f"Not drawn: {figure.reason}."
        parts += [f"## {figure.title}", shown]
    return "\n\n".join(part for part in parts if part) + "\n"


def best_text(data: pd.DataFrame) -> pd.DataFrame:
    """`best_data` with each interval in one column, as a person reads it."""
    shown = pd.DataFrame({"cell": data["cell"]})
    for name in [column.removesuffix("/test") for column in data.columns if column.endswith("/test")]:
        shown[name] = [decimals(value, 2) for value in data[name]]
        fresh = f"test_{name.partition('_')[2]} [95 %], fresh seeds"
        shown[fresh] = [_interval(row, name) for row in data.to_dict("records")]
    for column in data.columns:
        if column.startswith("field/"):
            shown[column.removeprefix("field/")] = [short(value) for value in data[column]]
    return shown


def _interval(row: dict[Any, Any], name: str) -> str:
    count = row[f"{name}/fresh_seeds"]
    numbers = (row[f"{name}/{key}"] for key in ("test", "low", "high"))
    return f"{with_interval(*numbers, partial(decimals, places=2))}, {count}" if count else ABSENT


def _slices(search: SearchSpec) -> FigureEntry:
    plot = partial(slices.plot_slices, search=search)
    return FigureEntry("The objective against each setting", slices.slices_data, plot, slices.slices_caption)


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


def _markdown(frame: pd.DataFrame) -> str:
    shown = best_text(frame) if any(column.endswith("/test") for column in frame.columns) else frame.map(short)
    return table(shown.columns, shown.to_numpy(object))


def short(value: Any) -> str:
    """A value in a few digits; a dash where there is none."""
    if value is None or isinstance(value, float):
        return figures(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
