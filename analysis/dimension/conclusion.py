"""The conclusion on a data set's dimension: a paragraph, a table of few rows, and an N for each purpose.

The README, the results page, the report's first screen and the command `analysis dimension` all tell this one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.dimension.checks import TAIL, Fall
from analysis.dimension.curve_shapes import first_within, rounded_up
from analysis.dimension.description_length import MARGIN, accepted_loss
from analysis.dimension.estimate import Estimate
from analysis.dimension.estimate_table import known_dimension
from analysis.dimension.loss_law import ACCEPTED, UNKNOWN, LossLaw
from analysis.dimension.network_estimates import plateau_of, rising_from
from analysis.dimension.remedies import remedies
from analysis.dimension.seed_estimates import NO_SPARE, unlearned
from analysis.dimension.sweeps import DATA, LEAST_DIMS, PAPERS, Sweep
from analysis.evidence import Evidence
from analysis.formats import ABSENT, VAST, decimals, figures, table, with_interval
from analysis.verdict import Verdict, combine

NAMES = {
    "L": ("Description length", "all further latents together save a VAE less than {margin}"),
    "U": ("Active units", "latents that a VAE with room to spare uses"),
    "I": ("The images' own dimension", "directions in which neighbouring images differ"),
    "law": ("A plain auto-encoder", "set by the loss that one accepts"),
    "a": ("Its saturation", "its loss is within 1 nat of the grid's best"),
    "c": ("The largest VAE", "latents that this one network uses"),
}
"""The rows: what each is called, and what its N means, with the margin of (L) left open."""
HEADER = ("", "estimate", "N is", "N", "10 < N < 100", "error where N is known")
AFTER = "chosen after MNIST's tables had been seen"
BEFORE = "fixed beforehand"
POINT = 0.01
"""The accuracy within which codes classify as well as the best ones."""
NEAR, FAR = 1.0, 4.0
"""Multiples of the margin within which an auto-encoder reconstructs."""


@dataclass(frozen=True)
class Row:
    """A row of the conclusion as text: NAMES of `key`, the number, the verdict, the check on the ruler, remarks."""

    key: str
    name: str
    meaning: str
    number: str
    verdict: str
    check: str
    note: str


@dataclass(frozen=True)
class Conclusion:
    """The conclusion on a data set.

    Attributes:
        data: The data set as a reader writes it.
        papers: Whether it is the paper's, so that there is a verdict on 10 < N < 100.
        verdict: The verdict of the three rows (L), (U) and (I).
        beforehand: The verdict of the two estimates that were fixed beforehand.
        paragraph: The answer in words, with what matters between double asterisks.
        rows: The table, NAMES in its order.
        purposes: An N for each purpose, a sentence each.
        open: What is not settled, with the command that settles it.
    """

    data: str
    papers: bool
    verdict: Verdict
    beforehand: Verdict
    paragraph: str
    rows: tuple[Row, ...]
    purposes: tuple[str, ...]
    open: tuple[str, ...]

    @property
    def header(self) -> tuple[str, ...]:
        """The table's header."""
        return HEADER if self.papers else (*HEADER[:4], "settled?", HEADER[5])

    def table(self) -> str:
        """The rows in Markdown."""
        rows = [(f"({r.key})", r.name, r.meaning, r.number, r.verdict, r.check) for r in self.rows]
        return table(self.header, [[cell.replace("(law)", "") for cell in row] for row in rows])


def concluded(evidence: Evidence) -> Conclusion:
    """The conclusion from some runs."""
    by_key = {one.key: one for one in evidence.estimates}
    papers = evidence.dataset == PAPERS
    margin = "a small share of its loss"
    if papers or math.isfinite(by_key["L"].value):
        margin = _nats(MARGIN) if papers else _margin(evidence)
    rows = [_row(by_key[key], evidence, margin) for key in ("L", "U", "I")]
    rows.append(_law_row(evidence.law, evidence.falls, papers))
    if papers:
        rows += [_row(by_key[key], evidence, margin) for key in ("a", "c")]
    return Conclusion(
        data=DATA.get(evidence.dataset, evidence.dataset),
        papers=papers,
        verdict=combine((by_key[key].verdict for key in "LUI"), "split"),
        beforehand=combine((by_key[key].verdict for key in "ac"), "split"),
        paragraph=" ".join(_paragraph(evidence, by_key)),
        rows=tuple(rows),
        purposes=tuple(_purposes(evidence, by_key)),
        open=tuple(remedies(evidence.tables, evidence.dataset, evidence.sweeps, evidence.estimates, evidence.law)),
    )


def _row(estimate: Estimate, evidence: Evidence, margin: str) -> Row:
    check = evidence.checks[estimate.key].short if estimate.key in evidence.checks else ""
    when = {True: AFTER, False: BEFORE if estimate.beforehand else ""}[estimate.headline]
    reason = estimate.reason if estimate.verdict != Verdict.CONFIRMED else ""
    if estimate.key == "a" and estimate.margins:
        reason = f"no answer: {reason}"
    notes = (when if evidence.dataset == PAPERS else "", reason)
    name, meaning = (text.format(margin=margin) for text in NAMES[estimate.key])
    verdict, note = _with_cause(estimate), "; ".join(filter(None, notes))
    return Row(estimate.key, name, meaning, estimate.number, verdict, check, note)


def _with_cause(estimate: Estimate) -> str:
    """The verdict; where it is open, with the cause."""
    if estimate.verdict not in (Verdict.INCONCLUSIVE, Verdict.UNSETTLED):
        return estimate.verdict
    return f"{estimate.verdict}: {estimate.cause}"


def _law_row(law: LossLaw | str, falls: Sequence[Fall], papers: bool) -> Row:
    name, meaning = NAMES["law"]
    check = "; ".join(f"{_drawn(fall.dataset)}: its loss falls by {fall.text}" for fall in falls)
    if isinstance(law, str):
        return Row("law", name, meaning, ABSENT, Verdict.NOT_MEASURED, check, law)
    told = ", ".join(_accepted(law, m) for m in ACCEPTED)
    number, verdict = (told, "no answer") if law.holds else (ABSENT, "no power law")
    return Row("law", name, meaning, number, verdict, check, f"{AFTER}; {law_text(law)}" if papers else law_text(law))


def _drawn(dataset: str) -> str:
    """The strokes of a fall in the fewest words."""
    return "with a tail of noise" if dataset.endswith(TAIL) else f"k = {known_dimension(dataset)}"


def law_text(law: LossLaw) -> str:
    """The law's numbers in words: its exponent, what it predicts, and how the other laws do."""
    told = ", ".join(
        f"{value:.2f} at N = {n} (measured {measured:.2f})" for n, (value, measured) in law.predicted.items()
    )
    errors = {name: f"{fitted:.2g} and {ahead:.2g}" for name, (fitted, ahead) in law.errors.items()}
    spread = f"{min(law.exponents):.2f} to {max(law.exponents):.2f}"
    largest = ", ".join(f"{name} {text}" for name, text in errors.items())
    return (
        f"the excess over the entropy floor is {with_interval(*law.c, decimals)} + {law.fit.a:.0f} N^-b nats with b ="
        f" {with_interval(*law.b)} over seeds, {spread} by the range that is fitted; the intervals of its N are the "
        f"hull of both; fitted to N = {law.fitted[0]} to {law.fitted[-1]} it gives {told}; largest errors on the N "
        f"that were fitted, and on those ahead, in nats: {largest}"
    )


def _nats(amount: float) -> str:
    return f"{amount:.2g} nat{'s' * (round(amount, 2) != 1)}"


def _paragraph(evidence: Evidence, by_key: dict[str, Estimate]) -> Iterator[str]:
    """The sentences of the paragraph, as far as there are numbers."""
    law = evidence.law
    papers = evidence.dataset == PAPERS
    length, units, images = (by_key[key] for key in "LUI")
    if all(math.isnan(one.value) for one in (length, units, images)) and isinstance(law, str):
        yield "These runs do not say how many dimensions the images need."
        return

    def mark(estimate: Estimate) -> str:
        """An estimate's key; of other data than the paper's, which have no sentence on the band, with its doubt."""
        return f"({estimate.key})" if papers or estimate.settled else f"({estimate.key}, not settled)"

    yield "It depends on what a dimension costs."
    paid = []
    if math.isfinite(length.value):
        saved = f"together save it less than {_margin(evidence)} {mark(length)}"
        paid.append(f"all latents beyond **N = {rounded_up(length.value)}** {saved}")
    if _has_room(units):
        paid.append(f"with room to spare it keeps **{units.short}** in use {mark(units)}{_too_many(evidence)}")
    if paid:
        yield f"A VAE pays for each one that it uses: {', and '.join(paid)}."
    if math.isfinite(images.value):
        yield f"Near an image, on average, the others lie in **{images.short}** directions {mark(images)}."
    if isinstance(law, LossLaw) and law.holds:
        largest = max(law.predicted)
        yield (
            f"A plain auto-encoder pays nothing: **up to N = {largest}, its loss goes on falling**, about like N to "
            f"the power -{law.b[0]:.2f}. Its N follows from the loss that one accepts above the limit of that curve, "
            "which no network reaches: "
            f"{', '.join(_accepted(law, m) for m in ACCEPTED)}."
        )
    if papers:
        yield _on_the_band([length, units, images])


def _too_many(evidence: Evidence) -> str:
    """The sentence on how far (U) overcounts on images of ten classes with known factors; empty without them."""
    offsets = evidence.checks["U"].offsets
    if offsets is None or offsets[0] <= 0:
        return ""
    span = " to ".join(dict.fromkeys(f"{end:g}" for end in offsets))
    shorter = "" if evidence.matched is None else f" after {evidence.matched.steps:,} steps"
    return f". On drawn images of ten classes, whose factors are known, such a count is {span} too high{shorter}"


def _accepted(law: LossLaw, margin: float) -> str:
    """The N of a plain auto-encoder for an accepted loss, with its interval, marked where it is an extrapolation."""
    value, low, high = law.tolerance[margin]
    ends = f" [{_whole(low)}, {_whole(high)}]" if math.isfinite(low) else ""
    doubt = law_doubt(law, margin)
    return f"{_whole(value)}{ends} for {_nats(margin)}" + f" ({doubt})" * bool(doubt)


def law_doubt(law: LossLaw, margin: float) -> str:
    """The reasons not to trust the law's N for an accepted loss; empty without any."""
    doubts = {
        "not converged": not law.converged(margin),
        UNKNOWN: not law.known(margin),
        "beyond all N trained": law.tolerance[margin][0] > max(law.predicted),
    }
    return " and ".join(text for text, applies in doubts.items() if applies)


def _whole(value: float) -> str:
    """A whole number; a vast one to three digits."""
    return f"{value:.0f}" if value < VAST else figures(value)


def _margin(evidence: Evidence) -> str:
    """The margin of (L), in nats."""
    return _nats(plateau_of(evidence.sweeps).margin)


def _has_room(units: Estimate) -> bool:
    """Whether the VAE has latents that it does not use."""
    return math.isfinite(units.value) and NO_SPARE not in units.reason


def _on_the_band(rows: Sequence[Estimate]) -> str:
    """The sentence on the paper's hypothesis."""
    words = {
        Verdict.CONFIRMED: "holds for",
        Verdict.REFUTED: "does not hold for",
        Verdict.INCONCLUSIVE: "is not decided yet for",
    }
    groups = {verdict: [f"({one.key})" for one in rows if one.verdict == verdict] for verdict in words}
    parts = [f"{words[verdict]} {_and(keys)}" for verdict, keys in groups.items() if keys]
    if not parts:
        return "Whether 10 < N < 100 holds is not measured."
    return f"The paper's 10 < N < 100 {_and(parts)}; for a plain auto-encoder it has no answer."


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _purposes(evidence: Evidence, by_key: dict[str, Estimate]) -> Iterator[str]:
    """An N to reconstruct, to generate and to classify, as far as the runs tell."""
    plain = evidence.sweeps.by_network["elu"]
    if isinstance(plain, Sweep):
        plain = unlearned(plain) or plain
    yield f"To reconstruct: {_to_reconstruct(plain)}."
    length, units = by_key["L"], by_key["U"]
    if math.isfinite(length.value):
        more = f"; a wider one uses {units.short}" if _has_room(units) else ""
        unsettled = "" if length.settled else f" (not settled: {length.cause})"
        yield (
            f"To generate: by the bound on their likelihood, which is no measure of how samples look, a VAE of "
            f"{_enough(length.value, evidence.sweeps.by_network['vae'])}{unsettled}{more}."
        )
    else:
        yield f"To generate: {_not_known(length.reason)}."
    yield f"To classify: {_to_classify(plain)}."


def _to_reconstruct(curves: Sweep | str) -> str:
    if isinstance(curves, str):
        return _not_known(curves)
    means = curves.values["test_nll"][-1].mean(0)
    if len(means) < LEAST_DIMS or not np.isfinite(means).all():
        return _not_known(f"needs an auto-encoder at {LEAST_DIMS} N or more")
    best = float(means.min())
    unit = accepted_loss(best, curves.mean_image)
    enough = {m * unit: first_within(curves.latent_dims, means, best + m * unit) for m in (NEAR, FAR)}
    if rising := rising_from(curves, min(enough.values())):
        return _not_known(rising)
    at = ", ".join(f"{_enough(n, curves)} within {_nats(amount)}" for amount, n in enough.items())
    return f"an auto-encoder of {at} of the best one trained, that of N = {curves.latent_dims[int(np.argmin(means))]}"


def _to_classify(curves: Sweep | str) -> str:
    if isinstance(curves, str):
        return _not_known(curves)
    accuracy = curves.values["probe_knn"][-1]
    accuracy = accuracy[np.isfinite(accuracy).all(1)]
    if not len(accuracy) or len(curves.latent_dims) < LEAST_DIMS:
        return _not_known("add `measurements: [probes]` to the spec; the images need labels")
    means = accuracy.mean(0)
    enough = first_within(curves.latent_dims, -means, -float(means.max()) + POINT)
    if rising := rising_from(curves, enough):
        return _not_known(rising)
    return (
        f"codes of {_enough(enough, curves)} of an auto-encoder: nearest neighbours read them right within a point of "
        f"the best accuracy, {100 * means.max():.1f} %"
    )


def _enough(value: float, curves: Sweep | str) -> str:
    """An interpolated N, rounded up; "about" where no network of the sweep had it."""
    whole = rounded_up(value)
    trained = isinstance(curves, Sweep) and whole in curves.latent_dims
    return f"N = {whole}" if trained else f"about N = {whole}"


def _not_known(reason: str) -> str:
    return f"not settled at this budget ({reason})"
