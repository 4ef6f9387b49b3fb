"""Tables, in Markdown and of dataclasses."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table: one line for the header, one for the rule below it, one for each row; pipes in cells are escaped."""
    names = list(header)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(str(cell).strip().replace("|", "\\|") for cell in line) + " |" for line in lines)


def with_interval(value: float, low: float, high: float) -> str:
    """A number with its interval, of three figures each; a dash without a number, no interval without a width."""
    if not math.isfinite(value):
        return "–"
    if not math.isfinite(low) or low == high:
        return _figures(value)
    return f"{_figures(value)} [{_figures(low)}, {_figures(high)}]"


def _figures(value: float) -> str:
    """Three figures, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def frame_of(kind: type[DataclassInstance], rows: Iterable[DataclassInstance]) -> pd.DataFrame:
    """A row for each of some dataclasses of one kind, a column for each field."""
    return pd.DataFrame(map(asdict, rows), columns=[field.name for field in fields(kind)])
