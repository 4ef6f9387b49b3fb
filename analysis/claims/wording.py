"""An outcome in words: effect, interval, rule, p value, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from analysis.claims.decide import Outcome
from analysis.claims.effects import SeedEffects
from analysis.formats import number, p_value, with_interval
from analysis.verdict import Verdict

_SHARES = ("accuracy", "probability", "share", "cos²", "|cos|")
"""Units of what lies between 0 and 1."""
_POSITIVE = ("nats", "squared", "units", *_SHARES)
"""Beginnings of the units of what is never negative."""


def describe(outcome: Outcome) -> str:
    """An outcome in a line: effect, interval, rule, p value, seeds, budget and trouble."""
    if not outcome.measured:
        return outcome.note
    sample, at = outcome.sample, cell_text(outcome.sample.at)
    name = f"{sample.value}: {sample.contrast}" if sample.value else sample.contrast
    texts = [f"{name}{f' ({at})' if at else ''} = {effect(outcome)}", f"claimed {outcome.rule}"]
    if outcome.p_adjusted is not None:
        texts.append(f"p = {p_value(outcome.p_adjusted)} (Holm, {outcome.family_size})".replace("= <", "<"))
    return "; ".join(filter(None, [*texts, basis(outcome), needs(outcome), outcome.note]))


def brief(outcome: Outcome) -> str:
    """An outcome in a few words, for a list of several."""
    part, sample = outcome.part.name, outcome.sample
    if not outcome.measured:
        return f"{part}: {outcome.verdict}, {outcome.note.partition(':')[0]}"
    which = [sample.contrast, cell_text(sample.at), *(f"{name} {value}" for name, value in sample.departs)]
    name = f"{part} ({', '.join(filter(None, which))})"
    beside = "".join(f"; {aside.verdict} at {aside.margin}" for aside in outcome.asides if "excess" in aside.margin)
    return f"{name}: {outcome.verdict}, {effect(outcome)}, claimed {outcome.rule}{beside}"


def effect(outcome: Outcome) -> str:
    """The estimate of a test with its interval, if any, the interval's level unless that is 95 %, and the unit."""
    text = with_interval(outcome.estimate, *interval(outcome), number)
    level = f" ({100 * outcome.level:g} %)" if outcome.level != 0.95 and text.endswith("]") else ""
    return f"{text}{level} {outcome.part.unit}".rstrip()


def interval(outcome: Outcome) -> tuple[float | None, float | None]:
    """The interval of a test, cut off where its quantity cannot be: a gap below 0, a share or a cosine beyond 1."""
    part, unit = outcome.part, outcome.part.unit
    level = part.kind == "curves" or (part.kind == "threshold" and getattr(part, "against", None) is None)
    low, high = (math.nan if end is None else end for end in (outcome.low, outcome.high))
    if not level or math.isnan(low) or not unit.startswith(_POSITIVE):
        return outcome.low, outcome.high
    return max(low, 0.0), min(high, 1.0) if unit in _SHARES else high


def basis(outcome: Outcome) -> str:
    """Seeds, budget and trouble of an outcome."""
    sample, seeds = outcome.sample, len(outcome.sample.seeds)
    texts = [f"{seeds} seed{'s' * (seeds != 1)}" if seeds else "", sample.budget_text]
    texts += [f"{count} {name}" for name, count in asdict(sample.trouble).items() if count]
    return ", ".join(filter(None, texts))


def needs(outcome: Outcome) -> str:
    """The number of further seeds that would decide an inconclusive outcome, in words."""
    seeds = len(outcome.sample.seeds)
    if outcome.verdict != Verdict.INCONCLUSIVE or outcome.part.kind in ("dimension", "control"):
        return ""
    if seeds < 2:
        return f"needs at least {2 - seeds} more seed"
    if outcome.more_seeds is None and isinstance(outcome.sample.effect, SeedEffects) and outcome.sample.effect.bounded:
        return "seeds alone would not decide it, but longer runs or finer evaluations"
    if outcome.more_seeds is None:
        return "more than 1,000 seeds would be needed"
    return f"about {outcome.more_seeds} more seed{'s' * (outcome.more_seeds != 1)} would do"


def cell_text(at: Mapping[str, Any]) -> str:
    """The place of a test among those of its part: "N = 20", or a label."""
    return ", ".join(
        str(value) if key == "index" else f"{'N' if key == 'latent_dim' else key} = {value}"
        for key, value in at.items()
    )
