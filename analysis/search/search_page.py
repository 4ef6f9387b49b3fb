"""The page of a search in Markdown: its best configurations, what early stopping did, and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd

from analysis.figures.base import Drawn, Skipped
from analysis.formats import ABSENT, decimals, figures, table, with_interval, word
from analysis.search import history
from study.table import Tables


def page(tables: Tables, found: pd.DataFrame, drawings: Sequence[Drawn | Skipped], command: str) -> str:
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
    for figure in drawings:
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
        shown[word(name)] = [decimals(value, 2) for value in data[name]]
        fresh = f"{word('test_' + name.partition('_')[2])} [95 %], fresh seeds"
        shown[fresh] = [_interval(row, name) for row in data.to_dict("records")]
    for column in data.columns:
        if column.startswith("field/"):
            shown[word(column.removeprefix("field/"))] = [short(value) for value in data[column]]
    return shown


def _interval(row: dict[Any, Any], name: str) -> str:
    count = row[f"{name}/fresh_seeds"]
    test, low, high = (row[f"{name}/{key}"] for key in ("test", "low", "high"))
    seeds = f"({count} seed{'s' * (count != 1)})"
    return f"{with_interval(test, low, high, partial(decimals, places=2))} {seeds}" if count else ABSENT


def _markdown(frame: pd.DataFrame) -> str:
    shown = best_text(frame) if any(column.endswith("/test") for column in frame.columns) else frame.map(short)
    return table(shown.columns, shown.to_numpy(object))


def short(value: Any) -> str:
    """A value in a few digits; a dash where there is none."""
    if value is None or isinstance(value, float):
        return figures(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
