"""Numbers, intervals and tables as text: the one place that formats them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ABSENT = "–"
"""Stands where there is no number."""
SMALLEST_P = 0.0001
VAST = 1e9
WORDS = {"latent_dim": "latent dimension N", "kl_warmup_steps": "KL warm-up steps", "l2": "L2", "hidden_dims": "layers"}
"""Names of config fields for readers; others keep their own, without underscores."""
METRIC_WORDS = {
    "nll": "NLL",
    "nll_mean": "NLL at posterior mean",
    "nll_model": "model's own NLL",
    "kl": "KL",
    "neg_elbo": "negative ELBO",
    "sse": "squared error",
    "pixel_variance": "variance of the pixels",
    "active_units": "active units",
}
"""Names of metrics for readers, their split apart."""
_SETTING = re.compile(r" (\w+)=(\[[^]]*\]|\S+)")


def number(value: float | None) -> str:
    """A number to four significant digits, four places at most; no exponent, no sign where all digits are 0."""
    if value is None or not math.isfinite(value):
        return _not_finite(value)
    places = max(0, 3 - math.floor(math.log10(abs(value)))) if abs(value) >= 1e-4 else 1
    return f"{value:z,.{min(places, 4)}f}"


def figures(value: float | None) -> str:
    """A number to three significant digits, or all before the point; from VAST on with an exponent."""
    if value is None or not math.isfinite(value):
        return _not_finite(value)
    return f"{value:,.0f}" if 1000 <= abs(value) < VAST else f"{value:.3g}"


def decimals(value: float | None, places: int = 1) -> str:
    """A number to a number of decimal places, without a sign where all digits are 0."""
    return _not_finite(value) if value is None or not math.isfinite(value) else f"{value:z,.{places}f}"


def with_interval(
    value: float | None, low: float | None, high: float | None, write: Callable[[float | None], str] = figures
) -> str:
    """A number with its interval, if it has one with a width, each written by `write`."""
    if value is None or low is None or high is None or not math.isfinite(value) or math.isnan(low) or low == high:
        return write(value)
    return f"{write(value)} [{write(low)}, {write(high)}]"


def p_value(value: float) -> str:
    """A p value to two significant digits; one below SMALLEST_P is said to be smaller."""
    return f"< {SMALLEST_P:.4f}" if value < SMALLEST_P else f"{value:.2g}"


_ACRONYMS = {"nll", "kl", "elbo", "pca", "sse", "mle", "knn"}


def word(name: str) -> str:
    """A config field's or a metric's name as a reader calls it: "validation KL", "latent dimension N".

    Metrics are of the test images unless their name says otherwise; losses have both, and say so.
    """
    split, _, metric = name.partition("_")
    if metric in METRIC_WORDS and split in ("test", "val", "train"):
        silent = split == "test" and not metric.startswith("nll")
        return f"{'' if silent else split.replace('val', 'validation') + ' '}{METRIC_WORDS[metric]}"
    return WORDS.get(name) or " ".join(part.upper() if part in _ACRONYMS else part for part in name.split("_"))


def in_words(cell: str) -> str:
    """A cell's name as a reader writes it: "elu latent_dim=5 init=he" is "elu, N = 5, init he"."""

    def setting(match: re.Match[str]) -> str:
        field, value = match.groups()
        if field == "latent_dim":
            return f", N = {value}"
        value = _short(value)
        return f", {value}" if field == "dataset" else f", {word(field)} {value}"

    return _SETTING.sub(setting, cell)


def _short(value: str) -> str:
    """A setting's value in four digits, if it is a fraction of more."""
    try:
        return f"{float(value):.4g}" if len(value) > 6 else value
    except ValueError:
        return value


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table in Markdown: a line for the header, one for the rule below it, one a row; pipes in cells are escaped."""
    names = list(header)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(str(cell).strip().replace("|", "\\|") for cell in line) + " |" for line in lines)


def frame_of(kind: type[DataclassInstance], rows: Iterable[DataclassInstance]) -> pd.DataFrame:
    """A row for each of some dataclasses of one kind, a column for each field."""
    return pd.DataFrame(map(asdict, rows), columns=[field.name for field in fields(kind)])


def _not_finite(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ABSENT
    return "∞" if value > 0 else "-∞"
