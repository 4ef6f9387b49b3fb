"""The report's first part: the answer to the 10-100 question, the paper's claims with their verdicts, the card."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.claims import markdown, specification
from analysis.claims.decide import NOT_MEASURED
from analysis.claims.evaluate import VERDICTS, Verdict, combine, evaluate
from analysis.claims.ledger import RULES, Erratum, load
from analysis.dimension import card, estimate_table, panels, ruler
from analysis.figures.base import FigureEntry
from analysis.figures.style import theme
from analysis.report.embed import Figures, Grid, csv_link, embed
from study.table import to_csv

if TYPE_CHECKING:
    from study.table import Tables

DATASET = "mnist"
"""The paper's data set: its question is how many latent dimensions these images need."""


@dataclass(frozen=True)
class ClaimPart:
    """One claim: its verdict, and the tests behind it as rows of text."""

    id: str
    anchor: str
    section: str
    statement: str
    test: str
    rule: str
    family: str
    verdict: str
    rank: int
    reason: str
    tests: Sequence[Sequence[str]]
    figure: Figures


@dataclass(frozen=True)
class ClaimsPart:
    """All claims, the ledger's version and history, and the paper's errata."""

    version: int
    history: Sequence[str]
    claims: Sequence[ClaimPart]
    columns: Sequence[str]
    errata: Sequence[Erratum]
    command: str
    csv: str

    @property
    def measured(self) -> bool:
        """Whether these runs measure any claim."""
        return any(claim.verdict != NOT_MEASURED for claim in self.claims)


@dataclass(frozen=True)
class EstimateRow:
    """An estimate of the latent dimension as text."""

    key: str
    name: str
    number: str
    verdict: str
    reason: str
    seeds: str
    steps: str
    words: str
    """A sentence with {} for the number; empty but for the headline estimates."""


@dataclass(frozen=True)
class DimensionPart:
    """The headline verdict, the card, every estimate, and what the estimators return where the dimension is known."""

    verdict: str
    rows: Sequence[EstimateRow]
    axis: Figures
    card: Figures
    csv: str
    controls: str
    ruler: Grid
    command: str

    @property
    def answers(self) -> list[EstimateRow]:
        """The headline estimates."""
        return [row for row in self.rows if row.words]


def claims_part(runs: Sequence[str], tables: Sequence[Tables]) -> ClaimsPart:
    """Decides every claim from the tables of these runs together."""
    ledger, verdicts = load(), evaluate(tables)
    command = f"{shlex.join(['analysis', 'claims', *runs])} -o claims"
    return ClaimsPart(
        version=ledger.version,
        history=ledger.history,
        claims=[_claim(verdict, command) for verdict in verdicts],
        columns=markdown.TEST_COLUMNS,
        errata=ledger.errata,
        command=command,
        csv=csv_link(to_csv(markdown.to_frame(verdicts))),
    )


def dimension_part(runs: Sequence[str], tables: Sequence[Tables]) -> DimensionPart | None:
    """Answers how many latent dimensions DATASET needs; None if these runs give no estimate."""
    estimates = estimate_table.estimates(tables, DATASET)
    if estimates["value"].isna().all():
        return None
    command = f"{shlex.join(['analysis', 'dimension', *runs])} -o docs"
    title = "How many latent dimensions does MNIST need? All estimates on one card"
    return DimensionPart(
        verdict=combine(estimates.loc[estimates["headline"], "verdict"], "split"),
        rows=[_row(row) for row in estimates.to_dict("records")],
        axis=embed([_HEADLINE.draw("headline", estimates[estimates["headline"]])], "", lambda name: command),
        card=embed([card.draw_card(tables, DATASET, title)], "", lambda name: command),
        csv=csv_link(to_csv(estimates)),
        controls=csv_link(to_csv(estimate_table.controls(tables))),
        ruler=Grid.of(ruler.ruler(tables, DATASET), ruler.NOTE),
        command=command,
    )


def _claim(verdict: Verdict, command: str) -> ClaimPart:
    claim = verdict.claim
    curve = specification.drawn_specification(verdict)
    return ClaimPart(
        id=claim.id,
        anchor=f"claim-{claim.id.lower()}",
        section=claim.section,
        statement=claim.statement,
        test=claim.test,
        rule=RULES[claim.rule],
        family=claim.family,
        verdict=verdict.verdict,
        rank=VERDICTS.index(verdict.verdict),
        reason=verdict.reason,
        tests=markdown.evidence(verdict),
        figure=embed([curve] if curve else [], "", lambda name: command),
    )


def _row(row: Mapping[Any, Any]) -> EstimateRow:
    return EstimateRow(
        number=estimate_table.number(row),
        words=estimate_table.IN_WORDS[row["key"]] if row["headline"] else "",
        **{key: str(row[key] or "") for key in ("key", "name", "verdict", "reason", "seeds", "steps")},
    )


@theme()
def _plot_headline(rows: pd.DataFrame) -> Figure:
    """Draws the two headline estimates on their axis, small enough for a telephone."""
    figure = Figure(figsize=(4.0, 1.25))
    panels.plot_headline(rows, figure.add_axes((0.09, 0.4, 0.6, 0.58)))
    return figure


_HEADLINE = FigureEntry(
    "Headline estimates of the latent dimension",
    lambda rows: rows,
    _plot_headline,
    lambda rows: (
        "The two estimates that were chosen beforehand, with 95 % t intervals over seeds where there are "
        "several; shaded: the paper's 10 < N < 100."
    ),
)
