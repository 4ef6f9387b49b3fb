"""The answer to a run's question, in two or three sentences from its tables. It states numbers and no verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.cells import STATUSES, cells, final_rows, mean_and_interval
from analysis.dimension.checks import checks
from analysis.evidence import Evidence, EvidenceError, dataset_of
from analysis.figures.sweep import Varied, varied_fields
from analysis.formats import decimals, figures, in_words, with_interval, word
from analysis.intervals import t_interval
from study.table import Tables
from study.tables.trials import ranked, search_of, trials
from trainables.schema import METRICS, TrialConfig

LOSS = "test_nll"
ESTIMATES = {
    "L": "by description length (L) a VAE's N is {}",
    "U": "with room to spare a VAE keeps {} latents in use (U)",
    "a": "a plain auto-encoder's loss is within 1 nat of its best from N = {} on (a)",
    "I": "near any one image the images differ in {} directions (I)",
}
"""The estimates of N that an answer names, by key."""
CHECKED = {"L": "description length (L)", "U": "active units (U)", "I": "the images' own dimension (I)"}
"""Those that are checked where the dimension is known."""
MOST_PLACES, MOST_DATASETS = 3, 2
"""The most values of a swept field that are compared, and data sets; of more, the first and the last are."""


def answer(tables: Tables) -> list[str]:
    """Answers a run's question: for a search its objective, for a sweep its ends, else the best and the worst network.

    Returns:
        At most three sentences; one that says so where no replicate has finished, or no final value is a number.
    """
    if tables.spec.search is not None and tables.spec.search.asked:
        return list(_of_search(tables))
    every, last = cells(tables), final_rows(tables)
    checks = list(_of_checks(tables))
    if not len(last):
        return [_nothing(tables, "has finished")]
    if not len(every):
        return [*_of_estimates(tables), *checks]
    last = last[np.isfinite(last[LOSS].astype(float))]
    every = every[every["cell"].isin(last["cell"])].reset_index(drop=True)
    if not len(every):
        return [_nothing(tables, "has a final test NLL that is a number")]
    varied = varied_fields(every)
    if len(every) == 1:
        return [*checks, f"The only network that finished, {_name(every, 0)}, ends at {_loss(last, every, 0)}."]
    if varied.x is None:
        return [*checks, *_of_networks(every, last), *(_of_fields(every, last) if len(every) > 2 else ())]
    estimates = list(_of_estimates(tables)) if varied.x == "latent_dim" else []
    return [*checks, *estimates, *([] if checks else _of_sweep(every, last, varied))]


def _nothing(tables: Tables, what: str) -> str:
    """The sentence for a run without a number."""
    counts = tables.ends["status"].value_counts()
    states = ", ".join(f"{counts[status]} {status}" for status in STATUSES if status in counts)
    return f"There is no answer yet: none of {len(tables.ends)} replicates {what} ({states})."


def _of_search(tables: Tables) -> Iterator[str]:
    """Tells the trials by their ends, and the best objective with what was drawn for it, or the ends of the front."""
    search, found = search_of(tables), trials(tables)
    best = ranked(tables)
    states = ", ".join(f"{count} {state}" for state, count in found["state"].value_counts().items())
    if not len(best):
        yield f"There is no answer yet: none of {len(found)} trials has finished ({states})."
        return
    first = search.objectives[0]
    if len(search.objectives) > 1:
        ends = best.iloc[[0, -1]].to_dict("records")
        texts = [", ".join(f"{word(n)} {figures(row[n])}" for n in search.objectives) for row in ends]
        on = f"{len(best)} of {(found['state'] == 'finished').sum()} finished trials"
        yield f"{on} are on the Pareto front, from {texts[0]} to {texts[1]} ({METRICS[first].unit})."
    else:
        row = best.iloc[0]
        seeds = f"mean of {tables.spec.seeds} seeds" if tables.spec.seeds > 1 else "1 seed"
        value = f"{figures(row[first])} {METRICS[first].unit} ({seeds})"
        yield f"The best {word(first)} is {value}, of trial {row['trial']}: {_drawn(row, list(search.space))}."
        arms = final_rows(tables)
        arms = arms[~arms["cell"].isin(found["cell"]) & (arms["seed"] < tables.spec.seeds) & arms[first].notna()]
        if len(arms):
            means = arms.groupby("cell", sort=False)[first].mean()
            yield f"Beside it: {', '.join(f'{in_words(str(cell))} {figures(mean)}' for cell, mean in means.items())}."
    all_done = (found["state"] == "finished").all()
    yield f"All {len(found)} trials finished." if all_done else f"Of {len(found)} trials: {states}."


def _drawn(row: pd.Series[Any], fields: Sequence[str]) -> str:
    """The values of a trial's settings."""
    drawn = {field: row[f"field/{field}"] for field in fields}
    texts = {
        field: figures(float(value)) if isinstance(value, float | int) and not isinstance(value, bool) else str(value)
        for field, value in drawn.items()
        if value is not None and not (isinstance(value, float) and math.isnan(value))
    }
    names = {field: "N =" if field == "latent_dim" else word(field) for field in texts}
    return ", ".join(f"{names[field]} {text}" for field, text in texts.items())


def _of_checks(tables: Tables) -> Iterator[str]:
    """Tells how the estimates do where the dimension is known, if these are such images."""
    found = checks(Evidence([tables]).controls, papers=False)
    known = {key: name for key, name in CHECKED.items() if key in found and found[key].one_class}
    texts = [f"{name} is {found[key].short.replace('; ', ', ')}" for key, name in known.items()]
    if texts:
        yield f"Where the number k of factors is known, {'; '.join(texts)}."


def _of_estimates(tables: Tables) -> Iterator[str]:
    """Tells N, as far as the run's own networks allow."""
    try:
        evidence = Evidence([tables], dataset_of([tables], None))
    except EvidenceError:
        return
    by_key = {one.key: one for one in evidence.estimates}
    texts = []
    for key, text in ESTIMATES.items():
        one = by_key.get(key)
        if one is not None and math.isfinite(one.value):
            unsettled = "" if one.settled else f" (not settled: {one.reason.partition(':')[0]})"
            texts.append(text.format(one.text) + unsettled)
    if texts:
        yield f"{_sentence('; '.join(texts))}."


def _of_networks(every: pd.DataFrame, last: pd.DataFrame) -> Iterator[str]:
    """Names the best and the worst of several networks, and those that are not told apart from the best."""
    order = _order(every, last)
    best, worst = order[0], order[-1]
    if len(order) == 2:
        losses = [_loss(last, every, place, unit=False) for place in order]
        differences = _differences(last, every, best, worst)
        paired = _interval(pd.Series(differences, name="difference"), figures) if len(differences) else ""
        apart = f"; paired by seed, the difference is {paired} nats" if paired else ""
        text = (
            f"The test NLL of {_name(every, best)} is {losses[0]} nats per image, of {_name(every, worst)} {losses[1]}"
        )
        yield f"{text}{apart}."
        return
    text = f"Of {len(order)} networks {_name(every, best)} is best, with {_loss(last, every, best)}"
    yield f"{text}; {_name(every, worst)} is worst, with {_loss(last, every, worst, unit=False)}."
    near = [_name(every, other) for other in order[1:] if _not_apart(last, every, best, other)]
    if near:
        yield f"Not told apart from the best, for the 95 % interval of the paired difference holds 0: {_listed(near)}."


def _of_fields(every: pd.DataFrame, last: pd.DataFrame) -> Iterator[str]:
    """Names the setting with the largest effect: between networks that differ in it alone."""
    if not every["cell"].str.contains("=").any():
        return
    means = last.groupby("cell")[LOSS].mean()
    texts = every[[field for field in TrialConfig.model_fields if field in every]].map(str)
    effects: dict[str, tuple[float, int]] = {}
    for field in texts:
        groups = every["cell"].map(means).groupby([texts[other] for other in texts if other != field])
        spreads = (groups.max() - groups.min())[groups.size() > 1]
        if len(spreads):
            effects[str(field)] = (float(spreads.mean()), len(spreads))
    ranked_fields = sorted(effects, key=lambda field: -effects[field][0])
    if ranked_fields:
        first, *rest = ranked_fields
        mean, count = effects[first]
        more = f"; then {', '.join(f'{word(f)} {decimals(effects[f][0])}' for f in rest[:3])}" if rest else ""
        where = f"over {count} comparisons" if count > 1 else "in one comparison"
        yield (
            f"The largest effect has {word(first)}: {decimals(mean)} nats from its best to its worst value {where} "
            f"of networks that differ in nothing else{more}."
        )


def _of_sweep(every: pd.DataFrame, last: pd.DataFrame, varied: Varied) -> Iterator[str]:
    """Compares the networks at the values of a swept field, or follows the only one from end to end."""
    field = str(varied.x)
    lines = every.assign(series=every["cell"].map(varied.series), x=pd.to_numeric(every[field])).dropna(subset="x")
    datasets = list(dict.fromkeys(lines["dataset"]))
    for dataset in datasets[:MOST_DATASETS]:
        rows = lines[lines["dataset"] == dataset]
        where = f"On {dataset}: " if len(datasets) > 1 else ""
        counts = rows.groupby("x")["series"].nunique()
        if (counts > 1).any():
            places = sorted(counts[counts > 1].index)
            places = places if len(places) <= MOST_PLACES else [places[0], places[-1]]
            texts = [_at(rows[rows["x"] == x], last, field, x) for x in places]
            yield f"{where}Best and worst test NLL, in nats per image: {'; '.join(texts)}."
        else:
            for _, line in rows.groupby("series", sort=False):
                yield where + _along(line.sort_values("x"), last, field)
                break
    if len(datasets) > MOST_DATASETS:
        yield f"{len(datasets) - MOST_DATASETS} more data sets are in the table of final numbers."


def _at(rows: pd.DataFrame, last: pd.DataFrame, field: str, x: float) -> str:
    """The best and the worst network at one value of a field."""
    rows = rows.reset_index(drop=True)
    order = _order(rows, last)
    named = [f"{rows['series'][place]} {_loss(last, rows, place, unit=False)}" for place in (order[0], order[-1])]
    return f"at {_setting(field, x)} {' and '.join(named)}"


def _along(line: pd.DataFrame, last: pd.DataFrame, field: str) -> str:
    """The final values of one network from the first value of a field to the last, and where its loss is least."""
    line = line.reset_index(drop=True)
    ends = line.iloc[[0, -1]]
    texts = []
    for metric in (LOSS, "test_kl", "test_active_units"):
        values = [last.loc[last["cell"] == cell, metric] for cell in ends["cell"]]
        if all(value.notna().any() for value in values):
            texts.append(f"{word(metric)} from {' to '.join(_interval(value) for value in values)}")
    least = line["x"].to_numpy(float)[_order(line, last)[0]]
    series = line["series"][0]
    return (
        f"From {_setting(field, ends['x'].iloc[0])} to {figures(float(ends['x'].iloc[1]))}, {series}: "
        f"{', '.join(texts)}. The test NLL is least at {_setting(field, float(least))}."
    )


def _order(every: pd.DataFrame, last: pd.DataFrame) -> list[int]:
    """The rows of cells by rising mean loss."""
    means = every["cell"].map(last.groupby("cell")[LOSS].mean())
    return [int(place) for place in np.argsort(means.to_numpy(float), kind="stable")]


def _not_apart(last: pd.DataFrame, every: pd.DataFrame, one: int, other: int) -> bool:
    """Whether 0 lies in the interval of two networks' paired difference of losses; false without an interval."""
    differences = _differences(last, every, one, other)
    if len(differences) < 2:
        return False
    low, high = t_interval(differences)
    return low <= 0 <= high


def _differences(last: pd.DataFrame, every: pd.DataFrame, one: int, other: int) -> np.ndarray:
    """The second network's loss less the first's, by seed, `(num_seeds,)`."""
    losses = [last[last["cell"] == every["cell"][place]].set_index("seed")[LOSS] for place in (one, other)]
    return np.asarray((losses[1] - losses[0]).dropna(), float)


def _loss(last: pd.DataFrame, every: pd.DataFrame, place: int, *, unit: bool = True) -> str:
    text = _interval(last.loc[last["cell"] == every["cell"][place], LOSS])
    return f"a test NLL of {text} nats per image" if unit else text


def _interval(values: pd.Series[Any], write: Callable[[float | None], str] = decimals) -> str:
    return with_interval(*mean_and_interval(values), write)


def _name(every: pd.DataFrame, place: int) -> str:
    name, _, settings = in_words(str(every["name"][place])).partition(", ")
    return f"{name} ({settings})" if settings else name


def _setting(field: str, value: float) -> str:
    return f"N = {value:g}" if field == "latent_dim" else f"{word(field)} = {figures(value)}"


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
