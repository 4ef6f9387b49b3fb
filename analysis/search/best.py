"""The best configurations, judged on seeds and images that did not choose them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.cells import mean_and_interval
from study.table import Tables
from study.tables import trials
from study.tables.trials import search_of


def best_data(tables: Tables, others: Sequence[Tables] = (), top: int = 5) -> pd.DataFrame:
    """The search's best trials and its arms: what chose them, and the same metric on the test images for fresh seeds.

    Args:
        tables: Of the search.
        others: Of studies that trained its best again, as `study best --spec` writes them: their finished replicates
            count whose config is a trial's or an arm's and whose seed the search did not use.
        top: Trials to show.

    Returns:
        Columns: `cell`, `trial` (null for an arm), the objectives (for arms too, the mean over the search's seeds), and
        for each the mean on the test images over fresh seeds `test`, with `low`, `high` (95 % t interval, null for
        fewer than two seeds) and `fresh_seeds`, named `OBJECTIVE/test` and so on; then `field/NAME` of the trials.
    """
    search = search_of(tables)
    best = trials.top(tables, top)
    ends = tables.ends[tables.ends["status"] == "finished"]
    trained = {cell for cell, config in tables.configs.items() if config.task == "train"} - trials.searched(tables)
    arms = ends[ends["cell"].isin(trained)].groupby("cell", sort=False)[search.objectives].mean().reset_index()
    shown = pd.concat([best.assign(kind="trial"), arms.assign(kind="arm")], ignore_index=True)
    fresh = pd.concat([fresh_of(tables, other) for other in (tables, *others)], ignore_index=True)
    rows = []
    for row in shown.to_dict("records"):
        mine = fresh.loc[np.array([config == tables.configs[row["cell"]] for config in fresh["config"]], bool)]
        judged: dict[str, Any] = {}
        for name in search.objectives:
            judged |= _judged(name, mine[f"test_{name.partition('_')[2]}"].dropna().to_numpy(float))
        rows.append({"cell": row["cell"], "trial": row.get("trial"), **{n: row[n] for n in search.objectives}, **judged}
                    | {f"field/{name}": row.get(f"field/{name}") for name in search.space})  # fmt: skip
    return pd.DataFrame(rows)


def fresh_of(search: Tables, other: Tables) -> pd.DataFrame:
    """Finished replicates of a study whose seeds the search did not use, with their configs."""
    ends = other.ends[(other.ends["status"] == "finished") & (other.ends["seed"] >= search.spec.seeds)]
    ends = ends[ends["data_digest"].isin(set(search.ends["data_digest"]))]
    return ends.assign(config=ends["cell"].map(other.configs))


def _judged(name: str, values: np.ndarray) -> dict[str, Any]:
    mean, low, high = (np.nan if x is None else x for x in mean_and_interval(pd.Series(values, name=name)))
    return {f"{name}/test": mean, f"{name}/low": low, f"{name}/high": high, f"{name}/fresh_seeds": len(values)}
