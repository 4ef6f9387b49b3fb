"""An outcome in words: effect, interval, rule, p value, and on what it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.claims.decide import INCONCLUSIVE, NOT_MEASURED, Outcome

SMALLEST_P = 0.0001


def describe(outcome: Outcome) -> str:
    """An outcome in a line: effect, interval, rule, p value, seeds, budget and trouble."""
    if outcome.verdict == NOT_MEASURED:
        return outcome.note
    at = cell_text(outcome.at)
    name = f"{outcome.value}: {outcome.contrast}" if outcome.value else outcome.contrast
    texts = [f"{name}{f' ({at})' if at else ''} = {effect(outcome)}", f"claimed {outcome.rule}"]
    if outcome.p_adjusted is not None:
        texts.append(f"p = {p_value(outcome.p_adjusted)} (Holm, {outcome.family_size})".replace("= <", "<"))
    return "; ".join(filter(None, [*texts, standing(outcome), needs(outcome), outcome.note]))


def brief(outcome: Outcome) -> str:
    """An outcome in a few words, to stand among others of its claim."""
    if outcome.verdict == NOT_MEASURED:
        return f"{outcome.part}: {NOT_MEASURED}, {outcome.note.partition(':')[0]}"
    which = [outcome.contrast, cell_text(outcome.at), *(f"{name} {value}" for name, value in outcome.departs)]
    name = f"{outcome.part} ({', '.join(filter(None, which))})"
    return f"{name}: {outcome.verdict}, {effect(outcome)}, claimed {outcome.rule}"


def effect(outcome: Outcome) -> str:
    """Its estimate with the interval, if it has one, and the unit."""
    interval = "" if outcome.low is None else f" [{number(outcome.low)}, {number(outcome.high)}]"
    return f"{number(outcome.estimate)}{interval} {outcome.unit}".rstrip()


def standing(outcome: Outcome) -> str:
    """Seeds, budget and trouble of an outcome."""
    seeds = len(outcome.seeds)
    texts = [f"{seeds} seed{'s' * (seeds != 1)}" if seeds else "", outcome.budget]
    texts += [f"{count} {name}" for name, count in vars(outcome.trouble).items() if count]
    return ", ".join(filter(None, texts))


def needs(outcome: Outcome) -> str:
    """How many more seeds would decide an inconclusive outcome."""
    if outcome.verdict != INCONCLUSIVE or outcome.kind in ("dimension", "control"):
        return ""
    if len(outcome.seeds) < 2:
        return f"needs at least {2 - len(outcome.seeds)} more seed"
    if outcome.more_seeds is None:
        return "more than 1,000 seeds would be needed"
    return f"about {outcome.more_seeds} more seed{'s' * (outcome.more_seeds != 1)} would do"


def cell_text(at: Mapping[str, Any]) -> str:
    """Which of a part's tests it is: "N = 20", or a label."""
    return ", ".join(
        str(value) if key == "index" else f"{'N' if key == 'latent_dim' else key} = {value}"
        for key, value in at.items()
    )


def number(value: float | None) -> str:
    """Four significant digits, without an exponent, and no sign where that leaves nothing; a dash for None."""
    if value is None or not np.isfinite(value):
        return "–" if value is None or np.isnan(value) else "∞" if value > 0 else "-∞"
    digits = max(0, 3 - int(np.floor(np.log10(abs(value))))) if abs(value) >= 1e-4 else 1
    return f"{value:z,.{min(digits, 4)}f}"


def p_value(value: float) -> str:
    """Two significant digits; one too small to be told as such is said to be smaller than SMALLEST_P."""
    return f"< {SMALLEST_P:.4f}" if value < SMALLEST_P else f"{value:.2g}"
