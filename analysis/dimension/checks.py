"""The answer's rows where the dimension is known, and MNIST read at the controls' protocol, so that both are alike."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from analysis.dimension.description_length import MARGIN
from analysis.dimension.estimate import Estimate
from analysis.dimension.estimate_table import ControlEstimate, estimated, known_dimension
from analysis.dimension.loss_law import LossLaw
from analysis.dimension.network_estimates import CONTROL_ESTIMATORS, OTHER_PLATEAU, fitted_law, law_of_loss
from analysis.dimension.seed_estimates import Sweeps, final_values, sweeps_of
from analysis.dimension.sweeps import Networks, Sweep
from analysis.figures.base import NotApplicableError
from analysis.formats import decimals
from analysis.verdict import Verdict

MOST_KNOWN = 16
"""The largest k at which a row must recover the factors of one class."""
TAIL = "-tail"
"""The ending of the names of strokes with a tail of noise."""
_CLIFF = f"for less than {MARGIN:g} nat is left to fall"
_ONE_CLASS = re.compile(r"strokes-\d+-one(-\d+px|-colour)?")
ROWS = ("L", "U", "I")
DECIDED = (Verdict.CONFIRMED, Verdict.REFUTED, Verdict.INCONCLUSIVE)
"""The verdicts on a recovery in the order of the answer's table."""


@dataclass(frozen=True)
class Check:
    """A row of the answer where the dimension is known, by k, the number of factors.

    Attributes:
        one_class: The row's estimates of strokes of one class.
        ten_classes: Of strokes of ten classes, where the class is a factor too.
    """

    one_class: dict[int, ControlEstimate]
    ten_classes: dict[int, ControlEstimate]

    def at(self, verdict: Verdict) -> list[int]:
        """The k up to MOST_KNOWN of one class where the recovery has this verdict: see `recovery`."""
        return [k for k, one in self.one_class.items() if k <= MOST_KNOWN and recovery(one) == verdict]

    @property
    def short(self) -> str:
        """The check in a few words, up to MOST_KNOWN."""
        if not self.one_class:
            return "not checked: study controls"
        texts = []
        for verdict in DECIDED:
            controls = sorted((self.one_class[k] for k in self.at(verdict)), key=_open_by_grid)
            texts += [_listed(verdict, list(alike)) for _, alike in groupby(controls, key=_open_by_grid)]
        if self.offsets:
            texts.append(f"ten classes {' to '.join(dict.fromkeys(f'{end:+.1f}' for end in self.offsets))}")
        return "; ".join(texts)

    @property
    def offsets(self) -> tuple[float, float] | None:
        """The least and the largest error on ten classes up to MOST_KNOWN, of a range those of both ends."""
        controls = [one for k, one in self.ten_classes.items() if k <= MOST_KNOWN]
        errors = [error for one in controls for error in (one.error, one.nearest_error)]
        return (min(errors), max(errors)) if errors else None

    @property
    def text(self) -> str:
        """The check in words, of every k."""
        if not self.one_class:
            return "not checked: needs the study controls"
        large = [
            f"{name} at k = {k} {one.error:+.1f}"
            for name, found in (("one class", self.one_class), ("ten classes", self.ten_classes))
            for k, one in found.items()
            if k > MOST_KNOWN
        ]
        return "; ".join([f"one class {self.short}", *large])


def _open_by_grid(control: ControlEstimate) -> bool:
    """Whether only the grid leaves a recovery open: more seeds cannot decide it, more N can."""
    return recovery(control) == Verdict.INCONCLUSIVE != recovery(replace(control, between=None))


def _listed(verdict: Verdict, controls: Sequence[ControlEstimate]) -> str:
    """Controls of one verdict with their errors, and why they are open."""
    if verdict == Verdict.CONFIRMED:
        return f"right at k = {', '.join(str(one.known) for one in controls)}"
    errors = [f"{one.error:+.1f}" for one in controls]
    alike = len({*errors}) == 1
    ks = ", ".join(f"{one.known}{'' if alike else f' ({e})'}" for one, e in zip(controls, errors, strict=True))
    text = f"{errors[0]} at k = {ks}" if alike else f"off at k = {ks}"
    if verdict == Verdict.REFUTED:
        return f"wrong: {text}"
    if _open_by_grid(controls[0]):
        spans = (f"{least} to {most}" for one in controls for least, most in filter(None, (one.between,)))
        return f"{text}: open, for the grid allows N = {', '.join(spans)}"
    return f"{text}: open with {min(one.seeds for one in controls)} seeds"


@dataclass(frozen=True)
class Matched:
    """The estimates of a dataset at the protocol of the controls.

    Attributes:
        steps: Training steps.
        latent_dims: The N that both were trained at.
        estimates: By key of CONTROL_ESTIMATORS.
    """

    steps: int
    latent_dims: tuple[int, ...]
    estimates: dict[str, Estimate]

    @property
    def protocol(self) -> str:
        """The protocol in words."""
        return f"{self.steps:,} steps, N = {', '.join(map(str, self.latent_dims))}"


@dataclass(frozen=True)
class Fall:
    """The fall of a plain auto-encoder's loss on a control, from its known dimension k on.

    Attributes:
        dataset: A name in DATASETS.
        first: The least N that was trained from k on.
        last: The largest N.
        gain: The loss at `first` less that at `last`, on the mean over seeds, nats per image.
        law: The law of the fall, whether or not N follows from it; or why there is none.
    """

    dataset: str
    first: int
    last: int
    gain: float
    law: LossLaw | str

    @property
    def text(self) -> str:
        """The fall in words."""
        fallen = f"{decimals(self.gain)} nats from N = {self.first} to {self.last}"
        law = self.law
        return f"{fallen}, by a power law" if isinstance(law, LossLaw) and law.holds else fallen


def recovery(control: ControlEstimate) -> Verdict:
    """Decides whether an estimate is near enough to what is known: within 1 or a tenth of it, whichever is more."""
    return control.recovered(max(1.0, 0.1 * control.known))


def resized(dataset: str) -> bool:
    """Whether a control has images of another size than MNIST's, or in colour."""
    return dataset.endswith(("px", "-colour"))


def checking(dataset: str) -> bool:
    """Whether a control checks the rows of the answer. Strokes do, but for those with a tail of noise."""
    return dataset.startswith("strokes") and not dataset.endswith(TAIL)


def checks(controls: Iterable[ControlEstimate], *, papers: bool) -> dict[str, Check]:
    """The check of each of ROWS on the strokes among these estimates; of one k in several sizes, on MNIST's size.

    `papers`: whether it is for the paper's data, whose (L) has a rule of its own for the plateau.
    """
    found = {key: Check({}, {}) for key in ROWS}
    rows = found | ({OTHER_PLATEAU: found["L"], "L": Check({}, {})} if papers else {})
    for control in sorted(controls, key=lambda one: resized(one.dataset)):
        if control.estimator in rows and checking(control.dataset) and math.isfinite(control.error):
            check = rows[control.estimator]
            side = check.one_class if _ONE_CLASS.fullmatch(control.dataset) else check.ten_classes
            side.setdefault(control.known, control)
    return found


def matched(studies: Sequence[Networks], own: Sweeps, controls: Iterable[Sweeps]) -> Matched | None:
    """Reads a dataset's estimates from its `own` sweeps at the protocol of the `controls`'.

    The protocol is the number of steps that most controls had, and the N that all of these and the dataset have. None
    where there is nothing to match: no control, no sweep, or the same protocol.
    """
    sweeps = [sweep for control in controls for sweep in _sweeps(control) if len(sweep.latent_dims) > 1]
    mine = _sweeps(own)
    if not sweeps or not mine:
        return None
    ((steps, _),) = Counter(int(sweep.steps.max()) for sweep in sweeps).most_common(1)
    sweeps = [sweep for sweep in sweeps if sweep.steps.max() == steps]
    shared = set.intersection(*(set(sweep.latent_dims.tolist()) for sweep in sweeps))
    dims = {n for n in shared if all(n in sweep.latent_dims for sweep in mine)}
    if len(dims) < 2 or all(sweep.steps.max() <= steps and set(sweep.latent_dims) == dims for sweep in mine):
        return None
    return Matched(steps, tuple(sorted(dims)), estimates_at(studies, own.dataset, steps, dims))


def estimates_at(
    studies: Sequence[Networks], dataset: str, steps: int, latent_dims: Collection[int]
) -> dict[str, Estimate]:
    """A dataset's estimates as if training had ended after some steps, at these N; by key of CONTROL_ESTIMATORS."""
    read = sweeps_of(studies, dataset, at=(steps, latent_dims))
    return {key: estimated(key, estimator, read) for key, estimator in CONTROL_ESTIMATORS.items()}


def _sweeps(sweeps: Sweeps) -> list[Sweep]:
    """The sweeps of the VAE and the auto-encoder, as far as there are any."""
    found = [sweeps.by_network[network] for network in ("vae", "elu")]
    return [sweep for sweep in found if isinstance(sweep, Sweep)]


def falls(controls: Mapping[str, Sweeps]) -> Iterator[Fall]:
    """The fall of the loss on strokes with a tail of noise, each after that on the same strokes without one.

    Args:
        controls: The sweeps of each dataset whose dimension is known.
    """
    tails = sorted(name for name in controls if name.endswith(TAIL))
    names = [name for tail in tails for name in (tail.removesuffix(TAIL), tail) if name in controls]
    for dataset in names:
        curves = controls[dataset].by_network["elu"]
        if isinstance(curves, Sweep) and (beyond := curves.latent_dims >= (known_dimension(dataset) or 0)).sum() > 1:
            loss, dims = final_values(curves, "test_nll").mean(0)[beyond], curves.latent_dims[beyond]
            gain = float(loss[0] - loss[-1])
            law = _CLIFF if gain < MARGIN else law_or_reason(controls[dataset], fitted_law)
            yield Fall(dataset, int(dims[0]), int(dims[-1]), gain, law)


def law_or_reason(sweeps: Sweeps, read: Callable[[Sweeps], LossLaw] = law_of_loss) -> LossLaw | str:
    """The law of a plain auto-encoder's loss, or why there is none."""
    try:
        return read(sweeps)
    except NotApplicableError as reason:
        return str(reason)
