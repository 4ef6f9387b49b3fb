"""The importance of each setting: fANOVA (Hutter et al., 2014) of a search's trials, with bootstrap standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from analysis.figures.base import NotApplicableError
from analysis.figures.lines import INTERVAL, three_rows
from analysis.figures.style import INK, theme
from analysis.intervals import Values
from analysis.search.as_optuna import Parameters, common_step, sign, to_optuna, values_at
from study.table import Tables
from study.tables.trials import parameters, search_of

LEAST_TRIALS = 20
"""The least number of trials: with fewer, a forest says more about chance than about the settings."""
RESAMPLES = 25
"""Resamples: enough for a standard error (Efron and Tibshirani, 1993, section 6.4), not for percentiles."""
TREES, FEWER_TREES = 64, 8
"""Trees of the forest, and of each resample's; that these are fewer makes the standard errors a little too large."""


def importances(drawn: Sequence[Parameters], values: Values, *, seed: int = 0, trees: int) -> dict[str, float]:
    """The share of the variance over the space that each parameter explains alone, as a forest of `trees` sees it.

    Only what was drawn for every trial takes part. What parameters explain only together is in none of the shares,
    which add up to less than 1 by it.
    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    if len(set(values)) < 2:
        return {}  # nothing is left to explain
    study.add_trials(to_optuna(drawn, values))
    evaluator = FanovaImportanceEvaluator(n_trees=trees, seed=seed)
    return evaluator.evaluate(study)  # not normalised, as `get_param_importances` would


def importance_data(tables: Tables) -> pd.DataFrame:
    """The importance of each setting for the first objective, at a common step and at full length.

    Columns: `at` (the step, in words), `step` (null for the full length), `trials`, `parameter`, `importance` (share of
    variance), `low` and `high` (1.96 standard errors to each side, within 0 to 1, by bootstrap over trials), and
    `left_out`: why a setting has none, else null.

    Raises:
        NotApplicableError: Fewer than LEAST_TRIALS trials at either.
    """
    objective = search_of(tables).objectives[0]
    parts = [_importances_at(tables, objective, step) for step in (common_step(tables), None)]
    every = pd.concat([part for part in parts if len(part)] or parts)
    if not len(every):
        many = len(values_at(tables, objective, common_step(tables)).dropna()) >= LEAST_TRIALS
        few = f"fewer than {LEAST_TRIALS} trials have a value"
        raise NotApplicableError(f"{objective} is the same in every trial" if many else few)
    if every["left_out"].notna().all():
        raise NotApplicableError("no setting was drawn for every trial with more than one value")
    return every.reset_index(drop=True)


@theme()
def plot_importance(data: pd.DataFrame) -> Figure:
    """Bars with intervals, a panel for each step."""
    shown = data[data["left_out"].isna()]
    order = list(dict.fromkeys(shown.sort_values("importance", ascending=False)["parameter"]))
    ats = list(dict.fromkeys(shown["at"]))
    figure = Figure(figsize=(3.6 * len(ats) + 0.8, 0.34 * len(order) + 1.3), layout="constrained")
    panels = figure.subplots(1, len(ats), sharey=True, squeeze=False)[0]
    for axes, at in zip(panels, ats, strict=True):
        rows = three_rows(shown[shown["at"] == at], ["parameter"], "importance")
        bars: dict[str, Any] = {"color": "#0072B2", "saturation": 1, "width": 0.62}
        bars |= INTERVAL | {"err_kws": {"color": INK, "linewidth": 1.2}}
        sns.barplot(rows, x="at", y="parameter", order=order, ax=axes, **bars)
        axes.set(xlim=(0, 1), xlabel="importance (share of variance)", ylabel="")
        axes.grid(axis="y", visible=False)
        axes.set_title(f"{at} ({int(shown.loc[shown['at'] == at, 'trials'].iloc[0])} trials)")
    return figure


def importance_caption(data: pd.DataFrame) -> str:
    """The caption: the bars, and the settings without one."""
    left_out = data[data["left_out"].notna()].drop_duplicates("parameter")
    out = "; ".join(f"{row['parameter']}: {row['left_out']}" for row in left_out.to_dict("records"))
    return (
        "Share of the objective's variance over the space that each setting explains alone (fANOVA); what several "
        f"explain only together is in none. Lines: 1.96 standard errors to each side, over {RESAMPLES} resamples."
        + (f" Left out: {out}." if out else "")
    )


def _importances_at(tables: Tables, objective: str, step: int | None) -> pd.DataFrame:
    values = values_at(tables, objective, step).dropna() * sign(objective)
    if len(values) < LEAST_TRIALS or values.nunique() < 2:
        return pd.DataFrame()
    every = parameters(tables)
    drawn: list[Parameters] = [every[int(number)] for number in values.index]
    point = importances(drawn, values.to_numpy(), trees=TREES)
    rng = np.random.default_rng(0)
    draws = []
    for index in range(RESAMPLES):
        chosen = rng.integers(0, len(values), len(values))
        draws.append(importances([drawn[i] for i in chosen], values.to_numpy()[chosen], seed=index, trees=FEWER_TREES))
    rows = []
    for name in dict.fromkeys(name for trial in drawn for name in trial):
        resampled = [draw.get(name, 0.0) for draw in draws]
        known = name in point
        reach = 1.96 * float(np.std(resampled, ddof=1))
        low, high = np.clip([point[name] - reach, point[name] + reach], 0, 1) if known else (np.nan, np.nan)
        reason = None if known else "not drawn for every trial, or always the same"
        rows.append(
            {"parameter": name, "importance": point.get(name, np.nan), "low": low, "high": high, "left_out": reason}
        )
    at = f"after {step:,} steps" if step is not None else "at full length"
    return pd.DataFrame(rows).assign(
        at=at, step=np.nan if step is None else step, trials=len(values), objective=objective
    )
