"""The report's first part: the answer to the 10-100 question, the paper's claims with their verdicts, the card."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from analysis.claims import markdown, specification
from analysis.claims.evaluate import Judgement
from analysis.claims.ledger import RULES, load
from analysis.dimension import card, estimate_table, panels, ruler
from analysis.evidence import Evidence
from analysis.figures.catalogue import drawn
from analysis.figures.style import theme
from analysis.formats import frame_of
from analysis.report.embed import Shown, csv_link, show
from analysis.verdict import Verdict, combine
from study.table import to_csv


def claims(runs: Sequence[str], evidence: Evidence) -> dict[str, Any]:
    """Every claim with its verdict and the tests behind it, how many came out how, and the errata."""
    ledger, judgements = load(), evidence.verdicts
    command = shlex.join(["analysis", "claims", *runs])
    return {
        "version": ledger.version,
        "history": ledger.history,
        "count": len(judgements),
        "measured": any(judgement.verdict != Verdict.NOT_MEASURED for judgement in judgements),
        "claims": [_claim(judgement, f"{command} -o claims") for judgement in judgements],
        "columns": markdown.TEST_COLUMNS,
        "errata": ledger.errata,
        "command": f"{command} -o claims",
        "csv": csv_link(to_csv(markdown.to_frame(judgements))),
    }


def dimension(runs: Sequence[str], evidence: Evidence) -> dict[str, Any] | None:
    """The headline, the card and the estimates as rows; None if these runs give no estimate."""
    estimates = evidence.estimates
    headline = [one for one in estimates if one.headline]
    if all(math.isnan(one.value) for one in estimates):
        return None
    command = shlex.join(["analysis", "dimension", *runs])
    title = "How many latent dimensions does MNIST need? All estimates on one card"
    return {
        "verdict": combine((one.verdict for one in headline), "split"),
        "answers": [
            {
                "verdict": one.verdict,
                "words": estimate_table.IN_WORDS[one.key],
                "number": one.text,
                "key": one.key,
                "reason": one.reason,
            }
            for one in headline
        ],
        "axis": _axis(headline, f"{command} -o docs"),
        "card": show(card.draw_card(evidence, title), "", f"{command} -o docs"),
        "rows": [
            {key: str(getattr(one, key) or "") for key in ("key", "name", "verdict", "reason", "seeds", "steps")}
            | {"number": one.text}
            for one in estimates
        ],
        "csv": csv_link(to_csv(estimate_table.to_frame(estimates))),
        "controls": csv_link(to_csv(frame_of(estimate_table.ControlEstimate, evidence.controls))),
        "ruler": ruler.ruler(evidence).to_dict("split"),
        "ruler_note": ruler.NOTE,
        "command": f"{command} -o docs",
    }


def _claim(judgement: Judgement, command: str) -> dict[str, Any]:
    claim = judgement.claim
    curve = specification.drawn_specification(judgement)
    return {
        "id": claim.id,
        "anchor": f"claim-{claim.id.lower()}",
        "section": claim.section,
        "statement": claim.statement,
        "test": claim.test,
        "rule": RULES[claim.rule],
        "family": claim.family,
        "verdict": judgement.verdict,
        "rank": list(Verdict).index(judgement.verdict),
        "reason": judgement.reason,
        "tests": markdown.tests_of(judgement),
        "figure": None if curve is None else show(curve, "", command),
    }


@theme()
def _axis(headline: Sequence[estimate_table.Estimate], command: str) -> Shown:
    """The two headline estimates on their axis."""
    rows = estimate_table.to_frame(headline)
    figure = Figure(figsize=(4.0, 1.25))  # fits a telephone
    panels.plot_headline(rows, figure.add_axes((0.09, 0.4, 0.6, 0.58)))
    text = "The two estimates that were chosen beforehand, with 95 % t intervals over seeds where there are several; "
    text += "shaded: the paper's 10 < N < 100."
    return show(drawn("headline", "Headline estimates of the latent dimension", text, rows, figure), "", command)
