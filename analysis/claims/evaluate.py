"""Every claim of the paper against the tables: the ledger's rule for each, applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.claims.decide import Outcome, SampleTest, outcomes
from analysis.claims.group_samples import samples_of_curves, samples_of_rates, samples_of_reach
from analysis.claims.image_samples import samples_of_images
from analysis.claims.ledger import Claim, Curves, Ledger, Rate, Reach, TestedPart, ToldApart
from analysis.claims.lookups import Lookup
from analysis.claims.pool import Pool
from analysis.claims.samples import Sample, samples_of_values
from analysis.claims.wording import brief, describe
from analysis.verdict import Verdict, combine, counts_of

MOST_LISTED = 4
"""How many tests the reason of a verdict lists one by one; more are counted."""
MOST_NAMED = 2
"""How many of those it names beside the counts: refuted ones, or, without any, those that keep it undecided."""


@dataclass(frozen=True)
class Judgement:
    """The verdict on a claim, the reason in a line, and each test behind it."""

    claim: Claim
    verdict: Verdict
    reason: str
    outcomes: tuple[Outcome, ...]

    @property
    def deciding(self) -> list[Outcome]:
        """The outcomes that decide: not those that no run was to have, where others of the same part and arms are."""
        return _deciding(self.outcomes)

    @property
    def by_reading(self) -> dict[tuple[tuple[str, Any], ...], Verdict]:
        """The verdict in each reading of the paper that was measured, by the fields that depart from the default."""
        readings = {outcome.sample.departs for outcome in self.deciding if outcome.measured}
        return {
            key: combine((o.verdict for o in self.deciding if o.sample.departs == key), self.claim.rule)
            for key in sorted(readings, key=str)
        }


def evaluate(ledger: Ledger, pool: Pool, lookup: Lookup) -> list[Judgement]:
    """A judgement on each claim of a ledger, in its order.

    Args:
        ledger: The claims.
        pool: The replicates that decide them.
        lookup: The estimates that decide those about the latent dimension.
    """
    tests = [
        SampleTest(claim, part, sample)
        for claim in ledger.claims
        for part in claim.parts
        if isinstance(part, TestedPart)
        for sample in _samples(pool, ledger, part)
    ]
    by_part: dict[tuple[str, str], list[Outcome]] = {}
    for test, outcome in zip(tests, outcomes(tests), strict=True):
        by_part.setdefault((test.claim.id, test.part.name), []).append(outcome)
    for claim in ledger.claims:
        for part in claim.parts:
            if not isinstance(part, TestedPart):
                by_part[claim.id, part.name] = [lookup.outcome(part)]
    return [_judge(c, [outcome for part in c.parts for outcome in by_part[c.id, part.name]]) for c in ledger.claims]


def _samples(pool: Pool, ledger: Ledger, part: TestedPart) -> list[Sample]:
    if isinstance(part, Rate):
        return samples_of_rates(pool, ledger, part)
    if isinstance(part, Curves):
        return samples_of_curves(pool, ledger, part)
    if isinstance(part, Reach):
        return samples_of_reach(pool, ledger, part)
    if isinstance(part, ToldApart):
        return samples_of_images(pool, ledger, part)
    return samples_of_values(pool, ledger, part)


def _deciding(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome, beyond in _with_plan(outcomes) if outcome.part.main and not beyond]


def _with_plan(outcomes: Sequence[Outcome]) -> list[tuple[Outcome, bool]]:
    """Each outcome, and whether no run was to have its partner while one was to have another partner of its pair."""
    planned = {(o.part.name, o.sample.contrast) for o in outcomes if not o.sample.unplanned}
    return [(o, o.sample.unplanned and (o.part.name, o.sample.contrast) in planned) for o in outcomes]


def _judge(claim: Claim, unnamed: list[Outcome]) -> Judgement:
    listed = [outcome for outcome, beyond in _with_plan(unnamed) if not (beyond and outcome.sample.at)]
    results = tuple(_with_study(outcome, claim) for outcome in listed)
    deciding = _deciding(results)
    readings = {outcome.sample.departs for outcome in deciding}
    each = [combine((o.verdict for o in deciding if o.sample.departs == key), claim.rule) for key in readings]
    verdict = combine(each, "split")
    return Judgement(claim, verdict, _reason(deciding, verdict), results)


def _with_study(outcome: Outcome, claim: Claim) -> Outcome:
    """An outcome that was not measured, with the command that would."""
    if outcome.measured or outcome.part.kind == "not_measured" or outcome.note.startswith("needs"):
        return outcome
    needs = f"needs {claim.commands_of(outcome.part)}"
    if outcome.note.endswith("not recorded"):  # there are networks, but without this measurement
        needs += " with its measurements"
    return replace(outcome, note=f"{needs}: {outcome.note}" if outcome.note else needs)


def _reason(deciding: list[Outcome], verdict: Verdict) -> str:
    """The deciding tests' verdicts, and what is missing, in a line."""
    if verdict == Verdict.NOT_MEASURED:
        return "; ".join(dict.fromkeys(outcome.note.partition(":")[0] for outcome in deciding))
    counts = Counter(outcome.verdict for outcome in deciding)
    total = sum(counts.values())
    if total == 1:
        return describe(deciding[0])
    if total <= MOST_LISTED:
        return "; ".join(map(brief, deciding))
    telling = Verdict.REFUTED if counts[Verdict.REFUTED] else verdict
    named = [outcome for outcome in deciding if outcome.verdict == telling]
    texts = "".join(f"; {brief(outcome)}" for outcome in named) if len(named) <= MOST_NAMED else ""
    return f"{total} tests: {counts_of(counts.elements())}{_of_readings(deciding)}{texts}"


def _of_readings(deciding: list[Outcome]) -> str:
    """The verdicts under each output head, and each initialisation where several were measured."""
    if len({outcome.sample.departs for outcome in deciding}) < 2:
        return ""
    measured = [outcome for outcome in deciding if outcome.measured]
    by_init = len({outcome.sample.reading.get("init") for outcome in measured}) > 1
    verdicts: dict[str, list[Verdict]] = {}
    for outcome in measured if by_init else deciding:
        head, init = outcome.sample.reading.get("output"), outcome.sample.reading.get("init")
        if head:
            verdicts.setdefault(f"{head} output" + (f" and {init} init" if by_init else ""), []).append(outcome.verdict)
    return "".join(f"; with the {name} {counts_of(of_head)}" for name, of_head in sorted(verdicts.items()))
