"""The blocks of README.md and docs/: what each shows of the tables, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import pandas as pd

from analysis.cells import cells, final_rows, mean_and_interval, summarise
from analysis.claims import markdown
from analysis.dimension import estimate_table, multiverse, ruler
from analysis.dimension.checks import Fall
from analysis.dimension.conclusion import law_doubt, law_text
from analysis.evidence import Evidence
from analysis.figures import answer
from analysis.formats import ABSENT, decimals, table, with_interval
from analysis.report import published, short_run, vocabulary
from analysis.report.surprises import surprises
from analysis.search.best import best_data
from analysis.verdict import counts_of
from study.table import Tables
from study.tables.trials import search_of, trials
from trainables.registry import MEASUREMENTS

SWEEP = {
    "elu": {"test_nll": "ELU"},
    "vae": {"test_nll": "VAE", "test_kl": "VAE's rate", "test_active_units": "VAE's active units"},
    "linear": {"test_nll": "linear"},
    "pca": {"test_nll": "PCA"},
}
"""Columns of the table over N: by network, each metric's name there."""
KEY_CLAIMS = ("C7", "C8", "C9", "C10")
"""Claims of the paper that need no explanation, for the README; docs/claims.md has all."""
Runs = Mapping[str, "Tables"]
"""Tables by their folder, from the repository's root."""


def verdicts(evidence: Evidence) -> str:
    """The number of claims by verdict, and the verdicts on KEY_CLAIMS."""
    decided = evidence.verdicts
    rows = [(f"{v.claim.statement}", f"**{v.verdict}**") for v in decided if v.claim.id in KEY_CLAIMS]
    counts = counts_of(verdict.verdict for verdict in decided)
    return f"{len(decided)} claims: {counts}. Some of them:\n\n{table(('the paper says', 'verdict'), rows)}"


def claims(evidence: Evidence) -> str:
    """The page of all claims with the tests behind them, without its title."""
    return markdown.to_markdown(evidence.verdicts).partition("\n")[2].strip()


def losses(evidence: Evidence) -> str:
    """The final test NLL of each cell with its multiple of ELU's, by rising loss, and what it is read against."""
    summary = pd.concat([summarise(tables) for tables in evidence.tables])
    rows = []
    for row in summary[summary["test_nll"].notna()].sort_values("test_nll").to_dict("records"):
        name = f"{row['cell']}, **collapsed**" if row["collapsed"] else row["cell"]
        nll = with_interval(row["test_nll"], row["test_nll_low"], row["test_nll_high"], decimals)
        at_mean = decimals(row["test_nll_mean"]) if row["network"] == "vae" else ""
        ratio = "" if pd.isna(row["ratio"]) else f"{row['ratio']:.2f}"
        rows.append((name, nll, at_mean, ratio, "closed form" if row["network"] == "pca" else row["finished"]))
    levels = summary[["mean_image", "floor"]].dropna().iloc[:1].to_dict("records")
    names = {"mean_image": "*the mean image, whatever is shown*", "floor": "*entropy floor: a perfect copy*"}
    rows += [(names[str(key)], f"*{value:,.1f}*", "", "", "") for level in levels for key, value in level.items()]
    return table(("network", "test NLL", "z at its mean", "times ELU", "seeds"), rows)


def sweep(evidence: Evidence) -> str:
    """SWEEP by latent dimension: means over the seeds that finished, with their 95 % t intervals."""
    last = pd.concat([final_rows(tables).merge(cells(tables)[["cell", "network"]]) for tables in evidence.tables])
    shown = [(name, key, title) for name, keys in SWEEP.items() for key, title in keys.items()]
    shown = [entry for entry in shown if entry[0] in set(last["network"])]
    rows = []
    for latent_dim, group in last.groupby("config/latent_dim"):
        values = [mean_and_interval(group.loc[group["network"] == name, key]) for name, key, _ in shown]
        rows.append((latent_dim, *(with_interval(*value, decimals) for value in values)))
    trained = last[last["config/task"] == "train"].groupby("cell").size()
    few, many = trained.min(), trained.max()
    text = (
        f"Means over {few if few == many else f'{few} to {many}'} seeds, with their 95 % t intervals from 2 seeds on:"
    )
    return f"{text}\n\n{table(('N', *(title for _, _, title in shown)), rows)}"


def law(evidence: Evidence) -> str:
    """The law of the plain auto-encoder's loss with its tolerance curve."""
    found = evidence.law
    if isinstance(found, str):
        return f"Not measured: {found}."
    header = ("nats above the limit", "N [95 % interval]", "change over the last fifth of training", "doubt")
    changes = {m: f"{100 * share:.0f} %" if math.isfinite(share) else ABSENT for m, share in found.moved.items()}
    curve = [
        (f"{m:g}", with_interval(*numbers), changes[m], law_doubt(found, m)) for m, numbers in found.tolerance.items()
    ]
    text = law_text(found)
    drawn = "".join(f"\n\nOn `{fall.dataset}`: {_of_fall(fall)}." for fall in evidence.falls)
    return f"{text[0].upper()}{text[1:]}.\n\n{table(header, curve)}{drawn}"


def _of_fall(fall: Fall) -> str:
    """The fall of the loss on a control and its law, or why it has none."""
    law = f"no law, {fall.law}" if isinstance(fall.law, str) else law_text(fall.law)
    return f"the loss falls by {fall.text}; {law}"


def settings(evidence: Evidence) -> str:
    """The answer in other settings, and what of them is pending."""
    rows = multiverse.as_text(evidence.multiverse)
    return f"{multiverse.text(evidence.multiverse)}\n\n{table(rows.columns, rows.to_numpy())}"


def searches(evidence: Evidence) -> str:
    """The cost of each search, and its best trial and its arms, judged on seeds that did not choose them."""
    rows: dict[str, tuple[str, ...]] = {}
    for tables in (tables for tables in evidence.tables if tables.spec.search is not None):
        search, every = search_of(tables), trials(tables)
        (objective,) = search.objectives
        for row in best_data(tables, evidence.tables, top=1).to_dict("records"):
            test, low, high = (row[f"{objective}/{key}"] for key in ("test", "low", "high"))
            found = (decimals(row[objective]), with_interval(test, low, high, decimals))
            if pd.isna(row["trial"]):
                rows[row["cell"]] = (f"the arm `{row['cell']}`", "", "", *found)
            else:
                how = f"{search.sampler}, {'none stopped' if search.scheduler == 'none' else search.scheduler}"
                cost = (str(len(every)), f"{every['step'].sum() * tables.spec.seeds:,}")
                rows[tables.spec.name] = (f"`{tables.spec.name}`: {how}", *cost, *found)
    header = ("", "trials", "training steps", "best on the validation images", "on the test images, fresh seeds")
    return table(header, sorted(rows.values()))


def devices(runs: Runs) -> str:
    """The speed of each run's networks by device and precision, and what measuring them took of their training."""
    rows = []
    for run, tables in runs.items():
        trained = tables.ends[(tables.ends["config/task"] == "train") & (tables.ends["train_s"] > 0)]
        seconds = tables.rows("profiles", ["replicate", "value"], {"quantity": [f"{name}_s" for name in MEASUREMENTS]})
        trained = trained.assign(measure_s=trained["replicate"].map(seconds.groupby("replicate")["value"].sum()))
        for (device, precision), group in trained.groupby(["device", "config/precision"]):
            steps, train_s, evaluate_s = group[["step", "train_s", "evaluate_s"]].sum()
            measured = group[group["measure_s"].notna()]
            share = measured["measure_s"].sum() / measured["train_s"].sum() if len(measured) else None
            speeds = (f"{steps / train_s:,.0f}", f"{steps / (train_s + evaluate_s):,.0f}")
            told = ABSENT if share is None else f"{100 * share:,.2g} %" if share < 1 else f"{100 * share:,.0f} %"
            rows.append((f"`{run.removeprefix('results/')}`", device, precision, len(group), *speeds, told))
    header = ("run", "device", "precision", "networks", "steps a second", "with evaluations", "measuring, of training")
    return table(header, rows)


def unexpected(runs: Runs) -> str:
    """The surprises that these runs hold, a line each."""
    return "\n".join(f"- {surprise.text} `{surprise.command}`" for surprise in surprises(list(runs.items())))


class Block(NamedTuple):
    """A block: its text from the runs that it names, and the command that tells more of the same."""

    text: Callable[[Runs], str]
    command: str = ""


@cache
def evidence_of(tables: tuple[Tables, ...]) -> Evidence:
    """The evidence in these tables; the same for all blocks and the report."""
    return Evidence(tables)


def _of(function: Callable[[Evidence], str]) -> Callable[[Runs], str]:
    return lambda runs: function(evidence_of(tuple(runs.values())))


BLOCKS = {
    "answer": Block(_of(answer.markdown), "analysis dimension"),
    "verdicts": Block(_of(verdicts), "analysis claims"),
    "claims": Block(_of(claims), "analysis claims"),
    "losses": Block(_of(losses), "analysis report"),
    "sweep": Block(_of(sweep), "analysis report"),
    "estimates": Block(_of(lambda evidence: estimate_table.markdown(evidence.estimates).strip()), "analysis dimension"),
    "controls": Block(_of(ruler.markdown), "analysis dimension"),
    "law": Block(_of(law), "analysis report"),
    "multiverse": Block(_of(settings), "analysis report"),
    "short-run": Block(_of(short_run.markdown), "analysis report"),
    "published": Block(_of(published.markdown), "analysis report"),
    "searches": Block(_of(searches), "analysis search"),
    "surprises": Block(unexpected, "analysis report"),
    "devices": Block(devices, "analysis report"),
    "fields": Block(lambda _: vocabulary.fields()),
    "metrics": Block(lambda _: vocabulary.metrics()),
    "quantities": Block(lambda _: vocabulary.quantities()),
    "images": Block(lambda _: vocabulary.images()),
    "commands": Block(lambda _: vocabulary.commands()),
    "outputs": Block(lambda _: vocabulary.outputs()),
}
