"""Verdicts as a table and as a page of Markdown: each claim, each test behind it, the split by reading, the errata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import pandas as pd

from analysis.claims.decide import Outcome
from analysis.claims.evaluate import Judgement
from analysis.claims.ledger import READING_FIELDS, RULES, Ledger, load
from analysis.claims.wording import basis, cell_text, effect, needs
from analysis.formats import ABSENT, p_value, table
from analysis.verdict import Verdict, counts_of

SPLIT_FIELDS = ("output", "init")
"""The fields of the reading that a headline turns on."""
TEST_COLUMNS = ("test", "claimed", "effect", "p (Holm)", "verdict", "beside", "stands on")
MOST_ROWS = 16
"""How many tests of a part the page lists one by one; more are counted, and `to_frame` has them all."""
_OTHER = ("other output", "other network")


def to_frame(judgements: Sequence[Judgement]) -> pd.DataFrame:
    """A row for each test.

    Columns: `claim, section, family, claim_verdict`; the attributes of the outcome, its part and its sample, of which
    `seeds` is a number, `at` and `asides` are text; the counts of `Trouble`; the reading's fields as `reading/<field>`.
    """
    rows = [_row(judgement, outcome) for judgement in judgements for outcome in judgement.outcomes]
    readings = {f"reading/{name}": pd.Series(dtype=object) for name in (*READING_FIELDS, *_OTHER)}
    return pd.DataFrame(rows) if rows else pd.DataFrame(readings)


def to_markdown(judgements: Sequence[Judgement], ledger: Ledger | None = None, *, command: str = "") -> str:
    """The page: a line for each claim, then each claim's rule and tests, then the paper's errata if there are any.

    Args:
        judgements: From `analysis.evidence.Evidence`.
        ledger: The ledger of the verdicts; by default the package's own.
        command: The command that prints this page.
    """
    ledger = ledger or load()
    summary = counts_of(judgement.verdict for judgement in judgements)
    lines = ["# Claims", "", f"Version {ledger.version} of the ledger, {len(judgements)} claims: {summary}.", ""]
    lines += [f"- Version {number} of {entry}" for number, entry in enumerate(ledger.history, start=1)]
    lines += [""] if ledger.history else []
    lines += [f"`{command}`", ""] if command else []
    rows = [(j.claim.id, j.claim.statement, j.claim.section, f"**{j.verdict}**", j.reason) for j in judgements]
    lines.append(table(("", "claim", "section", "verdict", "why"), rows))
    for judgement in judgements:
        lines += ["", *_section(judgement)]
    if ledger.errata:
        errata = [(erratum.section, erratum.paper, erratum.correct) for erratum in ledger.errata]
        lines += ["", "## Errata of the paper", "", table(("section", "the paper", "correct"), errata)]
    return "\n".join(lines) + "\n"


def tests_of(judgement: Judgement) -> list[tuple[str, ...]]:
    """The tests behind a verdict as text, TEST_COLUMNS.

    Of a part with more than MOST_ROWS tests, only the number of each verdict; tests that were not measured are counted
    by their reason.
    """
    parts = groupby(judgement.outcomes, key=lambda outcome: outcome.part.name)
    return [row for name, outcomes in parts for row in _tests(name, list(outcomes))]


def split_table(judgement: Judgement) -> pd.DataFrame:
    """How many tests of a claim's main parts had each verdict: a row for each value of SPLIT_FIELDS."""
    rows = [
        [*(outcome.sample.reading.get(field, ABSENT) for field in SPLIT_FIELDS), str(outcome.verdict)]
        for outcome in judgement.outcomes
        if outcome.measured and outcome.part.main
    ]
    frame = pd.DataFrame(rows, columns=[*SPLIT_FIELDS, "verdict"])
    counts = frame.value_counts([*SPLIT_FIELDS, "verdict"]).unstack("verdict", fill_value=0)
    return counts[[name for name in Verdict if name in counts]].reset_index().rename_axis(columns=None)


def _row(judgement: Judgement, outcome: Outcome) -> dict[str, Any]:
    claim, part, sample = judgement.claim, outcome.part, outcome.sample
    low, high = outcome.bootstrap or (None, None)
    return {
        "claim": claim.id, "section": claim.section, "family": claim.family, "claim_verdict": judgement.verdict,
        "part": part.name, "main": part.main, "kind": part.kind, "verdict": outcome.verdict,
        "contrast": sample.contrast, "value": sample.value, "rule": outcome.rule, "margin": outcome.margin,
        "estimate": outcome.estimate, "low": outcome.low, "high": outcome.high, "level": outcome.level,
        "p": outcome.p, "p_adjusted": outcome.p_adjusted, "family_size": outcome.family_size,
        "more_seeds": outcome.more_seeds, "budget": sample.budget_text, "unit": part.unit, "note": outcome.note,
        "unplanned": sample.unplanned, "at": cell_text(sample.at), "asides": _asides(outcome),
        "bootstrap_low": low, "bootstrap_high": high, "seeds": len(sample.seeds), **asdict(sample.trouble),
    } | {f"reading/{name}": sample.reading.get(name) for name in (*READING_FIELDS, *_OTHER)}  # fmt: skip


def _asides(outcome: Outcome) -> str:
    return "; ".join(f"{aside.margin}: {aside.verdict}" for aside in outcome.asides)


def _section(judgement: Judgement) -> list[str]:
    claim = judgement.claim
    lines = [f"## {claim.id}: {judgement.verdict}", "", f"{claim.statement} (section {claim.section})", ""]
    lines += [f"Tested: {claim.tested} {RULES[claim.rule]}. Holm's family: {claim.family}.", ""]
    readings = judgement.by_reading
    if len(readings) > 1:
        lines += [f"By reading: {counts_of(readings.values())}.", ""]
        split = split_table(judgement)
        lines += [table(split.columns, split.to_numpy()), ""]
    return [*lines, table(TEST_COLUMNS, tests_of(judgement))]


def _tests(name: str, outcomes: list[Outcome]) -> list[tuple[str, ...]]:
    missing = Counter((outcome.note, cell_text(outcome.sample.at)) for outcome in outcomes if not outcome.measured)
    measured = [outcome for outcome in outcomes if outcome.measured]
    if len(measured) <= MOST_ROWS:
        rows = [_test(name, outcome) for outcome in measured]
    else:
        text = counts_of(outcome.verdict for outcome in measured)
        rows = [(name, measured[0].rule, "", "", text, "", f"{len(measured)} tests")]
    for (note, at), count in missing.items():
        texts = (name + f" ({at})" * bool(at), f"{count} tests: {note}" if count > 1 else note)
        rows.append((texts[0], "", "", "", Verdict.NOT_MEASURED, "", texts[1]))
    return rows if outcomes[0].part.main else [(f"beside: {first}", *rest) for first, *rest in rows]


def _test(name: str, outcome: Outcome) -> tuple[str, ...]:
    p = "" if outcome.p_adjusted is None else f"{p_value(outcome.p_adjusted)} ({outcome.family_size})"
    notes = "; ".join(filter(None, [basis(outcome), needs(outcome), outcome.note]))
    test = f"{name}: {outcome.sample.contrast}{_brackets(outcome)}"
    return test, outcome.rule, effect(outcome), p, outcome.verdict, _asides(outcome), notes


def _brackets(outcome: Outcome) -> str:
    texts = [cell_text(outcome.sample.at), *(f"{name} {value}" for name, value in outcome.sample.departs)]
    return f" ({', '.join(filter(None, texts))})" if any(texts) else ""
