"""The project as a Python library: launches a study, loads a run, estimates N, decides claims. See docs/python.md.

from analysis.api import decide_claims, estimate_dimension, launch_study, load_run

Each function works in a script, in a notebook, and wherever else an event loop already runs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from analysis.claims import markdown
from analysis.claims.evaluate import Judgement
from analysis.claims.ledger import Ledger, load, parse
from analysis.dimension import estimate_table
from analysis.dimension.estimate import Estimate
from analysis.evidence import Evidence, dataset_of
from study import spec
from study.run.backlog import Counts
from study.run.job import Options
from study.run.launch import launch, run_path
from study.spec import StudySpec
from study.table import Tables
from study.tables.build import load_or_build
from trainables.errors import ReadableError

__all__ = [
    "Claims",
    "Dimension",
    "Launched",
    "Options",
    "decide_claims",
    "estimate_dimension",
    "launch_study",
    "load_run",
]
Name = str | os.PathLike[str]
Run = Name | Tables
"""A run folder or a folder under results/, as a path, a URL or its loaded tables."""


class ApiError(ReadableError):
    """Arguments that the functions of this module cannot use."""


@dataclass(frozen=True)
class Launched:
    """A launch that has ended.

    Attributes:
        run: The run folder.
        counts: The number of replicates that ended in each way; `counts.bad` failed, `counts.left` are still to do.
    """

    run: str
    counts: Counts


@dataclass(frozen=True)
class Dimension:
    """The estimates of the latent dimension of one dataset.

    Attributes:
        dataset: The dataset's name.
        estimates: One for each way of estimating N; an estimate that the runs do not allow has the value NaN.
        headline: The headline estimates with their verdicts, in one sentence.
    """

    dataset: str
    estimates: Sequence[Estimate]
    headline: str

    def frame(self) -> pd.DataFrame:
        """Returns the estimates as a frame: a row for each, a column for each attribute of `Estimate`."""
        return estimate_table.to_frame(list(self.estimates))


@dataclass(frozen=True)
class Claims:
    """The verdicts on the claims of a ledger, in its order."""

    judgements: Sequence[Judgement]

    def frame(self) -> pd.DataFrame:
        """Returns a row for each claim: `claim`, `statement`, `verdict`, `reason`."""
        rows = [(j.claim.id, j.claim.statement, str(j.verdict), j.reason) for j in self.judgements]
        return pd.DataFrame(rows, columns=["claim", "statement", "verdict", "reason"])

    def tests(self) -> pd.DataFrame:
        """Returns a row for each test behind the verdicts; see `analysis.claims.markdown.to_frame`."""
        return markdown.to_frame(self.judgements)


def launch_study(
    study: Name | StudySpec,
    run: Name | None = None,
    *,
    steps: int | None = None,
    precision: str | None = None,
    seeds: int | None = None,
    dataset: str | None = None,
    trials: int | None = None,
    options: Options | None = None,
    progress: bool = True,
) -> Launched:
    """Runs a study, or what is left of it, and returns when it has ended; `study launch` does the same.

    Args:
        study: A built-in study's name, the path of a spec, or a spec.
        run: The run folder, a path or URL; by default runs/NAME.
        steps: Training steps of every network; by default the spec's own, as for the next four.
        precision: "fp32", "tf32" or "bf16" for every network; "auto" takes bf16 where the spec allows it and this
            processor has it, else fp32.
        seeds: Seeds of each cell: 0 ... seeds - 1.
        dataset: The dataset's name.
        trials: Configurations that the study's search tries.
        options: Scheduling: Ray or this process, the device, the cluster's address, and so on.
        progress: Whether the launch prints its progress.

    Returns:
        The run folder, for `load_run`, and how its replicates ended. A Ctrl-C ends a launch early without an error.

    Raises:
        trainables.errors.ReadableError: Something is wrong with the study, the folder, the data or the machines.
    """
    given = study if isinstance(study, StudySpec) else spec.load(os.fspath(study))
    changed = given.with_changes(steps=steps, precision=precision, seeds=seeds, dataset=dataset, trials=trials)
    folder = run_path(changed.name) if run is None else os.fspath(run)
    console = Console(quiet=not progress, force_jupyter=False, markup=False, highlight=False, emoji=False)
    return Launched(folder, launch(changed, folder, options or Options(), console))


def load_run(run: Name) -> Tables:
    """Loads the tables of a run folder or of a folder under results/.

    Args:
        run: Its path or URL. A run that has no tables yet gets them in memory.

    Returns:
        The tables: `results`, `profiles` and `images` are frames, `ends` has the last row of each replicate.

    Raises:
        study.table.TableError: The folder is no run, or a table is damaged.
    """
    return load_or_build(os.fspath(run))


def estimate_dimension(*runs: Run, dataset: str | None = None) -> Dimension:
    """Estimates the latent dimension N in every way that these runs allow; `analysis dimension` does the same.

    Args:
        *runs: Run folders, folders under results/, or loaded tables.
        dataset: The dataset whose dimension is wanted; by default the only one in the runs, controls apart.

    Raises:
        ApiError: No run is given.
        analysis.evidence.EvidenceError: No run has this dataset, or several are possible.
        study.table.TableError: As in `load_run`.
    """
    tables = _loaded(runs)
    name = dataset_of(tables, dataset)
    estimates = Evidence(tables, name).estimates
    return Dimension(name, estimates, estimate_table.headline(estimates))


def decide_claims(*runs: Run, ledger: Name | Ledger | None = None) -> Claims:
    """Gives each claim of a ledger a verdict from the tables of these runs together, as `analysis claims` does.

    Args:
        *runs: Run folders, folders under results/, or loaded tables.
        ledger: Claims, or a file of them; by default the paper's, C1 to C21.

    Raises:
        ApiError: No run is given.
        study.table.TableError: As in `load_run`.
        trainables.errors.ReadableError: The ledger is wrong.
    """
    tables = _loaded(runs)
    if ledger is None or isinstance(ledger, Ledger):
        claims = ledger or load()
    else:
        claims = parse(Path(ledger).read_text(encoding="utf-8"), os.fspath(ledger))
    return Claims(Evidence(tables).judge(claims))


def _loaded(runs: Sequence[Run]) -> list[Tables]:
    if not runs:
        raise ApiError("a run must be named, but got none.")
    return [run if isinstance(run, Tables) else load_run(run) for run in runs]
