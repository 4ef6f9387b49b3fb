"""The course of a search: each trial's value, the best so far, and what ASHA stopped at which rung."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import GREY, INK, theme
from analysis.formats import word
from analysis.search.as_optuna import log_values, sign
from study.table import Tables
from study.tables.trials import curves, search_of, trials
from trainables.schema import METRICS

_MARKERS = {"finished": "o", "stopped": "v", "failed": "X", "running": "d"}
_COLORS = {"finished": "#0072B2", "stopped": "#D55E00", "failed": INK, "running": GREY}


def history_data(tables: Tables) -> pd.DataFrame:
    """A row for each trial that has a value: its first objective at its last step, and the best finished one so far.

    Columns: `trial`, `state`, `step`, `steps_so_far` (training steps of this trial and those before it, over all
    replicates), `value`, `best` (null before the first finished trial), `objective`.
    """
    objective = search_of(tables).objectives[0]
    found = trials(tables)
    last = curves(tables, objective).groupby("trial").tail(1).set_index("trial")["value"]
    found = found.assign(value=found["trial"].map(last), steps_so_far=(found["step"] * tables.spec.seeds).cumsum())
    finished = found["value"].where(found["state"] == "finished") * sign(objective)
    best = finished.cummin().ffill() * sign(objective)
    if len(search_of(tables).objectives) > 1:
        best = best * np.nan  # of several objectives there is no best
    columns = ["trial", "state", "step", "steps_so_far", "value"]
    return found[columns].assign(best=best, objective=objective)


@theme()
def plot_history(data: pd.DataFrame) -> Axes:
    """Values by trial number, logarithmic, and the best so far."""
    objective = data["objective"].iloc[0]
    axes = Figure(figsize=(6.4, 3.4), layout="constrained").add_subplot()
    rows, states = data[data["value"].notna()], [state for state in _MARKERS if (data["state"] == state).any()]
    if len(rows):  # seaborn warns of a palette without points
        sns.scatterplot(
            rows, x="trial", y="value", hue="state", style="state", hue_order=states, style_order=states,
            palette=_COLORS, markers=_MARKERS, s=42, linewidth=0, ax=axes,
        )  # fmt: skip
    if data["best"].notna().any():
        axes.step(data["trial"], data["best"], where="post", color=GREY, label="best finished so far")
    log_values(axes)
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{word(objective)} [{METRICS[objective].unit}]")
    if axes.get_legend_handles_labels()[0]:  # none of a search that has just begun
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    return axes


def history_caption(data: pd.DataFrame) -> str:
    """The caption: the trials by their ends, and the steps that were trained."""
    counts = ", ".join(f"{count} {state}" for state, count in data["state"].value_counts().items())
    total = int(data["steps_so_far"].iloc[-1])
    objective = data["objective"].iloc[0]
    return f"Every trial's {word(objective)} at its last step, in order: {counts}; {total:,} training steps in all."


def rungs_data(tables: Tables) -> pd.DataFrame:
    """The trials at each of ASHA's rungs: `rung` (steps), `reached`, `stopped`, `best` and `worst` that went on.

    Empty without ASHA.
    """
    search, found = search_of(tables), trials(tables)
    rows = []
    values = curves(tables, search.objectives[0])
    length = int(values["step"].max()) if len(values) else 0
    for rung in search.rungs(length):
        here = values[values["step"] == rung].set_index("trial")["value"]
        stopped = found[(found["state"] == "stopped") & (found["step"] == rung)]["trial"]
        passed = here[~here.index.isin(list(stopped))]
        lowest, highest = (np.nan, np.nan) if passed.empty else (passed.min(), passed.max())
        rows.append({"rung": rung, "reached": len(here), "stopped": len(stopped), "best": lowest, "worst": highest})
    return pd.DataFrame(rows, columns=["rung", "reached", "stopped", "best", "worst"])
