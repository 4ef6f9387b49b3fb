"""The report's first part: the answer to the 10-100 question, the paper's claims with their verdicts, the card."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from analysis.claims import markdown, specification
from analysis.claims.decide import NOT_MEASURED
from analysis.claims.evaluate import VERDICTS, Verdict, combine, evaluate
from analysis.claims.ledger import RULES, load
from analysis.dimension import card, estimate_table, panels, ruler
from analysis.figures.catalogue import drawn
from analysis.figures.style import theme
from analysis.report.embed import Shown, csv_link, show
from study.table import to_csv

if TYPE_CHECKING:
    import pandas as pd

    from study.table import Tables

DATASET = "mnist"
"""The paper's, of which it asks how many latent dimensions are right."""


def claims(runs: Sequence[str], tables: Sequence[Tables]) -> dict[str, Any]:
    """Every claim with its verdict and the tests behind it, how many came out how, and the errata."""
    ledger, verdicts = load(), evaluate(tables)
    command = shlex.join(["analysis", "claims", *runs])
    return {
        "version": ledger.version,
        "history": ledger.history,
        "count": len(verdicts),
        "measured": any(verdict.verdict != NOT_MEASURED for verdict in verdicts),
        "claims": [_claim(verdict, f"{command} -o claims") for verdict in verdicts],
        "columns": markdown.TEST_COLUMNS,
        "errata": ledger.errata,
        "command": f"{command} -o claims",
        "csv": csv_link(to_csv(markdown.to_frame(verdicts))),
    }


def dimension(runs: Sequence[str], tables: Sequence[Tables]) -> dict[str, Any] | None:
    """The headline, the card and the estimates as rows; None if these runs give no estimate."""
    found = estimate_table.estimates(tables, DATASET)
    if found["value"].isna().all():
        return None
    command = shlex.join(["analysis", "dimension", *runs])
    title = "How many latent dimensions does MNIST need? All estimates on one card"
    return {
        "verdict": combine(found.loc[found["headline"], "verdict"], "split"),
        "answers": [
            {
                "verdict": row["verdict"],
                "words": estimate_table.IN_WORDS[row["key"]],
                "number": estimate_table.number(row),
            }
            | {"key": row["key"], "reason": row["reason"]}
            for row in found[found["headline"]].to_dict("records")
        ],
        "axis": _axis(found, f"{command} -o docs"),
        "card": show(card.draw_card(tables, DATASET, title), "", f"{command} -o docs"),
        "rows": [
            {key: str(row[key] or "") for key in ("key", "name", "verdict", "reason", "seeds", "steps")}
            | {"number": estimate_table.number(row)}
            for row in found.to_dict("records")
        ],
        "csv": csv_link(to_csv(found)),
        "controls": csv_link(to_csv(estimate_table.controls(tables))),
        "ruler": ruler.ruler(tables, DATASET).to_dict("split"),
        "ruler_note": ruler.NOTE,
        "command": f"{command} -o docs",
    }


def _claim(verdict: Verdict, command: str) -> dict[str, Any]:
    claim = verdict.claim
    curve = specification.drawn_specification(verdict)
    return {
        "id": claim.id,
        "anchor": f"claim-{claim.id.lower()}",
        "section": claim.section,
        "statement": claim.statement,
        "test": claim.test,
        "rule": RULES[claim.rule],
        "family": claim.family,
        "verdict": verdict.verdict,
        "rank": VERDICTS.index(verdict.verdict),
        "reason": verdict.reason,
        "tests": markdown.evidence(verdict),
        "figure": None if curve is None else show(curve, "", command),
    }


@theme()
def _axis(found: pd.DataFrame, command: str) -> Shown:
    """The two headline estimates on their axis."""
    rows = found[found["headline"]]
    figure = Figure(figsize=(4.0, 1.25))  # fits a telephone
    panels.plot_headline(rows, figure.add_axes((0.09, 0.4, 0.6, 0.58)))
    text = "The two estimates that were chosen beforehand, with 95 % t intervals over seeds where there are several; "
    text += "shaded: the paper's 10 < N < 100."
    return show(drawn("headline", "Headline estimates of the latent dimension", text, rows, figure), "", command)
