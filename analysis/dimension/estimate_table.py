"""Every estimate of the latent dimension that the data need, each with an interval and its own verdict.

On the paper's data the verdict is on its hypothesis 10 < N < 100: confirmed where the interval lies inside, refuted
where it lies outside, else inconclusive. On other data there is no hypothesis, and an estimate is settled or not. An
estimate that still moved in the last fifth of training, or that rests on one seed, gives no verdict and is not settled.
Where the test loss rose in that fifth, there is no N either.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from analysis.dimension.curve_shapes import MOST_MOVED, moved
from analysis.dimension.description_length import MARGINS
from analysis.dimension.estimate import LEVEL, TOO_WIDE, Estimate, judged, not_measured, verdict_on
from analysis.dimension.intrinsic_estimates import Intrinsic
from analysis.dimension.local_dimension import (
    NAMED_SCALE,
    all_digits,
    intrinsic_estimates,
    largest_sample,
    local_dimension,
)
from analysis.dimension.network_estimates import CONTROL_ESTIMATORS, ESTIMATORS, OTHER_PLATEAU, Estimator
from analysis.dimension.seed_estimates import OVERFITTED, SeedEstimates, Sweeps
from analysis.dimension.sweeps import FRACTIONS, PAPERS
from analysis.figures.base import NotApplicableError
from analysis.formats import ABSENT, figures, frame_of, table
from analysis.intervals import least_error, t_interval
from analysis.verdict import Verdict

OWN_ARMS = {"needs study intrinsic": "task: intrinsic_dimension", "needs a study with PCA": "task: pca"}
"""Fields of an arm that gives an estimate in a study of the paper's data."""
UNFINISHED = "none of its replicates has finished"
ORDER = "LUIabcefg"
"""The estimates in the order in which they are listed, by the first letter of their keys."""
PCA_SHARES = (90, 95, 99)
TOLD = (0.2, 0.5, 0.8, 1.0)
"""The shares of the training at which a row of the answer tells its value."""
_FACTORS = re.compile(r"(?:strokes|mnist-pca|mnist-decoder)-(\d+)(?:-one)?(?:-tail|-16px|-64px|-colour)?")
_SHORT = {
    "L": "VAE, -ELBO", "L bound": "importance-weighted", "L rule": "other plateau", "L best": "first edition",
    "U": "variance > 0.01", "U kl": "KL > 0.01 nats", "I": "TwoNN, MLE, Gride",
    "a": "ELU, 1 nat", "a 1 %": "ELU, 1 % of excess", "a 5 %": "ELU, 5 % of excess", "a linear": "linear, 1 nat",
    "a vae": "VAE, 1 nat", "b": "ELU", "b equal": "ELU, equal steps",
    "c": "variance > 0.01", "c 0.1": "variance > 0.1", "f": "ELU", "f vae": "VAE", "f linear": "linear",
    "g 90 %": "90 %", "g 95 %": "95 %", "g 99 %": "99 %",
}  # fmt: skip


@dataclass(frozen=True)
class ControlEstimate:
    """An estimate of the dimension of a dataset whose dimension is known.

    Attributes:
        estimator: A key of CONTROL_ESTIMATORS, or the label of an estimator of the images' own dimension.
        dataset: A name in DATASETS.
        known: The true dimension.
        value: The estimate, `low` and `high` its interval.
        low: Lower end of the interval.
        high: Upper end.
        corrected: The estimate after correction for bias, of the images' own dimension only, at the largest sample size
            for which there are cubes; else NaN.
        error: `value - known`; of a range, that of the end that lies farther off.
        nearest_error: The same of the nearer end.
        corrected_error: `corrected - known`.
        settled: Whether nothing (one seed, not converged, only a bound) prevents a verdict on the estimator.
        between: The least and the most that N may be on the grid, where the value is interpolated.
        seeds: How many seeds it rests on.
        sample_size: How many images an estimator of their own dimension had; else None.
        reason: Why it is not settled, and further remarks for the reader.
    """

    estimator: str
    dataset: str
    known: int
    value: float
    low: float
    high: float
    corrected: float
    error: float
    nearest_error: float
    corrected_error: float
    settled: bool
    between: tuple[int, int] | None
    seeds: int
    sample_size: int | None
    reason: str

    def recovered(self, tolerance: float) -> Verdict:
        """Decides whether its interval, and every N that the grid allows, lie within a tolerance of what is known."""
        if not self.settled or math.isnan(self.low):
            return Verdict.INCONCLUSIVE
        verdict = within(self.low, self.high, self.known, tolerance)
        if verdict == Verdict.CONFIRMED and self.between:
            on_the_grid = within(*self.between, self.known, tolerance)
            return verdict if on_the_grid == Verdict.CONFIRMED else Verdict.INCONCLUSIVE
        return verdict


def within(low: float, high: float, known: float, tolerance: float) -> Verdict:
    """Confirmed if an interval lies within a tolerance of a known number, refuted if wholly outside."""
    if low >= known - tolerance and high <= known + tolerance:
        return Verdict.CONFIRMED
    return Verdict.REFUTED if high < known - tolerance or low > known + tolerance else Verdict.INCONCLUSIVE


def estimates_of(
    sweeps: Sweeps,
    images: Sequence[Intrinsic],
    spectrum: np.ndarray | None,
    disturbed: Sequence[Intrinsic] = (),
    tasks: Collection[str] = (),
) -> list[Estimate]:
    """Makes the estimates of a dataset's latent dimension, (L), (U), (I) and (a) to (g) of docs/science.md.

    Args:
        sweeps: Of networks trained on the dataset.
        images: The dataset's estimates of the images' own dimension.
        spectrum: PCA's eigenvalues, falling; None without PCA.
        disturbed: Estimates of the dimension of the same images, disturbed: see DISTURBED.
        tasks: The tasks of the arms that the runs' specs have for the dataset, finished or not.
    """
    estimates = [
        *(estimated(key, estimator, sweeps) for key, estimator in ESTIMATORS.items()),
        local_dimension(images, disturbed),
        *intrinsic_estimates(images),
        *_pca_estimates(spectrum),
    ]
    if sweeps.dataset != PAPERS:
        estimates = [
            replace(one, verdict=_without_band(one), reason=_for_others(one.reason, tasks))
            for one in estimates
            if one.key != OTHER_PLATEAU
        ]
    return sorted(estimates, key=lambda estimate: ORDER.index(estimate.key[0]))


def _for_others(reason: str, tasks: Collection[str] = ()) -> str:
    """A reason without the band and the studies of the paper's data; it names what a spec of one's own lacks."""
    for needed, arm in OWN_ARMS.items():
        started = arm.removeprefix("task: ") in tasks
        reason = reason.replace(needed, UNFINISHED if started else f"no arm for it: add {{{arm}}}")
    return "; ".join(part for part in reason.split("; ") if not part.startswith(TOO_WIDE))


def _without_band(estimate: Estimate) -> Verdict:
    """The verdict on data of which the paper supposes nothing."""
    if estimate.verdict == Verdict.NOT_MEASURED:
        return estimate.verdict
    known = estimate.settled and not math.isnan(estimate.low)
    return Verdict.SETTLED if known else Verdict.UNSETTLED


def to_frame(estimates: Iterable[Estimate]) -> pd.DataFrame:
    """A row for each estimate; its attributes but the last three."""
    return frame_of(Estimate, estimates).drop(columns=["settled", "between", "margins"])


def history(sweeps: Sweeps) -> pd.DataFrame:
    """The estimates of trained networks against training: `key, name, fraction, value`.

    `fraction` is the share of each network's own run, since their lengths may differ with N; `value` is taken on the
    mean over seeds.
    """
    rows = []
    for key, estimator in ESTIMATORS.items():
        try:
            values = estimator.measure(sweeps).history
        except NotApplicableError:
            continue
        points = zip(FRACTIONS, values if values is not None else [], strict=values is not None)
        rows += [(key, estimator.name, fraction, value) for fraction, value in points if np.isfinite(value)]
    return pd.DataFrame(rows, columns=["key", "name", "fraction", "value"])


def controls_of(dataset: str, sweeps: Sweeps, images: Sequence[Intrinsic]) -> list[ControlEstimate]:
    """Makes the results of all estimators on a dataset whose dimension is known; none on another.

    Args:
        dataset: A name in DATASETS.
        sweeps: Of networks trained on it.
        images: Its estimates of the images' own dimension.
    """
    known = known_dimension(dataset)
    if known is None:
        return []
    trained = [estimated(key, estimator, sweeps) for key, estimator in CONTROL_ESTIMATORS.items()]
    images_own = local_dimension(images)
    controls = [
        ControlEstimate(
            e.key, dataset, known, e.value, e.low, e.high, math.nan, *_errors(e, known), math.nan,
            e.settled, e.between, e.seeds, None, _for_others(e.reason),
        )
        for e in (*trained, images_own) if e.verdict != Verdict.NOT_MEASURED
    ]  # fmt: skip
    for _, samples in groupby(all_digits(images), key=lambda i: (i.estimator, i.scale)):
        i = largest_sample(list(samples), corrected=True)
        controls.append(
            ControlEstimate(
                i.label, dataset, known, i.value, i.low, i.high, i.corrected, i.value - known, i.value - known,
                i.corrected - known, math.isfinite(i.low), None, i.seeds, i.sample_size, i.reason,
            )
        )  # fmt: skip
    return controls


def known_dimension(dataset: str) -> int | None:
    """The number of continuous factors of a control, from its dataset's name; None of any other dataset."""
    match = _FACTORS.fullmatch("strokes-8" if dataset == "strokes" else dataset)
    return int(match[1]) if match else None


def _errors(estimate: Estimate, known: int) -> tuple[float, float]:
    """The error of an estimate, twice; of a range, those of the farther and of the nearer end."""
    ends = [end for end in (estimate.least, estimate.most) if math.isfinite(end)] or [estimate.value]
    nearer, *_, farther = sorted(2 * [end - known for end in ends], key=abs)
    return farther, nearer


def headline(estimates: Sequence[Estimate]) -> str:
    """The answer's rows in a sentence."""
    rows = [one for one in estimates if one.headline]
    texts = [f"({e.key}) {e.name}, {e.text}: {e.verdict}" + _because(e) for e in rows]
    return f"N: {'; '.join(texts)}."


def card_name(key: str) -> str | None:
    """The card's name of an estimate; None of those that it leaves out: by digit, and at all scales but one."""
    if key[0] != "e":
        return _SHORT.get(key)
    scale = re.search(r" (\d+)( corrected)?$", key)
    return None if " digit " in key or (scale and int(scale[1]) != NAMED_SCALE) else key.removeprefix("e ")


def markdown(estimates: Iterable[Estimate]) -> str:
    """The card's estimates as a table in Markdown, the headline in bold."""
    rows = []
    for e in estimates:
        if card_name(e.key) is None:
            continue
        bold = [f"**{text}**" if e.headline else text for text in (e.key, e.name, e.text, e.verdict)]
        rows.append((*bold, e.seeds or ABSENT, e.steps or ABSENT, e.reason))
    return table(("", "estimate", "N [95 % interval]", "verdict", "seeds", "steps", "notes"), rows) + "\n"


def _because(estimate: Estimate) -> str:
    undecided = estimate.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED, Verdict.UNSETTLED)
    return f" ({estimate.reason})" if estimate.reason and undecided else ""


def estimated(key: str, estimator: Estimator, sweeps: Sweeps) -> Estimate:
    """An estimate from trained networks, with its interval and verdict."""
    place: dict[str, Any] = {"headline": estimator.headline, "beforehand": estimator.beforehand}
    try:
        seeds = estimator.measure(sweeps)
    except NotApplicableError as reason:
        return replace(not_measured(key, estimator.name, str(reason)), **place)
    number = len(seeds.per_seed)
    if rising := [block for block in seeds.blocks if block.startswith(OVERFITTED)]:
        withheld = judged(key, estimator.name, math.nan, (math.nan, math.nan), blocks=rising)
        return replace(withheld, seeds=number, steps=seeds.steps, **place)
    low, high, problem = _interval(seeds)
    blocks = [*_not_converged(seeds), *seeds.blocks, *problem]
    alike = [f"the same in each of {number} seeds"] if number > 1 and not np.ptp(seeds.per_seed) else []
    margins = {
        share: (value, *_interval(replace(seeds, per_seed=own, parts=()))[:2])
        for share, (value, own) in seeds.margins.items()
    }
    shown = _of_margins(margins, sweeps.dataset) if estimator.headline or sweeps.dataset == PAPERS else ()
    notes = (*alike, *shown, *(_while_training(seeds) if estimator.headline else ()), *seeds.notes)
    estimate = judged(key, estimator.name, seeds.value, (low, high), blocks=blocks, notes=notes)
    means = [float(part.mean()) for part in seeds.parts]
    return replace(
        estimate,
        seeds=number,
        steps=seeds.steps,
        between=seeds.between,
        least=min(means, default=math.nan),
        most=max(means, default=math.nan),
        margins=margins,
        **place,
    )


def _of_margins(margins: Mapping[float, tuple[float, float, float]], dataset: str) -> tuple[str, ...]:
    """Remarks on the value at other margins, and on the margins at which the verdict of its interval turns."""
    if not margins:
        return ()
    listed = ", ".join(figures(margins[share][0]) for share in MARGINS)
    text = f"N = {listed} at {', '.join(f'{share:g}' for share in MARGINS)} times the margin"
    turns = turning(margins) if dataset == PAPERS else ()
    named = (
        f"{verdict} from {share:.3g} times on" if share > 1 else f"{verdict} up to {share:.3g}"
        for share, verdict in turns
    )
    return (text, f"its interval alone: {verdict_on(*margins[1.0][1:])}, but {', '.join(named)}") if turns else (text,)


def _while_training(seeds: SeedEstimates) -> tuple[str, ...]:
    """A remark on the value at shares of the training, of each network's own; none where it is not known at one."""
    if seeds.history is None:
        return ()
    values = seeds.history[np.searchsorted(FRACTIONS, np.array(TOLD) - 1e-9)]
    if not np.isfinite(values).all():
        return ()
    shares = ", ".join(f"{100 * share:.0f}" for share in TOLD)
    return (f"N = {', '.join(map(figures, values))} after {shares} % of the training",)


def turning(margins: Mapping[float, tuple[float, float, float]]) -> tuple[tuple[float, Verdict], ...]:
    """The multiples of the margin next to 1, below and above, at which an interval gives another verdict, and which."""
    verdicts = {share: verdict_on(low, high) for share, (_, low, high) in margins.items()}
    other = {share: verdict for share, verdict in verdicts.items() if verdict != verdicts[1.0]}
    below = max((share for share in other if share < 1), default=None)
    above = min((share for share in other if share > 1), default=None)
    return tuple((share, other[share]) for share in (below, above) if share is not None)


def _interval(seeds: SeedEstimates) -> tuple[float, float, list[str]]:
    """The t interval over seeds, or NaN and why there is none; of a range, the hull of its parts' intervals.

    No N is negative: the interval ends at 0, which leaves out no N that may be.
    """
    if len(seeds.parts) > 1:
        ends = [_interval(replace(seeds, per_seed=part, parts=())) for part in seeds.parts]
        return min(low for low, *_ in ends), max(high for _, high, _ in ends), ends[0][2]
    values, lost = seeds.per_seed, int((~np.isfinite(seeds.per_seed)).sum())
    if len(values) < 2:
        return np.nan, np.nan, ["1 seed: no interval"]
    if lost:
        return np.nan, np.nan, [f"no interval: {lost} of {len(values)} seeds have none"] if lost < len(values) else []
    if not seeds.logarithmic:
        error = least_error(values, seeds.resolution)
        low, high = t_interval(values, level=LEVEL, least_error=error)
        return max(low, 0.0), high, []
    low, high = np.exp(t_interval(np.log(values), level=LEVEL))
    return float(low), float(high), []


def _not_converged(seeds: SeedEstimates) -> list[str]:
    if seeds.history is None or not np.isfinite(seeds.value):
        return []
    share = moved(seeds.history, FRACTIONS)
    if np.isnan(share):
        return ["convergence not known: no estimate at four fifths of training"]
    if share <= MOST_MOVED:
        return []
    if np.isinf(share):
        return ["not converged: moved to 0 over the last fifth of training"]
    return [f"not converged: moved {share:.0%} over the last fifth of training".replace("%", " %")]


def _pca_estimates(spectrum: np.ndarray | None) -> Iterator[Estimate]:
    """(g) Components of PCA for a share of the train images' variance."""
    for share in PCA_SHARES:
        key, name = f"g {share} %", f"PCA, {share} % of the variance"
        if spectrum is None:
            yield not_measured(key, name, "needs a study with PCA")
            continue
        if not spectrum.sum() > 0:
            yield not_measured(key, name, "the training images do not differ")
            continue
        total = np.cumsum(spectrum) / spectrum.sum()
        value = float(np.searchsorted(total, share / 100) + 1)
        yield judged(key, name, value, (value, value), notes=["closed form"])
