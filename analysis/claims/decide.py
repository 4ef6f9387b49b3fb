"""Decides samples: t tests of the effect over seeds, adjusted by Holm within a family, and their verdicts.

An outcome is confirmed or refuted where its adjusted p value is below 5 %, on the side where the estimate lies, and
inconclusive otherwise. Its interval is not adjusted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from analysis.claims.effects import Effect, SeedEffects, p_inside, p_outside
from analysis.claims.ledger import Claim, Equivalence, EquivalencePart, Part, TestedPart
from analysis.claims.samples import Sample
from analysis.intervals import LEAST_BOOTSTRAP_SEEDS, holm, studentised_bootstrap
from analysis.verdict import Verdict

ALPHA = 0.05


@dataclass(frozen=True)
class AtOtherMargin:
    """The verdict at another margin: reported, never counted."""

    margin: str
    verdict: Verdict
    p_adjusted: float


@dataclass(frozen=True)
class Outcome:
    """The result of one test of a part. Effects, intervals and margins are in the part's unit.

    Attributes:
        part: The part of the claim.
        sample: The numbers that it rests on.
        verdict: Confirmed, refuted, inconclusive or not measured.
        rule: The claim about the effect ("> 1").
        margin: The number in it.
        estimate: The mean effect over seeds; None if it was not measured.
        low: Lower end of the interval; None with fewer than two seeds.
        high: Upper end.
        level: Coverage of the interval.
        bootstrap: The studentised bootstrap's interval, from 20 seeds on.
        p: Unadjusted p value; None with fewer than two seeds.
        p_adjusted: Holm's.
        family_size: How many tests it was adjusted for.
        more_seeds: How many more would decide it, were mean and spread as observed; None: decided, or above 1,000.
        note: Why it was not measured, and further remarks for the reader.
        asides: Verdicts at other margins.
    """

    part: Part
    sample: Sample
    verdict: Verdict
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
    more_seeds: int | None = None
    note: str = ""
    asides: tuple[AtOtherMargin, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether it was measured."""
        return self.verdict != Verdict.NOT_MEASURED


class _Result(NamedTuple):
    """A test at one margin: whether the estimate is on the claim's side, p values, and the level that Holm leaves."""

    margin: float
    holds: bool
    p: float
    p_adjusted: float = 1.0
    family_size: int = 1
    alpha: float = ALPHA

    @property
    def verdict(self) -> Verdict:
        if self.p_adjusted >= ALPHA:
            return Verdict.INCONCLUSIVE
        return Verdict.CONFIRMED if self.holds else Verdict.REFUTED


@dataclass(frozen=True, eq=False)
class SampleTest:
    """The test of one sample of a claim's part; compared by identity."""

    claim: Claim
    part: TestedPart
    sample: Sample

    @property
    def family(self) -> tuple[Any, ...]:
        """Tests are adjusted together that share this: the claim's family, the reading, and whether they decide."""
        return self.claim.family, self.sample.departs, self.part.main

    @cached_property
    def margins(self) -> dict[str, float]:
        """The part's further margins, by label."""
        part, excess = self.part, self.sample.excess
        shares = part.beside_excess if isinstance(part, Equivalence) and excess > 0 else ()
        of_excess = {f"{100 * share:g} % of the excess": share * excess for share in shares}
        return of_excess | {f"{margin:.3g}": margin for margin in getattr(part, "beside", ())}

    @property
    def effect(self) -> Effect:
        """The sample's effect, where there is one."""
        if self.sample.effect is None:
            raise ValueError(f"`effect` must be measured, but {self.part.name} was not.")
        return self.sample.effect

    def at(self, margin: float) -> _Result:
        """The test at a margin, not adjusted; the sample has two seeds or more.

        An equivalence is confirmed by two one-sided tests at 5 %, the 90 % interval, and refuted by the 95 % interval.
        """
        effect, part = self.effect, self.part
        if isinstance(part, EquivalencePart):
            inside, outside = p_inside(effect, margin), p_outside(effect, margin)
            return _Result(margin, inside < outside, min(inside, outside))
        less, greater = effect.p_value(margin, "less"), effect.p_value(margin, "greater")
        return _Result(margin, (greater < less) == (part.direction == "greater"), min(2 * min(less, greater), 1.0))

    def outcome(self) -> Outcome:
        """The outcome before any test: not measured, or inconclusive with the mean alone."""
        part, sample = self.part, self.sample
        seeds = len(sample.seeds)
        return Outcome(
            part,
            sample,
            verdict=Verdict.INCONCLUSIVE if sample.effect else Verdict.NOT_MEASURED,
            rule=_rule(part),
            margin=part.margin,
            estimate=sample.effect.estimate if sample.effect else None,
            level=1 - 2 * ALPHA if isinstance(part, EquivalencePart) else 1 - ALPHA,
            more_seeds=2 - seeds if seeds == 1 else None,
            note="; ".join(filter(None, (sample.note, _short(part, sample), _alike(sample)))),
        )

    def tested(self, result: _Result, asides: Sequence[AtOtherMargin]) -> Outcome:
        """The outcome with its adjusted test."""
        effect, untested, seeds = self.effect, self.outcome(), len(self.sample.seeds)
        low, high = effect.interval(untested.level)
        bootstrap = None
        if isinstance(effect, SeedEffects) and not effect.least_error and seeds >= LEAST_BOOTSTRAP_SEEDS:
            bootstrap = studentised_bootstrap(effect.values, level=untested.level, rng=np.random.default_rng(0))
        undecided = result.verdict == Verdict.INCONCLUSIVE
        needed = self._seeds_needed(result) if undecided else None
        return replace(
            untested,
            verdict=result.verdict,
            low=low,
            high=high,
            bootstrap=bootstrap,
            p=result.p,
            p_adjusted=result.p_adjusted,
            family_size=result.family_size,
            more_seeds=None if needed is None else max(needed - seeds, 1),
            asides=tuple(asides),
            note="; ".join(filter(None, (untested.note, self._too_few(result) if undecided else ""))),
        )

    def _seeds_needed(self, result: _Result) -> int | None:
        effect, margin = self.effect, result.margin
        if isinstance(self.part, EquivalencePart) and result.holds:
            return effect.seeds_needed(margin, "equivalence", result.alpha)
        edge = -margin if isinstance(self.part, EquivalencePart) and effect.estimate < 0 else margin
        return effect.seeds_needed(edge, "difference", result.alpha)

    def _too_few(self, result: _Result) -> str:
        """A note that these seeds cannot decide it, whatever they show, and how many can."""
        seeds = len(self.sample.seeds)
        if 2 * self.effect.least_p(seeds) < result.alpha:
            return ""
        enough = next(more for more in count(seeds) if 2 * self.effect.least_p(more) < result.alpha)
        return f"cannot be decided with {seeds} seeds, needs {enough}"


def outcomes(tests: Sequence[SampleTest]) -> list[Outcome]:
    """An outcome for each test, in order; those of one family, with two seeds or more, are adjusted together."""
    families: dict[tuple[Any, ...], list[SampleTest]] = defaultdict(list)
    for test in tests:
        if test.sample.effect and len(test.sample.seeds) > 1:
            families[test.family].append(test)
    tested: dict[SampleTest, Outcome] = {}
    for family in families.values():
        tested |= _of_family(family)
    return [tested[test] if test in tested else test.outcome() for test in tests]


def _of_family(family: Sequence[SampleTest]) -> dict[SampleTest, Outcome]:
    """The outcomes of a family; each further margin's tests are a family of their own."""
    asides: dict[SampleTest, list[AtOtherMargin]] = defaultdict(list)
    for label in dict.fromkeys(label for test in family for label in test.margins):
        having = [test for test in family if label in test.margins]
        results = _adjusted([test.at(test.margins[label]) for test in having])
        for test, result in zip(having, results, strict=True):
            asides[test].append(AtOtherMargin(label, result.verdict, result.p_adjusted))
    results = _adjusted([test.at(test.part.margin) for test in family])
    return {test: test.tested(result, asides[test]) for test, result in zip(family, results, strict=True)}


def _adjusted(results: Sequence[_Result]) -> list[_Result]:
    """The results with Holm's p values, and the level that its rank leaves each."""
    p_values = np.array([result.p for result in results])
    ranks = np.argsort(np.argsort(p_values, kind="stable"))
    size = len(results)
    return [
        result._replace(p_adjusted=float(p), family_size=size, alpha=ALPHA / (size - int(rank)))
        for result, p, rank in zip(results, holm(p_values), ranks, strict=True)
    ]


def _rule(part: TestedPart) -> str:
    """The claim about the effect, as a reader writes it."""
    if isinstance(part, EquivalencePart):
        return f"within ±{part.margin:.3g}"
    return f"{'>' if part.direction == 'greater' else '<'} {part.margin:.3g}"


def _short(part: TestedPart, sample: Sample) -> str:
    """A note that the budget is less than the rule asks for."""
    if part.steps is None or sample.budget is None or sample.budget >= part.steps:
        return ""
    return f"short of the {part.steps:,} steps that the rule asks for"


def _alike(sample: Sample) -> str:
    """A note that all seeds have the same value."""
    effect, seeds = sample.effect, len(sample.seeds)
    alike = isinstance(effect, SeedEffects) and seeds > 1 and not np.ptp(effect.values)
    return f"the same in each of {seeds} seeds" if alike else ""
