"""What early stopping saves: ASHA against random search to the end, replayed on the curves of real trials.

`results/vae-random` holds trials of `vae`'s space, drawn at random and trained to their end. For each seed a part of
them is put in a random order. Random search trains them all; ASHA, with the rungs of `vae`, is asked in the same order,
by the pruner that the search itself uses. How many steps does ASHA train until it has the loss that random search ends
with?
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
import optuna
import pandas as pd

from study import spec
from study.search.optuna_search import pruner
from study.searchspace import SearchSpec
from study.table import load_tables
from study.tables.trials import curves, search_of, trials
from tests.benchmarks.lines import Line, finish

SEEDS = 20
SHARE = 2 / 3
"""Of the trials, in each replay: what is best differs from seed to seed."""


@dataclass(frozen=True)
class Replay:
    """One order of trials: the loss that random search ends with, the training steps until each has it, and in all."""

    target: float
    random_steps: int
    asha_steps: int
    asha_loss: float
    reached_after: int | None
    random_reached_after: int

    @property
    def ratio(self) -> float:
        """ASHA's steps until it has the target, over all of random search's; infinite if it stopped the best trial."""
        return float("inf") if self.reached_after is None else self.reached_after / self.random_steps

    @property
    def saving(self) -> float:
        """ASHA's steps until it has the target, over random search's until it has it, in the same order."""
        return float("inf") if self.reached_after is None else self.reached_after / self.random_reached_after


def replay(losses: pd.DataFrame, order: np.ndarray, search: SearchSpec, steps: int) -> Replay:
    """Random search and ASHA over recorded curves.

    Args:
        losses: A row a trial, a column an evaluated step, of an objective of which less is better.
        order: Trials, as positions in `losses`.
        search: Its ASHA.
        steps: Training steps of a whole trial.
    """
    study = optuna.create_study(pruner=pruner(search))
    target = losses[steps].iloc[order].min()
    spent, best, reached = 0, float("inf"), None
    for position in order:
        trial, at = study.ask(), steps
        for rung in search.rungs(steps):
            trial.report(losses[rung].iloc[position], rung)
            if trial.should_prune():
                at = rung
                break
        spent += at
        value = losses[at].iloc[position]
        if at < steps:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        study.tell(trial, value)
        best = min(best, value)
        reached = spent if reached is None and best <= target else reached
    first = steps * (int(losses[steps].iloc[order].to_numpy().argmin()) + 1)
    return Replay(target, steps * len(order), spent, best, reached, first)


def main() -> None:
    """Replays, prints and writes the lines."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = search_of_vae()
    tables = load_tables("results/vae-random")
    objective = search_of(tables).objectives[0]
    finished = trials(tables).query("state == 'finished'")["trial"]
    losses = curves(tables, objective).pivot(index="trial", columns="step", values="value").loc[finished]
    steps, rng = int(losses.columns.max()), np.random.default_rng(0)
    size = round(SHARE * len(losses))
    runs = [replay(losses, rng.permutation(len(losses))[:size], search, steps) for _ in range(SEEDS)]
    ratios = [run.ratio for run in runs]
    excess = [run.asha_loss - run.target for run in runs]
    lost = sum(run.reached_after is None for run in runs)
    orders = f"{SEEDS} orders of {size} of {len(losses)} trials; {lost} never reach it; largest {max(ratios):.2g}"
    savings = [run.saving for run in runs]
    alone = [run.random_reached_after / run.random_steps for run in runs]
    until = "ASHA's steps until random search's loss / random search's steps until it"
    whole = statistics.mean(run.asha_steps / run.random_steps for run in runs)
    worst = f"mean; largest {max(excess):.3g}; {objective}"
    what = "ASHA's steps until random search's loss / random search's steps"
    found = [
        Line(f"{what}, median", statistics.median(ratios), "times", 0.5, note=orders),
        Line("the same of random search itself", statistics.median(alone), "times", note="median; by luck, half"),
        Line(f"{until}, median", statistics.median(savings), "times", note=f"largest {max(savings):.2g}"),
        Line("ASHA's steps for all trials / random search's", whole, "times", note="mean"),
        Line("ASHA's best loss - random search's", statistics.mean(excess), "nats", note=worst),
        *_really(objective),
    ]
    finish("early_stopping", found, {"runs": [vars(run) for run in runs]})


def search_of_vae() -> SearchSpec:
    """The search of the built-in study `vae`."""
    search = spec.load("vae").search
    if search is None:
        raise ValueError("the study vae must have a search.")
    return search


def _really(objective: str) -> list[Line]:
    """The real runs, one seed each: steps of `vae` (TPE and ASHA) until it has what `vae-random` ends with."""
    real, random = trials(load_tables("results/vae")), trials(load_tables("results/vae-random"))
    target, spent = random[objective].min(), random["step"].sum()
    so_far = real["step"].cumsum()
    reached = so_far[real[objective] <= target]
    value = float(reached.iloc[0] / spent) if len(reached) else None
    bests = f"best {real[objective].min():.2f} and {target:.2f} nats"
    note = f"one run each; {bests}; all of vae: {so_far.iloc[-1] / spent:.2f}"
    return [
        Line("vae's (TPE, ASHA) steps until vae-random's loss / vae-random's steps", value, "times", 0.5, note=note)
    ]


if __name__ == "__main__":
    main()
