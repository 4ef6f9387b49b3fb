"""The report's first part: the answer to the 10-100 question, the paper's claims with their verdicts, the card."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.claims import markdown, specification
from analysis.claims.evaluate import Judgement
from analysis.claims.ledger import RULES, Erratum, load
from analysis.dimension import card, estimate_table, panels, ruler
from analysis.evidence import Evidence
from analysis.figures.base import FigureEntry
from analysis.figures.style import theme
from analysis.formats import frame_of
from analysis.report.embed import Figures, Grid, csv_link, embed
from analysis.verdict import Verdict, combine
from study.table import to_csv


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
        return any(claim.verdict != Verdict.NOT_MEASURED for claim in self.claims)


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


def claims_part(runs: Sequence[str], evidence: Evidence) -> ClaimsPart:
    """Decides every claim from the tables of these runs together."""
    ledger, judgements = load(), evidence.verdicts
    command = f"{shlex.join(['analysis', 'claims', *runs])} -o claims"
    return ClaimsPart(
        version=ledger.version,
        history=ledger.history,
        claims=[_claim(judgement, command) for judgement in judgements],
        columns=markdown.TEST_COLUMNS,
        errata=ledger.errata,
        command=command,
        csv=csv_link(to_csv(markdown.to_frame(judgements))),
    )


def dimension_part(runs: Sequence[str], evidence: Evidence) -> DimensionPart | None:
    """Answers how many latent dimensions the data set needs; None if these runs give no estimate."""
    estimates = evidence.estimates
    headline = [estimate for estimate in estimates if estimate.headline]
    if all(math.isnan(estimate.value) for estimate in estimates):
        return None
    command = f"{shlex.join(['analysis', 'dimension', *runs])} -o docs"
    title = "How many latent dimensions does MNIST need? All estimates on one card"
    return DimensionPart(
        verdict=combine((estimate.verdict for estimate in headline), "split"),
        rows=[_row(estimate) for estimate in estimates],
        axis=embed([_HEADLINE.draw("headline", estimate_table.to_frame(headline))], "", lambda name: command),
        card=embed([card.draw_card(evidence, title)], "", lambda name: command),
        csv=csv_link(to_csv(estimate_table.to_frame(estimates))),
        controls=csv_link(to_csv(frame_of(estimate_table.ControlEstimate, evidence.controls))),
        ruler=Grid.of(ruler.ruler(evidence), ruler.NOTE),
        command=command,
    )


def _claim(judgement: Judgement, command: str) -> ClaimPart:
    claim = judgement.claim
    curve = specification.drawn_specification(judgement)
    return ClaimPart(
        id=claim.id,
        anchor=f"claim-{claim.id.lower()}",
        section=claim.section,
        statement=claim.statement,
        test=claim.tested,
        rule=RULES[claim.rule],
        family=claim.family,
        verdict=judgement.verdict,
        rank=list(Verdict).index(judgement.verdict),
        reason=judgement.reason,
        tests=markdown.tests_of(judgement),
        figure=embed([curve] if curve else [], "", lambda name: command),
    )


def _row(estimate: estimate_table.Estimate) -> EstimateRow:
    return EstimateRow(
        number=estimate.text,
        words=estimate_table.IN_WORDS[estimate.key] if estimate.headline else "",
        **{key: str(getattr(estimate, key) or "") for key in ("key", "name", "verdict", "reason", "seeds", "steps")},
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
