"""Tells what went wrong in a run, in sentences, and its final numbers as a table. It states no verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.figures.style import look
from analysis.formats import ABSENT, decimals, in_words

MAX_NAMED = 8
"""How many networks a sentence names; of more it names the first and the last."""
TROUBLE = {
    "failed": "Replicates that failed",
    "diverged": "Replicates that diverged",
    "collapsed": "Replicates that finished but draw the same image whatever they are shown (collapsed)",
}
"""The ways in which a replicate gives no final number that counts, in words."""
_LOSSES = ("test_nll", "test_nll_mean", "test_kl", "test_sse", "train_nll", "ratio", "excess_ratio")


@dataclass(frozen=True)
class FinalRow:
    """A cell's final numbers as text; a dash where there is no such number."""

    cell: str
    name: str
    color: str
    dataset: str
    latent_dim: int
    used: str
    trouble: str
    troubled: int
    unfinished: str
    interval: str
    test_nll: str
    test_nll_mean: str
    test_kl: str
    test_sse: str
    train_nll: str
    ratio: str
    excess_ratio: str
    train_s: str
    step: str


def overfit_sentences(rises: Mapping[str, float]) -> list[str]:
    """A sentence that names the cells of `analysis.cells.overfitting`; none if no cell overfits."""
    if not rises:
        return []
    names = sorted(rises, key=lambda cell: -rises[cell])
    named = [f"{in_words(name)} (by {rises[name]:.1%})" for name in names[:MAX_NAMED]]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return [
        f"Overfits: the test NLL of {', '.join(named)}{more} rises over the last fifth of training. What N such "
        "networks need is not settled: train for fewer steps, or on more images."
    ]


def trouble_sentences(summary: pd.DataFrame) -> list[str]:
    """The networks whose replicates failed, diverged or collapsed, a sentence for each of TROUBLE."""
    texts = []
    for status, meaning in TROUBLE.items():
        rows = summary[summary[status] > 0]
        if len(rows):
            names = _listed(f"{in_words(row['name'])} ({row[status]})" for row in rows.to_dict("records"))
            texts.append(f"{meaning}: {names}.")
    return texts


def final_rows(summary: pd.DataFrame) -> list[FinalRow]:
    """The final table's rows, from `summarise`, of the cells that have begun."""
    return [_final_row(row) for row in summary[summary["pending"] < summary["replicates"]].to_dict("records")]


def _listed(texts: Iterable[str]) -> str:
    """Texts in a row; of more than MAX_NAMED, the first and the last few."""
    named, few = list(texts), MAX_NAMED // 2 - 1
    if len(named) > MAX_NAMED:
        named[few:-few] = [f"{len(named) - 2 * few} between them (see the final table)"]
    return ", ".join(named)


def _final_row(row: Mapping[Any, Any]) -> FinalRow:
    interval = ABSENT
    if pd.notna(row["test_nll_low"]):
        interval = f"[{row['test_nll_low']:,.2f}, {row['test_nll_high']:,.2f}]"
    elif row["finished"] == 1:
        interval = "closed form" if row["network"] == "pca" else "one seed"
    unfinished = {status: row[status] for status in ("stopped", "running") if row[status]}
    numbers: dict[str, Any] = {key: decimals(row[key], 2) for key in _LOSSES}
    numbers |= {key: decimals(row[key], 0) for key in ("train_s", "step")}
    return FinalRow(
        color=look(row["network"]).color,
        used=f"{row['finished']} of {row['replicates'] - row['pending']}",
        trouble=" / ".join(str(row[key]) for key in TROUBLE),
        troubled=sum(row[key] for key in TROUBLE),
        unfinished=", ".join(f"{count} {status}" for status, count in unfinished.items()),
        interval=interval,
        name=in_words(row["name"]),
        **{key: row[key] for key in ("cell", "dataset", "latent_dim")},
        **numbers,
    )
