"""What nobody expected, told from the tables: each surprise is a function of runs that gives sentences, or none."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import pandas as pd

from analysis.cells import cells, counted, summarise
from analysis.report.section import Runs
from analysis.search.history import history_data
from study.table import Tables
from study.tables.trials import ranked, search_of, trials

LARGE = 100
"""Latents of a VAE from which on many of them stay idle."""
EARLY_STEPS = 3000
APART = 2.0
"""How many times worse one output head must be than the other."""
GONE = 10.0
"""How many times smaller the distance at the largest N must be than the largest distance."""


@dataclass(frozen=True)
class Surprise:
    """A sentence or two, and the command that shows the numbers in them."""

    text: str
    command: str


def surprises(runs: Runs) -> list[Surprise]:
    """All surprises that these runs hold, in the order of SURPRISES.

    Args:
        runs: Each run's folder and its tables.
    """
    return [one for surprise in SURPRISES for one in surprise(runs)]


def output_head(runs: Runs) -> Iterator[Surprise]:
    """The linear net against ELU, by output head: which one the paper used, it does not say."""
    for run, tables in _without_search(runs):
        summary = summarise(tables)
        summary = summary[summary["ratio"].notna()]
        for (dataset, latent_dim), rows in summary.groupby(["dataset", "latent_dim"]):
            each = rows.drop_duplicates("network").set_index("network")
            if not {"linear", "linear clipped", "elu"} <= set(each.index):
                continue
            clipped, plain, elu = each.loc["linear clipped"], each.loc["linear"], each.loc["elu"]
            if max(clipped["ratio"], plain["ratio"]) < APART * min(clipped["ratio"], plain["ratio"]):
                continue
            seeds = "1 seed" if clipped["finished"] == 1 else f"{clipped['finished']} seeds"
            collapsed = f", {clipped['collapsed']} of {clipped['finished']} collapsed" if clipped["collapsed"] else ""
            yield Surprise(
                "How much worse the linear net is turns on an output head that the paper leaves open. On "
                f"{dataset} at N = {latent_dim} it ends at {clipped['ratio']:,.1f} times the test NLL of ELU (sigmoid "
                f"output) with a clipped identity output ({clipped['test_nll']:,.0f} against {elu['test_nll']:,.1f} "
                f"nats, {seeds}{collapsed}), and at {plain['ratio']:,.2f} times with a sigmoid output "
                f"({plain['test_nll']:,.1f})."
                + (f" The mean image costs {elu['mean_image']:,.1f}." if pd.notna(elu["mean_image"]) else ""),
                shlex.join(["analysis", "report", run]),
            )


def linear_catches_up(runs: Runs) -> Iterator[Surprise]:
    """The linear net's distance to ELU, where most of it is gone at the largest N."""
    for run, tables in _without_search(runs):
        summary = summarise(tables)
        means = summary[summary["network"].isin(["linear", "elu"])].pivot_table(
            index=["dataset", "latent_dim"], columns="network", values="test_nll"
        )
        if not {"linear", "elu"} <= set(means):
            continue
        for dataset, gaps in (means["linear"] - means["elu"]).dropna().groupby("dataset"):
            gap = gaps.droplevel("dataset").sort_index()
            if gap.max() > GONE * gap.iloc[-1]:
                yield Surprise(
                    f"With latents enough, little is lost without non-linearity. On {dataset} the linear net's test "
                    f"NLL lies {gap.max():.1f} nats above ELU's at N = {gap.idxmax()}, and {gap.iloc[-1]:.1f} at "
                    f"N = {gap.index[-1]}.",
                    shlex.join(["analysis", "report", run]),
                )


def slow_pruning(runs: Runs) -> Iterator[Surprise]:
    """Active units of the largest VAE, early and late: a short run does not measure them."""
    for run, tables in _without_search(runs):
        chosen = cells(tables)
        chosen = chosen[(chosen["network"] == "vae") & (chosen["latent_dim"] >= LARGE)]
        if not len(chosen):
            continue
        cell = chosen.sort_values("latent_dim").iloc[-1]
        replicates = list(counted(tables, [cell["cell"]])["replicate"].unique())
        wanted = ["step", "test_active_units"]
        rows = tables.rows("results", wanted, {"replicate": replicates}).dropna()
        means = rows[rows["step"] > 0].groupby("step")["test_active_units"].mean()
        early = means[means.index <= EARLY_STEPS]
        if len(early) and early.iloc[-1] > 2 * means.iloc[-1]:
            yield Surprise(
                f"A VAE takes long to let go of latents. Of {cell['latent_dim']}, {early.iloc[-1]:,.0f} are active "
                f"after {early.index[-1]:,.0f} steps and {means.iloc[-1]:,.1f} after {means.index[-1]:,.0f} (mean of "
                f"{len(replicates)} seed{'s' * (len(replicates) != 1)}): a short run would have given another answer.",
                shlex.join(["study", "table", run, "--csv", f"{tables.spec.name}.csv"]),
            )


def guided_search(runs: Runs) -> Iterator[Surprise]:
    """A search without a guide that found better than one with, in the same space."""
    searches = [(run, tables) for run, tables in runs if tables.spec.search is not None]
    for (run, one), (other_run, other) in permutations(searches, 2):
        guided, free = one.spec.search, other.spec.search
        if guided is None or free is None or guided.sampler == "random" or free.sampler != "random":
            continue
        same = guided.objectives == free.objectives and guided.space == free.space and len(free.objectives) == 1
        if not same or not len(ranked(one)) or not len(ranked(other)):
            continue
        objective = free.objectives[0]
        values = [float(ranked(tables)[objective].iloc[0]) for tables in (one, other)]
        if values[1] < values[0]:
            steps = _steps(one)
            yield Surprise(
                f"Random search ended ahead of {_guide(one)}: best {objective} {values[1]:,.1f} in {_steps(other):,} "
                f"training steps{_as_far(other, steps)}, against {values[0]:,.1f} in {steps:,}. "
                "One run of each: luck is not ruled out.",
                shlex.join(["analysis", "search", run, other_run]),
            )


SURPRISES = (output_head, linear_catches_up, slow_pruning, guided_search)


def _without_search(runs: Runs) -> Iterator[tuple[str, Tables]]:
    return ((run, tables) for run, tables in runs if tables.spec.search is None)


def _guide(tables: Tables) -> str:
    search = search_of(tables)
    return " + ".join(part.upper() for part in (search.sampler, search.scheduler) if part != "none")


def _as_far(tables: Tables, steps: int) -> str:
    """The best that a search had found within some training steps; empty where it had fewer, or nothing yet."""
    course = history_data(tables)
    early = course.loc[course["steps_so_far"] <= steps, "best"].dropna()
    return f" ({early.iloc[-1]:,.1f} after the first {steps:,})" if len(early) and len(early) < len(course) else ""


def _steps(tables: Tables) -> int:
    found: pd.Series[int] = trials(tables)["step"] * tables.spec.seeds
    return int(found.sum())
