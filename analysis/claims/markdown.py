"""Verdicts as a table and as a page of Markdown: each claim, each test behind it, the split by reading, the errata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from analysis.claims.decide import NOT_MEASURED, Outcome
from analysis.claims.evaluate import VERDICTS, Verdict, by_reading, counts_of
from analysis.claims.ledger import READING_FIELDS, RULES, Ledger, load
from analysis.claims.wording import cell_text, effect, needs, p_value, standing
from analysis.formats import table

SPLIT_FIELDS = ("output", "init")
"""The fields of the reading that a headline turns on."""
TEST_COLUMNS = ("test", "claimed", "effect", "p (Holm)", "verdict", "beside", "stands on")
MOST_ROWS = 16
"""Tests of a part that the page lists one by one; those of more are counted, and `to_frame` has them all."""
_OTHER = ("other output", "other network")
_LEFT_OUT = ("at", "reading", "departs", "bootstrap", "seeds", "trouble", "asides")


def to_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """A row for each test.

    Columns: `claim, section, family, claim_verdict`; those of `Outcome`, of which `seeds` is their number, `at`,
    `asides` text, `bootstrap_low`, `bootstrap_high` an interval; the counts of `Trouble`; the reading's fields as
    `reading/<field>`.
    """
    rows = [_row(verdict, outcome) for verdict in verdicts for outcome in verdict.outcomes]
    readings = {f"reading/{name}": pd.Series(dtype=object) for name in (*READING_FIELDS, *_OTHER)}
    return pd.DataFrame(rows) if rows else pd.DataFrame(readings)


def to_markdown(verdicts: Sequence[Verdict], ledger: Ledger | None = None, *, command: str = "") -> str:
    """The page: a line for each claim, then each claim's rule and tests, then the paper's errata if there are any.

    Args:
        verdicts: From `analysis.claims.evaluate.evaluate`.
        ledger: That the verdicts were given by; by default the package's own.
        command: What a reader types to have this page.
    """
    ledger = ledger or load()
    summary = counts_of(verdict.verdict for verdict in verdicts)
    lines = ["# Claims", "", f"Version {ledger.version} of the ledger, {len(verdicts)} claims: {summary}.", ""]
    lines += [f"- Version {number} of {entry}" for number, entry in enumerate(ledger.history, start=1)]
    lines += [""] if ledger.history else []
    lines += [f"`{command}`", ""] if command else []
    rows = [(v.claim.id, v.claim.statement, v.claim.section, f"**{v.verdict}**", v.reason) for v in verdicts]
    lines.append(table(("", "claim", "section", "verdict", "why"), rows))
    for verdict in verdicts:
        lines += ["", *_section(verdict)]
    if ledger.errata:
        errata = [(erratum.section, erratum.paper, erratum.correct) for erratum in ledger.errata]
        lines += ["", "## Errata of the paper", "", table(("section", "the paper", "correct"), errata)]
    return "\n".join(lines) + "\n"


def evidence(verdict: Verdict) -> list[tuple[str, ...]]:
    """The tests behind a verdict as text, TEST_COLUMNS.

    Of a part with more than MOST_ROWS tests, how many came out how; what was not measured is counted by its reason.
    """
    parts = groupby(verdict.outcomes, key=lambda outcome: outcome.part)
    return [row for name, found in parts for row in _tests(name, list(found))]


def split_table(verdict: Verdict, part: str | None = None) -> pd.DataFrame:
    """How many tests of a claim came out how, by SPLIT_FIELDS: a row for each of their values, a column per verdict.

    Args:
        verdict: The claim's.
        part: One of its parts; by default all that decide.
    """
    rows = [
        {field: outcome.reading.get(field, "–") for field in SPLIT_FIELDS} | {"verdict": outcome.verdict}
        for outcome in verdict.outcomes
        if outcome.verdict != NOT_MEASURED and (outcome.part == part if part else outcome.main)
    ]
    frame = pd.DataFrame(rows, columns=[*SPLIT_FIELDS, "verdict"])
    counts = frame.value_counts([*SPLIT_FIELDS, "verdict"]).unstack("verdict", fill_value=0)
    return counts[[name for name in VERDICTS if name in counts]].reset_index().rename_axis(columns=None)


def _row(verdict: Verdict, outcome: Outcome) -> dict[str, Any]:
    own: dict[str, Any] = {"claim": verdict.claim.id, "section": verdict.claim.section, "family": verdict.claim.family}
    own |= {"claim_verdict": verdict.verdict}
    own |= {name: value for name, value in vars(outcome).items() if name not in _LEFT_OUT}
    low, high = outcome.bootstrap or (None, None)
    asides = "; ".join(f"{aside.margin}: {aside.verdict}" for aside in outcome.asides)
    own |= {"at": cell_text(outcome.at), "asides": asides, "bootstrap_low": low, "bootstrap_high": high}
    own |= {"seeds": len(outcome.seeds), **vars(outcome.trouble)}
    return own | {f"reading/{name}": outcome.reading.get(name) for name in (*READING_FIELDS, *_OTHER)}


def _section(verdict: Verdict) -> list[str]:
    claim = verdict.claim
    lines = [f"## {claim.id}: {verdict.verdict}", "", f"{claim.statement} (section {claim.section})", ""]
    lines += [f"Tested: {claim.test} {RULES[claim.rule]}. Holm's family: {claim.family}.", ""]
    readings = by_reading(verdict)
    if len(readings) > 1:
        lines += [f"By reading: {counts_of(readings.values())}.", ""]
        split = split_table(verdict)
        lines += [table(split.columns, split.to_numpy()), ""]
    return [*lines, table(TEST_COLUMNS, evidence(verdict))]


def _tests(name: str, found: list[Outcome]) -> list[tuple[str, ...]]:
    missing = Counter((outcome.note, cell_text(outcome.at)) for outcome in found if outcome.verdict == NOT_MEASURED)
    measured = [outcome for outcome in found if outcome.verdict != NOT_MEASURED]
    if len(measured) <= MOST_ROWS:
        rows = [_test(name, outcome) for outcome in measured]
    else:
        text = counts_of(outcome.verdict for outcome in measured)
        rows = [(name, measured[0].rule, "", "", text, "", f"{len(measured)} tests")]
    rows += [
        (name + f" ({at})" * bool(at), "", "", "", NOT_MEASURED, "", f"{count} tests: {note}" if count > 1 else note)
        for (note, at), count in missing.items()
    ]
    return rows if found[0].main else [(f"beside: {first}", *rest) for first, *rest in rows]


def _test(name: str, outcome: Outcome) -> tuple[str, ...]:
    p = "" if outcome.p_adjusted is None else f"{p_value(outcome.p_adjusted)} ({outcome.family_size})"
    beside = "; ".join(f"{aside.margin}: {aside.verdict}" for aside in outcome.asides)
    notes = [standing(outcome), needs(outcome), outcome.note]
    what = f"{name}: {outcome.contrast}{_brackets(outcome)}"
    return what, outcome.rule, effect(outcome), p, outcome.verdict, beside, "; ".join(filter(None, notes))


def _brackets(outcome: Outcome) -> str:
    texts = [cell_text(outcome.at), *(f"{name} {value}" for name, value in outcome.departs)]
    return f" ({', '.join(filter(None, texts))})" if any(texts) else ""
