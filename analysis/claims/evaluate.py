"""Every claim of the paper against the tables: the ledger's rule for each, applied; runs' tables in, verdicts out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from analysis.claims.decide import CONFIRMED, INCONCLUSIVE, NOT_MEASURED, REFUTED, Item, Outcome, outcomes
from analysis.claims.group_samples import samples_of_curves, samples_of_rates, samples_of_reach
from analysis.claims.ledger import (
    Claim,
    Control,
    Curves,
    Dimension,
    Ledger,
    Rate,
    Reach,
    TestedPart,
    load,
)
from analysis.claims.lookups import looked_up, rows_of
from analysis.claims.pool import Pool
from analysis.claims.samples import Sample, samples_of_values
from analysis.claims.wording import brief, describe
from study.table import once

if TYPE_CHECKING:
    from study.table import Tables

SPLIT = "split"
VERDICTS = (CONFIRMED, REFUTED, SPLIT, INCONCLUSIVE, NOT_MEASURED)
MOST_LISTED = 4
"""Tests that the reason of a verdict lists one by one; those of more are counted."""
MOST_NAMED = 2
"""Of those, refuted ones that are named beside the counts, or, where there is none, those that keep it undecided."""


@dataclass(frozen=True)
class Verdict:
    """What the tables say of a claim: one of VERDICTS, why in a line, and each test behind it."""

    claim: Claim
    verdict: str
    reason: str
    outcomes: tuple[Outcome, ...]

    def of(self, part: str) -> list[Outcome]:
        """The outcomes of a part."""
        return [outcome for outcome in self.outcomes if outcome.part == part]


def evaluate(tables_list: Sequence[Tables], ledger: Ledger | None = None) -> list[Verdict]:
    """The verdict on each claim of the ledger, in its order.

    Args:
        tables_list: Tables of any runs; a replicate that several hold counts once.
        ledger: The claims; by default those of this version.
    """
    return list(_by_own_ledger(tables_list)) if ledger is None else _verdicts(tables_list, ledger)


@once
def _by_own_ledger(tables_list: Sequence[Tables]) -> list[Verdict]:
    return _verdicts(tables_list, load())


def _verdicts(tables_list: Sequence[Tables], ledger: Ledger) -> list[Verdict]:
    pool = Pool(tables_list)
    items: list[Item] = []
    others: dict[tuple[str, str], list[Outcome]] = {}
    parts = [part for claim in ledger.claims for part in claim.parts]
    estimated = (
        rows_of(tables_list) if len(pool.ends) and any(isinstance(p, Dimension | Control) for p in parts) else {}
    )
    for claim in ledger.claims:
        for part in claim.parts:
            if isinstance(part, TestedPart):
                samples = _samples(pool, ledger, part)
                items += [Item(claim.id, claim.family, part, sample) for sample in samples]
            else:
                others[claim.id, part.name] = [looked_up(part, estimated)]
    for item, outcome in zip(items, outcomes(items), strict=True):
        others.setdefault((item.claim, item.part.name), []).append(outcome)
    return [_decide(claim, [o for part in claim.parts for o in others[claim.id, part.name]]) for claim in ledger.claims]


def combine(verdicts: Iterable[str], rule: str) -> str:
    """One verdict of several: see `analysis.claims.ledger.Claim.rule`.

    `all`: refuted if one is, confirmed if all are. `split`: what all agree on; split if some are confirmed and others
    refuted. Else inconclusive; not measured only if none was.
    """
    found = set(verdicts)
    if found <= {NOT_MEASURED}:
        return NOT_MEASURED
    if len(found) == 1:
        return found.pop()
    if rule == "all" and REFUTED in found:
        return REFUTED
    if SPLIT in found or {CONFIRMED, REFUTED} <= found:
        return SPLIT
    return INCONCLUSIVE


def by_reading(verdict: Verdict) -> dict[tuple[tuple[str, Any], ...], str]:
    """The claim's verdict in each reading of the paper that was measured, by what departs from the default settings."""
    deciding = _deciding(verdict.outcomes)
    readings = dict.fromkeys(outcome.departs for outcome in deciding if outcome.verdict != NOT_MEASURED)
    return {
        key: combine((o.verdict for o in deciding if o.departs == key), verdict.claim.rule)
        for key in sorted(readings, key=str)
    }


def _samples(pool: Pool, ledger: Ledger, part: TestedPart) -> list[Sample]:
    if isinstance(part, Rate):
        return samples_of_rates(pool, ledger, part)
    if isinstance(part, Curves):
        return samples_of_curves(pool, ledger, part)
    if isinstance(part, Reach):
        return samples_of_reach(pool, ledger, part)
    return samples_of_values(pool, ledger, part)


def _deciding(found: Iterable[Outcome]) -> list[Outcome]:
    """The outcomes that decide: not those that no run was to have, where others of the same part and arms are there."""
    main = [outcome for outcome in found if outcome.main]
    planned = {(outcome.part, outcome.contrast) for outcome in main if not outcome.unplanned}
    return [o for o in main if not o.unplanned or (o.part, o.contrast) not in planned]


def _decide(claim: Claim, found: list[Outcome]) -> Verdict:
    studies = {part.name: claim.studies_of(part) for part in claim.parts}
    found = [_with_study(outcome, studies[outcome.part]) for outcome in found]
    deciding = _deciding(found)
    readings = {outcome.departs for outcome in deciding}
    each = [combine((o.verdict for o in deciding if o.departs == key), claim.rule) for key in readings]
    verdict = combine(each, "split")
    return Verdict(claim, verdict, _reason(deciding, verdict), tuple(found))


def _with_study(outcome: Outcome, studies: tuple[str, ...]) -> Outcome:
    """An outcome that was not measured, with the study that would."""
    if outcome.verdict != NOT_MEASURED or outcome.kind == "not_measured":
        return outcome
    if outcome.note.startswith("needs"):
        return outcome
    needs = f"needs study {', '.join(studies)}"
    if outcome.note.endswith("not recorded"):  # there are networks, but what is asked of them was not measured
        needs += " with its measurements"
    return replace(outcome, note=f"{needs}: {outcome.note}" if outcome.note else needs)


def _reason(deciding: list[Outcome], verdict: str) -> str:
    """How the deciding tests came out, and what is missing."""
    if verdict == NOT_MEASURED:
        return "; ".join(dict.fromkeys(outcome.note.partition(":")[0] for outcome in deciding))
    counts = Counter(outcome.verdict for outcome in deciding)
    total = sum(counts.values())
    if total == 1:
        return describe(deciding[0])
    if total <= MOST_LISTED:
        return "; ".join(map(brief, deciding))
    named = [outcome for outcome in deciding if outcome.verdict == (REFUTED if counts[REFUTED] else verdict)]
    told = "".join(f"; {brief(outcome)}" for outcome in named) if len(named) <= MOST_NAMED else ""
    return f"{total} tests: {counts_of(counts.elements())}{_of_readings(deciding)}{told}"


def _of_readings(deciding: list[Outcome]) -> str:
    """How the tests came out under each output head, and each initialisation where several were measured."""
    if len({outcome.departs for outcome in deciding}) < 2:
        return ""
    measured = [outcome for outcome in deciding if outcome.verdict != NOT_MEASURED]
    by_init = len({outcome.reading.get("init") for outcome in measured}) > 1
    found: dict[str, list[str]] = {}
    for outcome in measured if by_init else deciding:
        head, init = outcome.reading.get("output"), outcome.reading.get("init")
        if head:
            found.setdefault(f"{head} output" + (f" and {init} init" if by_init else ""), []).append(outcome.verdict)
    return "".join(f"; with the {name} {counts_of(verdicts)}" for name, verdicts in sorted(found.items()))


def counts_of(verdicts: Iterable[str]) -> str:
    """How many of each verdict: "2 confirmed, 1 refuted"."""
    counts = Counter(verdicts)
    return ", ".join(f"{counts[name]} {name}" for name in VERDICTS if counts[name])
