"""From samples to outcomes: t tests of the effect over seeds, adjusted by Holm within a family, and what they say.

An outcome is confirmed or refuted where its adjusted p value is below 5 %, on the side where the estimate lies, and
inconclusive otherwise. Its interval is not adjusted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from analysis.claims.ledger import Equivalence, EquivalencePart, TestedPart
from analysis.claims.samples import Sample, Trouble
from analysis.intervals import (
    LEAST_BOOTSTRAP_SEEDS,
    equivalence,
    holm,
    paired_test,
    seeds_needed,
    studentised_bootstrap,
    t_interval,
)

ALPHA = 0.05
CONFIRMED, REFUTED, INCONCLUSIVE, NOT_MEASURED = "confirmed", "refuted", "inconclusive", "not measured"


@dataclass(frozen=True)
class Aside:
    """The verdict at another margin: it stands beside and decides nothing."""

    margin: str
    verdict: str
    p_adjusted: float | None


@dataclass(frozen=True)
class Outcome:
    """What one test of a part says, and on what it stands. Effects, intervals and margins in the part's unit.

    Attributes:
        part: The part's name in the ledger.
        main: Whether it decides.
        kind: The part's kind.
        verdict: confirmed, refuted, inconclusive or not measured.
        contrast: What is subtracted from what.
        value: What of each replicate enters.
        at: Latent dimension or label, if the part has several.
        reading: The fields that the paper leaves open, as they are in this test.
        departs: Those of them that are off their default.
        rule: What is claimed of the effect ("> 1").
        margin: The number in it.
        estimate: The mean effect over seeds; None if it was not measured.
        low: Lower end of the interval; None with fewer than two seeds.
        high: Upper end.
        level: Coverage of the interval.
        bootstrap: The studentised bootstrap's interval, from 20 seeds on.
        p: Unadjusted p value; None with fewer than two seeds.
        p_adjusted: Holm's.
        family_size: Tests that it was adjusted for.
        seeds: The seeds used.
        more_seeds: How many more would decide it, were mean and spread as observed; None: decided, or above 1,000.
        budget: Training steps or sample size of both arms.
        trouble: Replicates that are not in it, or have collapsed.
        unit: The part's unit.
        note: Why it was not measured, and what a reader must know besides.
        unplanned: Whether no run was to have it.
        asides: Verdicts at other margins.
    """

    part: str
    main: bool
    kind: str
    verdict: str
    contrast: str = ""
    value: str = ""
    at: Mapping[str, Any] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)
    departs: tuple[tuple[str, Any], ...] = ()
    rule: str = ""
    margin: float | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = 1 - ALPHA
    bootstrap: tuple[float, float] | None = None
    p: float | None = None
    p_adjusted: float | None = None
    family_size: int = 0
    seeds: tuple[int, ...] = ()
    more_seeds: int | None = None
    budget: str = ""
    trouble: Trouble = field(default_factory=Trouble)
    unit: str = ""
    note: str = ""
    unplanned: bool = False
    asides: tuple[Aside, ...] = ()


@dataclass(frozen=True)
class Item:
    """A sample with the part that it is of; `family` is that of its claim."""

    claim: str
    family: str
    part: TestedPart
    sample: Sample


@dataclass(frozen=True)
class _Test:
    """A sample against one margin: its p value, and whether the estimate is on the claim's side."""

    margin: float
    p: float
    holds: bool


class _Adjusted(NamedTuple):
    """Holm's p value, the size of the family, and the level that the test's rank there leaves it."""

    p: float
    size: int
    alpha: float


def outcomes(items: Sequence[Item]) -> list[Outcome]:
    """An outcome for each item, in order.

    Tests are adjusted together that share the family, the reading of the paper, and whether they decide.
    """
    plain = [_untested(item) for item in items]
    tests = {index: _test(item, item.part.margin) for index, item in enumerate(items) if len(item.sample.values) > 1}
    keys = {index: _family(items[index]) for index in tests}
    adjusted = _adjust(tests, keys)
    asides = _asides(items, keys)
    found = []
    for index, (item, outcome) in enumerate(zip(items, plain, strict=True)):
        if index in tests:
            outcome = _tested(item, outcome, tests[index], adjusted[index])
        found.append(replace(outcome, asides=tuple(asides.get(index, ()))))
    return found


def rule_of(part: TestedPart) -> str:
    """What a part claims of its effect, as a reader writes it."""
    if isinstance(part, EquivalencePart):
        return f"within ±{part.margin:.3g}"
    return f"{'>' if part.direction == 'greater' else '<'} {part.margin:.3g}"


def _untested(item: Item) -> Outcome:
    """The outcome before any test: not measured, or inconclusive with the mean alone."""
    part, sample = item.part, item.sample
    number = len(sample.values)
    return Outcome(
        part=part.name,
        main=part.main,
        kind=part.kind,
        verdict=INCONCLUSIVE if number else NOT_MEASURED,
        contrast=sample.contrast,
        value=sample.value,
        at=sample.at,
        reading=sample.reading,
        departs=sample.departs,
        rule=rule_of(part),
        margin=part.margin,
        estimate=float(sample.values.mean()) if number else None,
        level=_level(part),
        seeds=sample.seeds,
        more_seeds=2 - number if number == 1 else None,
        budget=sample.budget_text,
        trouble=sample.trouble,
        unit=part.unit,
        note="; ".join(filter(None, (sample.note, _short(part, sample), _alike(sample)))),
        unplanned=sample.unplanned,
    )


def _tested(item: Item, outcome: Outcome, test: _Test, adjusted: _Adjusted) -> Outcome:
    values = item.sample.values
    verdict = _verdict(test, adjusted.p)
    low, high = t_interval(values, level=outcome.level)
    bootstrap = None
    if len(values) >= LEAST_BOOTSTRAP_SEEDS:
        bootstrap = studentised_bootstrap(values, level=outcome.level, rng=np.random.default_rng(0))
    needed = _seeds_needed(item.part, values, test, adjusted.alpha) if verdict == INCONCLUSIVE else None
    return replace(
        outcome,
        verdict=verdict,
        low=low,
        high=high,
        bootstrap=bootstrap,
        p=test.p,
        p_adjusted=adjusted.p,
        family_size=adjusted.size,
        more_seeds=None if needed is None else max(needed - len(values), 1),
    )


def _test(item: Item, margin: float) -> _Test:
    """The part's test of a sample of two seeds or more, at a margin."""
    values, part = item.sample.values, item.part
    mean = float(values.mean())
    if isinstance(part, EquivalencePart):
        inside = equivalence(values, margin=margin, alpha=ALPHA).p_value
        side, edge = ("greater", margin) if mean > 0 else ("less", -margin)
        outside = paired_test(values, margin=edge, alternative="greater" if side == "greater" else "less")
        return _Test(margin, min(inside, outside), abs(mean) < margin)
    above = mean > margin
    return _Test(
        margin, paired_test(values, margin=margin, alternative="two-sided"), above == (part.direction == "greater")
    )


def _verdict(test: _Test, p_adjusted: float) -> str:
    if p_adjusted >= ALPHA:
        return INCONCLUSIVE
    return CONFIRMED if test.holds else REFUTED


def _adjust(tests: Mapping[int, _Test], keys: Mapping[int, tuple[Any, ...]]) -> dict[int, _Adjusted]:
    families: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index in tests:
        families[keys[index]].append(index)
    found = {}
    for members in families.values():
        p_values = np.array([tests[index].p for index in members])
        ranks = np.argsort(np.argsort(p_values, kind="stable"))
        for index, p, rank in zip(members, holm(p_values), ranks, strict=True):
            found[index] = _Adjusted(float(p), len(members), ALPHA / (len(members) - int(rank)))
    return found


def _family(item: Item) -> tuple[Any, ...]:
    return item.family, item.sample.departs, item.part.main


def _asides(items: Sequence[Item], keys: Mapping[int, tuple[Any, ...]]) -> dict[int, list[Aside]]:
    """The verdicts at the parts' further margins; each margin's tests are a family of their own."""
    labelled: dict[str, dict[int, _Test]] = defaultdict(dict)
    for index in keys:
        for label, margin in _further(items[index]):
            labelled[label][index] = _test(items[index], margin)
    found: dict[int, list[Aside]] = defaultdict(list)
    for label, tests in labelled.items():
        for index, adjusted in _adjust(tests, keys).items():
            found[index].append(Aside(label, _verdict(tests[index], adjusted.p), adjusted.p))
    return found


def _further(item: Item) -> Iterable[tuple[str, float]]:
    part = item.part
    if isinstance(part, Equivalence):
        for share in part.beside_excess:
            if item.sample.excess > 0:
                yield f"{100 * share:g} % of the excess", share * item.sample.excess
    for margin in getattr(part, "beside", ()):
        yield f"{margin:.3g}", margin


def _seeds_needed(part: TestedPart, values: np.ndarray, test: _Test, alpha: float) -> int | None:
    if isinstance(part, EquivalencePart):
        if test.holds:
            return seeds_needed(values, margin=test.margin, goal="equivalence", alpha=alpha)
        edge = test.margin if values.mean() > 0 else -test.margin
        return seeds_needed(values, margin=edge, goal="difference", alpha=2 * alpha)
    return seeds_needed(values, margin=test.margin, goal="difference", alpha=alpha)


def _short(part: TestedPart, sample: Sample) -> str:
    """That the budget is less than the rule asks for."""
    if part.steps is None or sample.budget is None or sample.budget >= part.steps:
        return ""
    return f"short of the {part.steps:,} steps that the rule asks for"


def _alike(sample: Sample) -> str:
    """That the seeds say nothing of the spread."""
    number = len(sample.values)
    return f"the same in each of {number} seeds" if number > 1 and not np.ptp(sample.values) else ""


def _level(part: TestedPart) -> float:
    return 1 - 2 * ALPHA if isinstance(part, EquivalencePart) else 1 - ALPHA
