"""The results table read the way figures and the report need it: cells, the replicates that count, final numbers.

A replicate counts if it has finished; the others are counted and named, never dropped silently.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.formats import ABSENT
from analysis.intervals import least_error, t_interval
from study.table import Tables
from study.tables.trials import ranked, searched
from trainables.schema import METRICS, TrialConfig

PAPER_LATENT_DIM = 5
PAPER_ARMS = {"linear", "sigmoid", "relu", "elu", "vae"}
BEST_TRIALS = 3
STATUSES = ("finished", "failed", "diverged", "stopped", "running", "pending")
EVALUATED = "cell replicate seed status collapsed step config/batch_size test_nll train_nll".split()
"""Columns of the results table that curves are drawn from."""
_NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)")
_SWEPT = re.compile(r"( (\w+)=(?:\[[^]]*\]|\S+))")
SUMMARY_METRICS = ("test_nll", "test_nll_mean", "test_kl", "test_sse", "train_nll", "train_s", "step")


def network(config: dict[str, Any]) -> str:
    """The network of a cell, by its config and not by its name: what decides its colour.

    The activation, with the output head unless it is the sigmoid ("linear clipped"); the model's name if it is another
    than the plain auto-encoder ("vae"); the task if nothing is trained ("pca").
    """
    if config["task"] != "train":
        return str(config["task"])
    if config["model"] != "autoencoder":
        return str(config["model"])
    head = config["output"]
    return str(config["activation"]) if head == "sigmoid" else f"{config['activation']} {head}"


def evaluated(tables: Tables) -> bool:
    """Whether a network of this run has been evaluated, finished or not."""
    return bool(tables.rows("results", ["test_nll"])["test_nll"].notna().any())


def is_papers(tables: Tables) -> bool:
    """Whether the study compares the paper's five networks, so that its figures are those of the paper."""
    return tables.spec.arms.keys() >= PAPER_ARMS


def cells(tables: Tables) -> pd.DataFrame:
    """One row per cell: `cell, name, network, dataset, latent_dim` and every config field, networks in a fixed order.

    `name` is the cell's without what is at its usual value, where several fields vary.

    Cells that draw no image, estimates of the intrinsic dimension, are not among them, nor is what a search has drawn,
    its best BEST_TRIALS apart.
    """
    hidden = searched(tables) - (set(ranked(tables)["cell"].head(BEST_TRIALS)) if tables.spec.search else set())
    shown = tables.ends[~tables.ends["cell"].isin(hidden) & (tables.ends["config/task"] != "intrinsic_dimension")]
    configs = {cell: dict(tables.configs[cell]) for cell in shown["cell"].unique()}
    rows: list[dict[str, Any]] = [{"cell": cell, "network": network(c), **c} for cell, c in configs.items()]
    rank = {name: index for index, name in enumerate(["linear", "linear clipped", "sigmoid", "relu", "elu"])}
    last = {"vae": 90, "pca": 99}
    numbers, networks = by_number(configs), {**rank, **last}

    def place(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return str(row["dataset"]), networks.get(row["network"], 50), row["latent_dim"] or 0, numbers[row["cell"]]

    order = sorted(rows, key=place)
    names = _names(order, tables.spec.base)
    columns = ["name", "cell", "network", *TrialConfig.model_fields]
    return pd.DataFrame([{"name": name, **row} for name, row in zip(names, order, strict=True)], columns=columns)


def by_number(names: Iterable[str]) -> dict[str, int]:
    """The place of each cell's name when numbers sort by size and words by where they first appear."""
    words: dict[str, float] = {}
    keys = {
        name: [float(part) if at % 2 else words.setdefault(part, len(words)) for at, part in enumerate(parts)]
        for name, parts in ((name, _NUMBER.split(name)) for name in names)
    }
    return {name: place for place, name in enumerate(sorted(keys, key=lambda name: keys[name]))}


def paper_cells(tables: Tables) -> pd.DataFrame:
    """The cells that the paper's figures show: one dataset, and the latent dimension nearest to the paper's 5.

    Trained networks decide which latent dimension that is; where there is none, PCA does.
    """
    every = cells(tables)
    if not len(every):
        return every
    trained = every[every["task"] == "train"]
    ruling = trained if len(trained) else every
    dataset = "mnist" if "mnist" in set(ruling["dataset"]) else ruling["dataset"].iloc[0]
    ruling = ruling[ruling["dataset"] == dataset]
    latent_dim = min(ruling["latent_dim"], key=lambda dim: (abs(dim - PAPER_LATENT_DIM), dim))
    chosen = (every["dataset"] == dataset) & (every["latent_dim"] == latent_dim)
    shown: pd.DataFrame = every[chosen].reset_index(drop=True)
    return shown


def counted(tables: Tables, names: Iterable[str]) -> pd.DataFrame:
    """Evaluated rows of the replicates that the curves of these cells are drawn from, cell by cell; columns EVALUATED.

    Those that finished; in a cell where none did, all that have an evaluation. `note` names such a cell's state
    ("running"), else it is empty.
    """
    rows = tables.rows("results", EVALUATED, {"cell": names})
    rows = rows[rows["test_nll"].notna() & rows["step"].notna()].astype({"step": "int64"})
    finished = rows["status"] == "finished"
    without = ~rows["cell"].isin(rows.loc[finished, "cell"].unique())
    states = rows[without].groupby("cell")["status"].unique()
    notes = {cell: ", ".join(sorted(statuses)) for cell, statuses in states.items()}
    rows = rows[finished | without]
    rows = rows.iloc[np.argsort(pd.factorize(rows["cell"])[0], kind="stable")]
    return rows.assign(note=[notes.get(cell, "") for cell in rows["cell"]])


def final_rows(tables: Tables) -> pd.DataFrame:
    """The last row of each finished replicate."""
    rows = tables.ends
    last: pd.DataFrame = rows[(rows["status"] == "finished") & rows["final"].fillna(False).astype(bool)]
    return last


def references(tables: Tables, quantity: str) -> dict[str, float]:
    """A reference line's value (`test_nll_floor`, `test_nll_mean_image`) by cell: that which was recorded first."""
    rows = tables.rows("profiles", ["replicate", "value"], {"quantity": [quantity]}).dropna(subset="value")
    cell = rows["replicate"].map(tables.ends.set_index("replicate")["cell"])
    first = rows.assign(cell=cell).dropna(subset="cell").drop_duplicates("cell")
    return {str(row["cell"]): float(row["value"]) for row in first.to_dict("records")}


SIGNED = ("loss", "_nll_model", "_neg_elbo")
"""Endings of the metrics that may be negative, as the density of a continuous pixel is; no other metric can."""
OVERFITS = 0.02
"""Share by which the test NLL of a network that overfits rises over the last fifth of training, at least."""


def mean_and_interval(values: pd.Series) -> tuple[float | None, float | None, float | None]:
    """Mean over seeds and its 95 % t interval; None where there are too few seeds.

    The interval ends at the bound of what cannot be negative: that leaves out no value that may be, so that it covers
    as before.

    Args:
        values: One number per seed; its name, if a metric, says whether it is a count.
    """
    numbers = values.dropna().astype(float).to_numpy()
    if not len(numbers):
        return None, None, None
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        return float(numbers.mean()), None, None
    metric = METRICS.get(str(values.name))
    error = least_error(numbers, resolution=1.0 if metric and metric.unit == "units" else 0.0)
    low, high = t_interval(numbers, least_error=error)
    bounded = metric is not None and not str(values.name).endswith(SIGNED)
    return float(numbers.mean()), max(low, 0.0) if bounded else low, high


def summarise(tables: Tables) -> pd.DataFrame:
    """The final table: per cell its replicates by status, the mean of each metric at the last step, and ratios.

    Columns: `cell, name, network, dataset, latent_dim, replicates`, a count per status, `collapsed`, each of
    SUMMARY_METRICS (mean over finished seeds), `test_nll_low`, `test_nll_high` (95 % t interval), `floor`,
    `mean_image`, and `ratio`, `excess_ratio`: the test NLL over the ELU net's of the same dataset and latent
    dimension, raw and above the floor.
    """
    last, replicates = final_rows(tables), tables.ends
    summary = cells(tables)[["cell", "name", "network", "dataset", "latent_dim"]].set_index("cell")
    summary["replicates"] = replicates["cell"].value_counts()
    counts = pd.crosstab(replicates["cell"], replicates["status"]).reindex(columns=STATUSES, fill_value=0)
    collapsed = last["collapsed"].fillna(False).astype(int).groupby(last["cell"]).sum()
    means = last[[*SUMMARY_METRICS]].astype(float).groupby(last["cell"]).mean()
    summary = summary.join(counts).assign(collapsed=collapsed.reindex(summary.index, fill_value=0)).join(means)
    intervals = {cell: mean_and_interval(values)[1:] for cell, values in last.groupby("cell")["test_nll"]}
    for end, column in enumerate(("test_nll_low", "test_nll_high")):
        summary[column] = pd.Series({cell: interval[end] for cell, interval in intervals.items()}, dtype=float)
    for column, quantity in {"floor": "test_nll_floor", "mean_image": "test_nll_mean_image"}.items():
        summary[column] = pd.Series(references(tables, quantity), dtype=float)
    return _with_ratios(summary.reset_index())


def overfitting(tables: Tables) -> dict[str, float]:
    """The cells that overfit: the mean rise of their test NLL over the last fifth of training, as a share of it.

    A cell overfits if that is more than OVERFITS, and twice the rise of the NLL of the training batches, which rises
    too where training is unstable. Of each finished network the last evaluation is compared with the first in that
    fifth.
    """
    losses = ["test_nll", "train_nll"]
    rows = tables.rows("results", ["replicate", "cell", "status", "step", *losses]).dropna(subset=["step", *losses])
    rows = rows[rows["status"] == "finished"]
    late = rows[rows["step"] >= 0.8 * rows.groupby("replicate")["step"].transform("max")].sort_values("step")
    ends = late.groupby(["cell", "replicate"], sort=False)[losses]
    rises = (ends.last() / ends.first() - 1).groupby("cell", sort=False).mean()
    rises = rises[(rises["test_nll"] > OVERFITS) & (rises["test_nll"] > 2 * rises["train_nll"])]
    return {str(cell): float(rise) for cell, rise in rises["test_nll"].items()}


def none_if_null(value: Any) -> Any:
    """A table's value: None for NaN, NaT and NA, an int for a whole float (ints with nulls are floats)."""
    if value is None or pd.isna(value):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def config_text(value: Any) -> str:
    """A config field's value as a reader writes it; a dash where the field does not apply."""
    value = list(value) if isinstance(value, tuple) else none_if_null(value)
    if value is None:
        return ABSENT
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _names(rows: Sequence[Mapping[str, Any]], base: Mapping[str, Any]) -> list[str]:
    """Cells' names without the fields at their usual value, where a name has several; whole if that made two alike."""
    usual = {field: info.default for field, info in TrialConfig.model_fields.items()} | dict(base)
    names = []
    for row in rows:
        swept = _SWEPT.findall(row["cell"])
        dropped = [text for text, field in swept if field in usual and row[field] == usual[field]]
        names.append(re.sub("|".join(map(re.escape, dropped)), "", row["cell"]) if len(swept) > 1 else row["cell"])
    return names if len(set(names)) == len(names) else [row["cell"] for row in rows]


def _with_ratios(summary: pd.DataFrame) -> pd.DataFrame:
    """`ratio` and `excess_ratio` beside the rest, where there is just one ELU net to set a cell against."""
    same = ["dataset", "latent_dim"]
    elu = summary[(summary["network"] == "elu") & summary["test_nll"].notna()].drop_duplicates(same, keep=False)
    against = summary[same].merge(elu[[*same, "test_nll"]], how="left")["test_nll"]
    nll, floor = summary["test_nll"], summary["floor"]
    return summary.assign(ratio=nll / against, excess_ratio=(nll - floor) / (against - floor))
