"""The report's first part: how many latent dimensions the images need, and the paper's claims with their verdicts."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.claims import markdown, specification
from analysis.claims.evaluate import Judgement
from analysis.claims.ledger import RULES, Erratum, load
from analysis.dimension import card, estimate_table, multiverse, ruler
from analysis.dimension.conclusion import Conclusion, concluded, law_text
from analysis.dimension.estimate import Estimate
from analysis.dimension.seed_estimates import sweeps_any
from analysis.dimension.sweeps import PAPERS
from analysis.evidence import Evidence
from analysis.figures import answer, forest, multiverse_curve
from analysis.formats import frame_of
from analysis.report.embed import Figures, Grid, csv_link, embed
from analysis.verdict import Verdict
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
    forest: Figures
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


@dataclass(frozen=True)
class DimensionPart:
    """The conclusion, its picture, the card, every estimate, and what these return where the dimension is known."""

    conclusion: Conclusion
    picture: Figures
    beforehand: str
    rows: Sequence[EstimateRow]
    card: Figures
    csv: str
    controls: str
    ruler: Grid
    law: str
    multiverse: Grid
    multiverse_note: str
    multiverse_figure: Figures
    command: str


def claims_part(runs: Sequence[str], evidence: Evidence) -> ClaimsPart:
    """Decides every claim from the tables of these runs together."""
    ledger, judgements = load(), evidence.verdicts
    command = f"{shlex.join(['analysis', 'claims', *runs])} -o claims"
    return ClaimsPart(
        version=ledger.version,
        history=ledger.history,
        claims=[_claim(judgement, command) for judgement in judgements],
        forest=embed([forest.draw_forest(judgements)], "", lambda name: command),
        columns=markdown.TEST_COLUMNS,
        errata=ledger.errata,
        command=command,
        csv=csv_link(to_csv(markdown.to_frame(judgements))),
    )


def dimension_part(runs: Sequence[str], evidence: Evidence) -> DimensionPart | None:
    """Answers how many latent dimensions the data set needs; None if these runs sweep no N and estimate nothing."""
    estimates = evidence.estimates
    if not sweeps_any(evidence.sweeps) and all(math.isnan(one.value) for one in estimates if one.headline):
        return None
    option = [] if evidence.dataset == PAPERS else ["--dataset", evidence.dataset]
    command = f"{shlex.join(['analysis', 'dimension', *runs, *option])} -o docs"
    found = concluded(evidence)
    title = f"How many latent dimensions does {found.data} need? All estimates on one card"
    settings = evidence.multiverse
    return DimensionPart(
        conclusion=found,
        picture=embed([answer.draw_answer(evidence)] if found.papers else [], "", lambda name: command),
        beforehand=answer.beforehand(evidence) if found.papers else "",
        rows=[_row(estimate) for estimate in estimates],
        card=embed([card.draw_card(evidence, title)], "", lambda name: command),
        csv=csv_link(to_csv(estimate_table.to_frame(estimates))),
        controls=csv_link(to_csv(frame_of(estimate_table.ControlEstimate, evidence.controls))),
        ruler=Grid.of(ruler.ruler(evidence), ruler.NOTE),
        law=evidence.law if isinstance(evidence.law, str) else law_text(evidence.law),
        multiverse=Grid.of(multiverse.as_text(settings)),
        multiverse_note=multiverse.text(settings) if settings else "",
        multiverse_figure=embed(multiverse_curve.drawn(settings), "", lambda name: command),
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


def _row(estimate: Estimate) -> EstimateRow:
    texts = {key: str(getattr(estimate, key) or "") for key in ("key", "name", "verdict", "reason", "seeds", "steps")}
    return EstimateRow(number=estimate.text, **texts)
