"""Which latent dimension does the data need? Every estimate side by side, each with an interval and its own verdict.

The verdict is on the paper's hypothesis 10 < N < 100: confirmed where the interval lies inside, refuted where it lies
outside, else inconclusive. An estimate that still moved in the last fifth of training gives none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.dimension.curve_shapes import moved
from analysis.dimension.from_images import ALL_DIGITS, NO_SCALE, intrinsic, label
from analysis.dimension.from_networks import CONTROLS, ENTRIES, LOWER_BOUND, Data, Entry, Measured, read
from analysis.dimension.sweeps import FRACTIONS, pca
from analysis.figures.base import NotApplicableError
from analysis.formats import table
from analysis.intervals import t_interval
from study.table import once

if TYPE_CHECKING:
    from study.table import Tables

BAND = (10.0, 100.0)
"""The paper's hypothesis (its section 2): the right N lies between these, both left out."""
LEVEL = 0.95
MOST_MOVED = 0.05
"""An estimate that moved by a larger share of its value in the last fifth of training has not converged."""
PCA_SHARES = (90, 95, 99)
NAMED_SCALE = 20
"""Neighbours at which digits and the like are compared."""
COLUMNS = "key name value low high level verdict reason seeds steps headline".split()
CONTROL_COLUMNS = (
    "estimator dataset known value low high corrected error corrected_error settled between seeds sample_size reason"
).split()
_FACTORS = re.compile(r"(?:strokes|mnist-pca|mnist-decoder)-(\d+)(?:-one)?")
_SHORT = {
    "a": "ELU, 1 nat", "a 1 %": "ELU, 1 % of excess", "a 5 %": "ELU, 5 % of excess", "a linear": "linear, 1 nat",
    "a vae": "VAE, 1 nat", "a vae bound": "VAE, ELBO, 1 nat", "b": "ELU", "b equal": "ELU, equal steps",
    "c": "variance > 0.01", "c 0.1": "variance > 0.1", "d": "VAE", "f": "ELU", "f vae": "VAE", "f linear": "linear",
    "g 90 %": "90 %", "g 95 %": "95 %", "g 99 %": "99 %",
}  # fmt: skip
IN_WORDS = {
    "a": "an ELU auto-encoder comes within 1 nat of its best test loss at N = {}",
    "c": "a VAE that is given more latents than it needs keeps {} of them active (variance of the mean > 0.01)",
}
"""The headline estimates as a newcomer reads them."""
RAW, CORRECTED = ("value", "low", "high"), ("corrected", "corrected_low", "corrected_high")
"""Columns of `intrinsic`: an estimate and its interval, raw and corrected for bias."""
_BY_DIGIT = (("twonn", NO_SCALE), ("mle", NAMED_SCALE))


def verdict(low: float, high: float) -> str:
    """Where an interval lies against BAND: confirmed, refuted or inconclusive (so too if it is NaN)."""
    if low > BAND[0] and high < BAND[1]:
        return "confirmed"
    return "refuted" if high <= BAND[0] or low >= BAND[1] else "inconclusive"


@once
def estimates(tables_list: Sequence[Tables], dataset: str = "mnist") -> pd.DataFrame:
    """All estimates of the latent dimension of a dataset, (a) to (g) of docs/science.md, a row each; COLUMNS.

    `value` is N, or a dimension; NaN if not measured. `low` and `high` are its interval of `level`, over training
    seeds, for (e) over subsamples; that of PCA (g), a closed form, is a point. `verdict`: confirmed, refuted,
    inconclusive or not measured; `reason`: why there is none, and what a reader must know besides. `steps`: the
    training budget, as text. `headline` marks the two that were chosen beforehand.

    Args:
        tables_list: Tables of any studies; what none of them has is not measured.
        dataset: A name in DATASETS.
    """
    data = read(tables_list, dataset)
    found = intrinsic(tables_list)
    rows = [
        *(_row(key, entry, data) for key, entry in ENTRIES.items()),
        *_intrinsic_rows(found[found["dataset"] == dataset]),
        *_pca_rows(pca(tables_list, dataset)[1]),
    ]
    rows.sort(key=lambda row: row["key"][0])
    return pd.DataFrame(rows, columns=COLUMNS)


def history(tables_list: Sequence[Tables], dataset: str = "mnist") -> pd.DataFrame:
    """The estimates of trained networks against training: `key, name, fraction, value`.

    `fraction` is the share of each network's own run, since their lengths may differ with N; `value` is taken on the
    mean over seeds.
    """
    data = read(tables_list, dataset)
    rows = []
    for key, entry in ENTRIES.items():
        try:
            values = entry.measure(data).history
        except NotApplicableError:
            continue
        points = zip(FRACTIONS, values if values is not None else [], strict=values is not None)
        rows += [
            {"key": key, "name": entry.name, "fraction": fraction, "value": value}
            for fraction, value in points
            if np.isfinite(value)
        ]
    return pd.DataFrame(rows, columns=["key", "name", "fraction", "value"])


@once
def controls(tables_list: Sequence[Tables]) -> pd.DataFrame:
    """What each estimator returns on the datasets whose dimension is known; CONTROL_COLUMNS.

    `error` is `value - known`; `corrected` and `corrected_error` are the same after correction for bias, which only the
    intrinsic-dimension estimators have, at the largest sample size for which there are cubes. Where it is not `settled`
    (one seed, not converged, only a bound; `reason` says which) there is no verdict on the estimator either. `between`:
    the least and the most that N may be on the grid, of a value that is interpolated there; else None. `sample_size`:
    the images that an estimator of their own dimension was given; else NaN.
    """
    found = intrinsic(tables_list)
    names = {str(name) for tables in tables_list for name in tables.ends["config/dataset"].dropna().unique()}
    rows = []
    for dataset, known in sorted(
        ((name, known_dimension(name)) for name in names), key=lambda pair: (pair[1] or 0, pair)
    ):
        if known is None:
            continue
        data = read(tables_list, dataset)
        trained = [_row(key, entry, data) | {"estimator": key} for key, entry in CONTROLS.items()]
        measured = [row for row in trained if row["verdict"] != "not measured"]
        for row in [*measured, *_intrinsic_controls(found[found["dataset"] == dataset])]:
            corrected = row.get("corrected", np.nan)
            errors = {"error": row["value"] - known, "corrected": corrected, "corrected_error": corrected - known}
            rows.append(row | errors | {"dataset": dataset, "known": known})
    return pd.DataFrame(rows, columns=CONTROL_COLUMNS)


def known_dimension(dataset: str) -> int | None:
    """The number of continuous factors of a control, from its dataset's name; None of any other dataset."""
    match = _FACTORS.fullmatch("strokes-8" if dataset == "strokes" else dataset)
    return int(match[1]) if match else None


def headline(frame: pd.DataFrame) -> str:
    """Both headline estimates of `estimates` in a sentence, and whether they agree."""
    rows = frame[frame["headline"]].to_dict("records")
    texts = [f"({row['key']}) {row['name']}, {number(row)}: {row['verdict']}" + _because(row) for row in rows]
    apart = rows[0]["high"] < rows[1]["low"] or rows[1]["high"] < rows[0]["low"]
    known = all(np.isfinite(row["low"]) for row in rows)
    agree = (
        (" The two differ: their intervals do not overlap." if apart else " Their intervals overlap.") if known else ""
    )
    return f"Headline, 10 < N < 100: {'; '.join(texts)}.{agree}"


def number(row: Mapping[Any, Any]) -> str:
    """A row's value and interval as a reader writes them; a dash where there is no value."""
    if not np.isfinite(row["value"]):
        return "–"
    if not np.isfinite(row["low"]) or row["low"] == row["high"]:
        return _figures(row["value"])
    return f"{_figures(row['value'])} [{_figures(row['low'])}, {_figures(row['high'])}]"


def _figures(value: float) -> str:
    """Three figures, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def row_name(key: str) -> str | None:
    """What the card calls an estimate; None of those that it leaves out: by digit, and at all scales but one."""
    if key[0] != "e":
        return _SHORT[key]
    scale = re.search(r" (\d+)( corrected)?$", key)
    return None if " digit " in key or (scale and int(scale[1]) != NAMED_SCALE) else key.removeprefix("e ")


def markdown(frame: pd.DataFrame, *, whole: bool = False) -> str:
    """The table of `estimates` in Markdown, the headline in bold; unless whole, without digits and other scales."""
    rows = []
    for row in frame.to_dict("records"):
        if not whole and row_name(row["key"]) is None:
            continue
        main = [row["key"], row["name"], number(row), row["verdict"]]
        rest = [row["seeds"] or "–", row["steps"] or "–", row["reason"]]
        rows.append([f"**{text}**" if row["headline"] else text for text in main] + rest)
    return table(("", "estimate", "N [95 % interval]", "verdict", "seeds", "steps", "notes"), rows) + "\n"


def _because(row: Mapping[Any, Any]) -> str:
    return f" ({row['reason']})" if row["reason"] and row["verdict"] in ("inconclusive", "not measured") else ""


def _row(key: str, entry: Entry, data: Data) -> dict[str, Any]:
    """A trained estimate with its interval and verdict."""
    try:
        measured = entry.measure(data)
    except NotApplicableError as reason:
        return _not_measured(key, entry.name, str(reason), headline=entry.headline)
    low, high, problem = _interval(measured)
    blocks = [*_not_converged(measured), *measured.blocks, *problem]
    alike = (f"the same in each of {len(measured.per_seed)} seeds",) if low == high else ()
    row = _judged(key, entry.name, measured.value, (low, high), blocks=blocks, notes=(*alike, *measured.notes))
    row |= {"seeds": len(measured.per_seed), "steps": measured.steps, "between": measured.between}
    return row | {"headline": entry.headline}


def _judged(
    key: str,
    name: str,
    value: float,
    interval: tuple[float, float],
    *,
    blocks: Sequence[str],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    low, high = interval
    beyond = low >= BAND[1] and all(block.startswith(LOWER_BOUND) for block in blocks)
    found = "inconclusive" if blocks and not beyond else verdict(low, high)
    reaches = [
        f"too wide: reaches {'below' if end == BAND[0] else 'above'} {end:g}" for end in BAND if low <= end <= high
    ]
    reasons = [*blocks, *(reaches if found == "inconclusive" and not blocks else []), *notes]
    return {
        "key": key,
        "name": name,
        "value": value,
        "low": low,
        "high": high,
        "level": LEVEL,
        "verdict": found,
        "reason": "; ".join(reasons),
        "seeds": 0,
        "steps": "",
        "headline": False,
        "settled": not blocks,
    }


def _not_measured(key: str, name: str, reason: str, *, headline: bool = False) -> dict[str, Any]:
    row = _judged(key, name, np.nan, (np.nan, np.nan), blocks=[reason])
    return row | {"verdict": "not measured", "headline": headline}


def _interval(measured: Measured) -> tuple[float, float, list[str]]:
    """The t interval over seeds, or NaN and why there is none."""
    values, lost = measured.per_seed, int((~np.isfinite(measured.per_seed)).sum())
    if len(values) < 2:
        return np.nan, np.nan, ["1 seed: no interval"]
    if lost:
        return np.nan, np.nan, [f"no interval: {lost} of {len(values)} seeds have none"] if lost < len(values) else []
    if not measured.logarithmic:
        return *t_interval(values, level=LEVEL), []
    low, high = np.exp(t_interval(np.log(values), level=LEVEL))
    return float(low), float(high), []


def _not_converged(measured: Measured) -> list[str]:
    if measured.history is None or not np.isfinite(measured.value):
        return []
    share = moved(measured.history, FRACTIONS)
    if np.isnan(share):
        return ["convergence not known: no estimate at four fifths of training"]
    if share <= MOST_MOVED:
        return []
    return [f"not converged: moved {share:.0%} over the last fifth of training".replace("%", " %")]


def _intrinsic_rows(found: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """(e) Each estimator at each scale on all digits, TwoNN and the MLE by digit; raw and corrected."""
    if not len(found):
        for estimator, scale in _BY_DIGIT:
            yield _not_measured(f"e {label(estimator, scale)}", label(estimator, scale), "needs study intrinsic")
    for (digit, estimator, scale), rows in _groups(found, "digit", "estimator", "scale"):
        if digit != ALL_DIGITS and (estimator, scale) not in _BY_DIGIT:
            continue
        where = label(estimator, scale) + (f" digit {digit}" if digit != ALL_DIGITS else "")
        yield _intrinsic_row(f"e {where}", where, rows, RAW)
        yield _intrinsic_row(f"e {where} corrected", f"{where} corrected", rows, CORRECTED)


def _intrinsic_row(key: str, name: str, rows: pd.DataFrame, columns: tuple[str, str, str]) -> dict[str, Any]:
    row = _largest(rows, columns)
    value, low, high = (row[column] for column in columns)
    if not np.isfinite(value):
        return _not_measured(key, name, row["reason"] or "no correction")
    blocks = [] if np.isfinite(low) else [row["reason"]]
    judged = _judged(key, name, value, (low, high), blocks=blocks, notes=[f"n = {row['sample_size']:,}"])
    return judged | {"seeds": int(row["seeds"])}


def _intrinsic_controls(found: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for (estimator, scale), rows in _groups(found[found["digit"] == ALL_DIGITS], "estimator", "scale"):
        row = _largest(rows, CORRECTED)
        settled = bool(np.isfinite(row["low"]))
        yield {**row, "estimator": label(estimator, scale), "settled": settled, "between": None}


def _groups(found: pd.DataFrame, *columns: str) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    yield from found.groupby([*columns])


def _largest(rows: pd.DataFrame, columns: tuple[str, str, str]) -> pd.Series:
    """The row of the largest sample that has an interval; without any, a value; without any, of the largest.

    The whole set has no interval: every subsample of that size is the same.
    """
    value, low, _ = columns
    known = rows[low].notna().astype(int) + rows[value].notna()
    return rows.iloc[int(np.lexsort([-rows["sample_size"], -known])[0])]


def _pca_rows(spectrum: np.ndarray | None) -> Iterator[dict[str, Any]]:
    """(g) Components of PCA for a share of the train images' variance."""
    for share in PCA_SHARES:
        key, name = f"g {share} %", f"PCA, {share} % of the variance"
        if spectrum is None:
            yield _not_measured(key, name, "needs a study with PCA")
            continue
        total = np.cumsum(spectrum) / spectrum.sum()
        value = float(np.searchsorted(total, share / 100) + 1)
        yield _judged(key, name, value, (value, value), blocks=[], notes=["closed form"])
