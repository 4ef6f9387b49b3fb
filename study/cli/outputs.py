"""The JSON that commands print with `--json`: a model for each command, and how `study` fills its own.

docs/commands.md lists the fields. A number that was not measured, or is not finite, is null.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from study import cost
from study.cli import views
from study.cli.common import OUT
from study.plan import Plan
from trainables.records import Standing
from trainables.storage import without_secrets

if TYPE_CHECKING:
    import pandas as pd

    from study.tables.files import Tables


def finite(value: Any) -> Any:
    """Replaces a number that is not finite, which JSON cannot hold, by None; in mappings too."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if hasattr(value, "item"):  # NumPy's
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _notes_aside(wanted: bool) -> bool:
    """Has all that is printed beside the JSON go to standard error."""
    OUT.stderr = wanted
    return wanted


Json = Annotated[
    bool,
    typer.Option("--json", callback=_notes_aside, help="Print JSON, with the fields that docs/commands.md lists."),
]
Number = Annotated[float | None, BeforeValidator(finite)]
Values = Annotated[dict[str, Any], BeforeValidator(finite)]
Numbers = Annotated[dict[str, float | None], BeforeValidator(finite)]
Statuses = Annotated[dict[str, int], Field(description="replicates by status")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Output(_Model):
    """The document of one command."""

    format: Literal[1] = Field(1, description="rises when a field goes or changes its meaning")

    def print(self) -> None:
        """Writes the document to standard output."""
        sys.stdout.write(f"{self.model_dump_json(indent=2)}\n")


class ListedStudy(_Model):
    """A built-in study."""

    name: str
    question: str = Field(description="what it answers")
    cells: int = Field(description="the search's trials included")
    replicates: int
    core_hours: float = Field(description="estimate, on a CPU")


class StudyList(Output):
    """`study list`."""

    studies: list[ListedStudy]


class ShownCell(_Model):
    """A cell of a study."""

    cell: str
    settings: Values = Field(description="its TrialConfig, the fields that apply")
    seeds: int
    core_hours: float = Field(description="estimate for all seeds, on a CPU")


class ShownSearch(_Model):
    """The search of a study."""

    trials: int
    sampler: str
    objectives: list[str] = Field(description="metrics that it minimises or maximises")
    space: Values = Field(description="as in the spec")
    core_hours: float = Field(description="estimate, on a CPU")


class ShownStudy(Output):
    """`study show`."""

    name: str
    title: str
    question: str
    cells: list[ShownCell]
    search: ShownSearch | None


class CellStatus(_Model):
    """The standing of a cell."""

    cell: str
    replicates: int
    statuses: Statuses
    collapsed: bool = Field(description="a network that has ended draws one image for all")
    step: int | None = Field(description="the least step of its replicates that has been evaluated")
    steps: int = Field(description="steps of a whole training")
    test_nll: Number = Field(description="mean over replicates at their last evaluation, nats per image")


class ReplicateError(_Model):
    """A replicate that ended with an error."""

    cell: str
    seed: int
    replicate: str = Field(description="its hash")
    error: str


class RunStatus(Output):
    """`study status`."""

    run: str
    cells: list[CellStatus]
    statuses: Statuses
    errors: list[ReplicateError]
    device_hours: dict[str, float] = Field(description="taken so far, by device; of a CPU, core-hours")


class RunTable(Output):
    """`study table`."""

    run: str = Field(description="the folder of the tables")
    files: list[str]
    rows: int = Field(description="rows of results.parquet")
    replicates: int
    statuses: Statuses


class DecidedClaim(_Model):
    """A claim of the ledger."""

    claim: str = Field(description="its id, such as C7")
    section: str = Field(description="of the paper")
    statement: str
    verdict: str
    reason: str
    tests: int = Field(description="tests behind the verdict")


class DecidedClaims(Output):
    """`analysis claims`."""

    runs: list[str]
    ledger: int = Field(description="version of the ledger")
    claims: list[DecidedClaim]


class DimensionEstimate(_Model):
    """An estimate of the latent dimension N."""

    key: str
    name: str
    value: Number
    low: Number = Field(description="lower end of its interval")
    high: Number = Field(description="upper end")
    level: float = Field(description="coverage of the interval")
    verdict: str = Field(description="on 10 < N < 100")
    reason: str
    seeds: int
    headline: bool = Field(description="one of the headline estimates")


class DimensionEstimates(Output):
    """`analysis dimension`."""

    runs: list[str]
    dataset: str
    estimates: list[DimensionEstimate]


class BestConfiguration(_Model):
    """A trial of a search, or an arm beside it."""

    cell: str
    trial: int | None = Field(description="its number; null for an arm")
    metrics: Numbers = Field(description="objectives; /test with /low, /high: on test images, /fresh_seeds seeds")
    settings: Values = Field(description="what was drawn, by field")


class SearchResult(_Model):
    """A search and its best configurations."""

    run: str
    study: str
    objectives: list[str]
    best: list[BestConfiguration]


class SearchResults(Output):
    """`analysis search`."""

    searches: list[SearchResult]


def shown(plan: Plan) -> ShownStudy:
    """Fills the document of `study show`."""
    spec, search = plan.spec, plan.spec.search
    cells = [
        ShownCell(
            cell=label,
            settings=config.model_dump(mode="json", exclude_none=True),
            seeds=plan.counts[label],
            core_hours=plan.counts[label] * cost.core_hours(config, plan.size(config)),
        )
        for label, config in plan.cells.items()
    ]
    return ShownStudy(
        name=spec.name,
        title=spec.title,
        question=spec.question,
        cells=cells,
        search=search
        and ShownSearch(
            trials=search.trials,
            sampler=search.sampler,
            objectives=list(search.objectives),
            space=search.model_dump(mode="json")["space"],
            core_hours=cost.search_core_hours(plan),
        ),
    )


def status(run: str, plan: Plan, standings: Mapping[str, Standing]) -> RunStatus:
    """Fills the document of `study status`."""
    errors = [
        ReplicateError(cell=r.cell, seed=r.seed, replicate=r.hash, error=error)
        for r in plan.replicates
        if (error := standings[r.hash].error)
    ]
    return RunStatus(
        run=without_secrets(run),
        cells=[CellStatus(**cell) for cell in views.cell_standings(plan, standings)],
        statuses=Counter(standing.status for standing in standings.values()),
        errors=errors,
        device_hours=views.device_hours(standings.values()),
    )


def table(run: str, tables: Tables) -> RunTable:
    """Fills the document of `study table`."""
    from study.tables.columns import SCHEMAS

    ends: pd.DataFrame = tables.rows("results", ["replicate", "status"])
    url = without_secrets(run)
    return RunTable(
        run=url,
        files=[f"{url}/{name}.parquet" for name in SCHEMAS],
        rows=len(ends),
        replicates=ends["replicate"].nunique(),
        statuses=ends.drop_duplicates("replicate")["status"].value_counts().to_dict(),
    )
