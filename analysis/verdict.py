"""Verdicts, and the rules by which several make one.

The rules for a single one are elsewhere: for a test of a claim in `analysis.claims.decide`, for an estimate of N in
`analysis.dimension.estimate`, for a dataset of known dimension in `analysis.claims.lookups`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """The outcome of a test, an estimate or a claim, in the order in which they are listed."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    SPLIT = "split"
    PARTLY_REFUTED = "refuted in part"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not measured"
    SETTLED = "settled"
    UNSETTLED = "not settled"
    """The last two are of estimates on data of which the paper supposes nothing."""


def combine(verdicts: Iterable[str], rule: str) -> Verdict:
    """One verdict of several: see `analysis.claims.ledger.Claim.rule`.

    `all`: refuted if one is, confirmed if all are. `split`: the verdict on which all agree; split if some are confirmed
    and others refuted; refuted in part if some are refuted and the others open. Else inconclusive; not measured only if
    none was.
    """
    distinct = set(map(Verdict, verdicts))
    if distinct <= {Verdict.NOT_MEASURED}:
        return Verdict.NOT_MEASURED
    if len(distinct) == 1:
        return distinct.pop()
    if rule == "all" and Verdict.REFUTED in distinct:
        return Verdict.REFUTED
    refuted = distinct & {Verdict.REFUTED, Verdict.PARTLY_REFUTED}
    if Verdict.SPLIT in distinct or (Verdict.CONFIRMED in distinct and refuted):
        return Verdict.SPLIT
    return Verdict.PARTLY_REFUTED if refuted else Verdict.INCONCLUSIVE


def counts_of(verdicts: Iterable[str]) -> str:
    """The number of each verdict: "2 confirmed, 1 refuted"."""
    counts = Counter(verdicts)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
