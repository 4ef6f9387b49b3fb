"""What came out of a run, in sentences and as the table of final numbers. It states numbers and no verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.figures.style import look
from analysis.formats import ABSENT, decimals, with_interval

MAX_GROUPS = 6
"""How many settings of data set and N are told in sentences; the table has them all."""
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
    named = [f"{name} (by {rises[name]:.1%})" for name in names[:MAX_NAMED]]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return [
        f"Overfits: the test NLL of {', '.join(named)}{more} rises over the last fifth of training. What N such "
        "networks need is not settled: train for fewer steps, or on more images."
    ]


def sentences(summary: pd.DataFrame) -> list[str]:
    """What came out, from the numbers of `summarise` alone: test NLL per network, ratios to ELU, collapses."""
    done = summary[summary["test_nll"].notna()]
    texts = [] if len(done) else ["No replicate has finished yet: there is no final number to tell."]
    groups = list(done.groupby(["dataset", "latent_dim"], sort=False))
    for _, rows in groups[:MAX_GROUPS]:
        texts += _group_sentences(rows.sort_values("test_nll", kind="stable"))
    if len(groups) > MAX_GROUPS:
        texts.append(f"{len(groups) - MAX_GROUPS} more settings of N are in the final table.")
    for status, meaning in TROUBLE.items():
        rows = summary[summary[status] > 0]
        if len(rows):
            names = _listed(f"{row['name']} ({row[status]})" for row in rows.to_dict("records"))
            texts.append(f"{meaning}: {names}.")
    return texts


def final_rows(summary: pd.DataFrame) -> list[FinalRow]:
    """The final table's rows, from `summarise`."""
    return [_final_row(row) for row in summary.to_dict("records")]


def _group_sentences(rows: pd.DataFrame) -> Iterator[str]:
    """Test NLL of the networks with one latent dimension, and the same as multiples of ELU's."""
    seeds = sorted({int(row["finished"]) for row in rows.to_dict("records") if row["network"] != "pca"})
    values = _listed(f"{row['name']} {_nll(row)}" for row in rows.to_dict("records"))
    how = "one seed each" if seeds == [1] else f"means over {' or '.join(map(str, seeds))} seeds [95 % t interval]"
    where = f"On {rows['dataset'].iloc[0]} at N = {rows['latent_dim'].iloc[0]}"
    levels = [
        f"{name} {rows[key].iloc[0]:,.1f}"
        for key, name in (("floor", "entropy floor"), ("mean_image", "mean image"))
        if pd.notna(rows[key].iloc[0])
    ]
    text = f"{where}, the final test NLL in nats per image ({how if seeds else 'closed form'}) is"
    yield f"{text} {values}." + (f" For comparison: {', '.join(levels)}." if levels else "")
    compared = rows[rows["ratio"].notna() & (rows["network"] != "elu")]
    if len(compared):
        ratios = _listed(
            f"{row['name']} {row['ratio']:.2f}"
            + (f" ({row['excess_ratio']:.2f})" if pd.notna(row["excess_ratio"]) else "")
            for row in compared.to_dict("records")
        )
        yield f"As a multiple of the ELU network's, raw (and above the entropy floor): {ratios}."


def _listed(texts: Iterable[str]) -> str:
    """Texts in a row; of more than MAX_NAMED, the first and the last few."""
    named, few = list(texts), MAX_NAMED // 2 - 1
    if len(named) > MAX_NAMED:
        named[few:-few] = [f"{len(named) - 2 * few} between them (see the final table)"]
    return ", ".join(named)


def _nll(row: Mapping[Any, Any]) -> str:
    return with_interval(row["test_nll"], row["test_nll_low"], row["test_nll_high"], decimals)


def _final_row(row: Mapping[Any, Any]) -> FinalRow:
    interval = ABSENT
    if pd.notna(row["test_nll_low"]):
        interval = f"[{row['test_nll_low']:,.2f}, {row['test_nll_high']:,.2f}]"
    elif row["finished"] == 1:
        interval = "closed form" if row["network"] == "pca" else "one seed"
    unfinished = {status: row[status] for status in ("stopped", "running", "pending") if row[status]}
    numbers: dict[str, Any] = {key: decimals(row[key], 2) for key in _LOSSES}
    numbers |= {key: decimals(row[key], 0) for key in ("train_s", "step")}
    return FinalRow(
        color=look(row["network"]).color,
        used=f"{row['finished']} of {row['replicates']}",
        trouble=" / ".join(str(row[key]) for key in TROUBLE),
        troubled=sum(row[key] for key in TROUBLE),
        unfinished=", ".join(f"{count} {status}" for status, count in unfinished.items()),
        interval=interval,
        **{key: row[key] for key in ("cell", "name", "dataset", "latent_dim")},
        **numbers,
    )
