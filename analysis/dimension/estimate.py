"""An estimate of the latent dimension: its number, its interval and its verdict on 10 < N < 100."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from analysis.dimension.seed_estimates import LOWER_BOUND
from analysis.formats import figures, with_interval
from analysis.verdict import Verdict

BAND = (10.0, 100.0)
"""The paper's hypothesis (its section 2): the right N lies between these, both left out."""
TOO_WIDE = "too wide"
"""The beginning of a reason that is about the band."""
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """An estimate of the latent dimension with its verdict.

    Attributes:
        key: Its key in ESTIMATORS; of an intrinsic dimension "e", of PCA "g", with what distinguishes it.
        name: Its name as a reader writes it.
        value: N, or a dimension; NaN if not measured.
        low: Lower end of its interval over training seeds, of (e) over subsamples; of PCA, a closed form, the value.
        high: Upper end.
        level: Coverage of the interval.
        verdict: On 10 < N < 100.
        reason: Why there is no verdict, and further remarks for the reader.
        seeds: How many seeds it rests on.
        steps: The training budget, as text.
        headline: Whether it is one of the answer's three rows, (L), (U) and (I).
        beforehand: Whether it is one of the two that were fixed before any run, (a) and (c).
        least: The lower end of an estimate that is a range, such as over N or over scales; else NaN.
        most: Its upper end.
        settled: Whether nothing (one seed, not converged, only a bound) prevents a verdict.
        between: The least and the most that N may be on the grid, where the value is interpolated.
        margins: By multiple of the margin, the value with its interval.
    """

    key: str
    name: str
    value: float
    low: float
    high: float
    level: float
    verdict: Verdict
    reason: str
    seeds: int = 0
    steps: str = ""
    headline: bool = False
    beforehand: bool = False
    least: float = math.nan
    most: float = math.nan
    settled: bool = True
    between: tuple[int, int] | None = None
    margins: Mapping[float, tuple[float, float, float]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The value, or the range, with its interval as a reader writes them."""
        if math.isfinite(self.least) and self.least < self.most:
            whole = f"{figures(self.least)} to {figures(self.most)}"
            return whole if math.isnan(self.low) else f"{whole} [{figures(self.low)}, {figures(self.high)}]"
        return with_interval(self.value, self.low, self.high)

    @property
    def number(self) -> str:
        """The text, and the N that the grid allows where an interpolated value has an interval that is narrower."""
        if not self.between or math.isnan(self.low) or (self.between[0] >= self.low and self.between[1] <= self.high):
            return self.text
        return f"{self.text}; {' to '.join(dict.fromkeys(map(str, self.between)))} on this grid"

    @property
    def cause(self) -> str:
        """The first reason, in a few words."""
        kind, _, rest = first_reason(self.reason).partition(": ")
        return rest if kind == TOO_WIDE else kind

    @property
    def short(self) -> str:
        """The value, or the range, to whole numbers from 10 on, else to one place."""
        ends = (self.least, self.most) if math.isfinite(self.least) and self.least < self.most else (self.value,)
        return " to ".join(dict.fromkeys(f"{end:.0f}" if end >= 9.95 else f"{round(end, 1):g}" for end in ends))


def first_reason(reason: str) -> str:
    """The first of several reasons."""
    return reason.split("; ")[0]


def verdict_on(low: float, high: float) -> Verdict:
    """The verdict on 10 < N < 100 of an interval; inconclusive if it is NaN."""
    if low > BAND[0] and high < BAND[1]:
        return Verdict.CONFIRMED
    return Verdict.REFUTED if high <= BAND[0] or low >= BAND[1] else Verdict.INCONCLUSIVE


def judged(
    key: str,
    name: str,
    value: float,
    interval: tuple[float, float],
    *,
    blocks: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Estimate:
    """An estimate with its verdict on 10 < N < 100; none where anything blocks it, but for a bound beyond the band."""
    low, high = interval
    beyond = low >= BAND[1] and all(block.startswith(LOWER_BOUND) for block in blocks)
    verdict = Verdict.INCONCLUSIVE if blocks and not beyond else verdict_on(low, high)
    reasons = list(blocks)
    if verdict == Verdict.INCONCLUSIVE and not blocks:
        sides = zip(("below", "above"), BAND, strict=True)
        reasons += [f"{TOO_WIDE}: reaches {side} {end:g}" for side, end in sides if low <= end <= high]
    return Estimate(
        key, name, value, low, high, LEVEL, verdict, "; ".join([*reasons, *notes]), settled=not blocks
    )  # fmt: skip


def not_measured(key: str, name: str, reason: str) -> Estimate:
    """An estimate that these runs do not allow, and why."""
    unjudged = judged(key, name, math.nan, (math.nan, math.nan), blocks=[reason])
    return replace(unjudged, verdict=Verdict.NOT_MEASURED)
