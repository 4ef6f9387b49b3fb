"""The answer's rows where the dimension is known, and MNIST read at the controls' protocol, so that both are alike."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analysis.dimension.estimate import Estimate
from analysis.dimension.estimate_table import ControlEstimate, estimated
from analysis.dimension.network_estimates import CONTROL_ESTIMATORS
from analysis.dimension.seed_estimates import Sweeps, sweeps_of
from analysis.dimension.sweeps import Networks, Sweep

MOST_KNOWN = 16
"""The largest k at which a row must recover the factors of one class."""
TAIL = "-tail"
"""The ending of the names of strokes with a tail of noise."""
_ONE_CLASS = re.compile(r"strokes-\d+-one(-\d+px|-colour)?")
ROWS = ("L", "U", "I")


@dataclass(frozen=True)
class Check:
    """A row of the answer where the dimension is known.

    Attributes:
        errors: Of strokes of one class, by k: the estimate less k.
        offsets: Of strokes of ten classes, where the class is a factor too, likewise.
    """

    errors: dict[int, float]
    offsets: dict[int, float]

    @property
    def failed(self) -> list[int]:
        """The k up to MOST_KNOWN that the row does not recover on one class."""
        return [k for k, error in self.errors.items() if k <= MOST_KNOWN and not recovered(k, error)]

    @property
    def recovers(self) -> bool:
        """Whether the row recovers every k up to MOST_KNOWN that one class was measured at."""
        return any(k <= MOST_KNOWN for k in self.errors) and not self.failed

    @property
    def short(self) -> str:
        """The check in a few words, up to MOST_KNOWN."""
        if not self.errors:
            return "not checked: study controls"
        right = [k for k in self.errors if k <= MOST_KNOWN and k not in self.failed]
        wrong = ", ".join(f"{k} ({self.errors[k]:+.1f})" for k in self.failed)
        texts = [f"right at k = {', '.join(map(str, right))}"] if right else []
        texts += [f"wrong at {wrong}"] if wrong else []
        return "; ".join([*texts, *filter(None, [self._of_ten_classes])])

    @property
    def _of_ten_classes(self) -> str:
        """The offsets on ten classes up to MOST_KNOWN, from the least to the largest."""
        small = sorted(offset for k, offset in self.offsets.items() if k <= MOST_KNOWN)
        ends = dict.fromkeys(f"{offset:+.1f}" for offset in (small[:1] + small[-1:]))
        return f"ten classes {' to '.join(ends)}" if ends else ""

    @property
    def text(self) -> str:
        """The check in words."""
        if not self.errors:
            return "not checked: needs the study controls"
        held = [k for k in self.errors if k <= MOST_KNOWN and k not in self.failed]
        texts = [f"recovers k = {', '.join(map(str, held))} of one class"] if held else []
        missed = {k: error for k, error in self.errors.items() if not recovered(k, error)}
        texts += [f"misses k = {', '.join(f'{k} ({error:+.1f})' for k, error in missed.items())}"] if missed else []
        large = [f"at k = {k} {offset:+.1f}" for k, offset in self.offsets.items() if k > MOST_KNOWN]
        return "; ".join([*texts, ", ".join(filter(None, [self._of_ten_classes, *large]))])


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


def recovered(known: int, error: float) -> bool:
    """Whether an estimate lies near enough to what is known: within 1 or a tenth of it, whichever is more."""
    return abs(error) <= max(1.0, 0.1 * known)


def resized(dataset: str) -> bool:
    """Whether a control has images of another size than MNIST's, or in colour."""
    return dataset.endswith(("px", "-colour"))


def checks(controls: Iterable[ControlEstimate]) -> dict[str, Check]:
    """The check of each of ROWS on the strokes among these estimates; of one k in several sizes, on MNIST's size."""
    found = {key: Check({}, {}) for key in ROWS}
    for control in sorted(controls, key=lambda one: resized(one.dataset)):
        plain = control.dataset.startswith("strokes") and not control.dataset.endswith(TAIL)
        if control.estimator in found and plain and math.isfinite(control.error):
            check = found[control.estimator]
            side = check.errors if _ONE_CLASS.fullmatch(control.dataset) else check.offsets
            side.setdefault(control.known, control.error)
    return found


def matched(studies: Sequence[Networks], own: Sweeps, controls: Iterable[Sweeps]) -> Matched | None:
    """Reads a dataset's estimates after as many steps as most controls had, at the N that these and the dataset have.

    Args:
        studies: The networks of any studies.
        own: The dataset's sweeps.
        controls: The controls' sweeps.

    Returns:
        The estimates; None where there is nothing to match: no control, no sweep, or the same protocol.
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
    read = sweeps_of(studies, own.dataset, at=(steps, dims))
    estimates = {key: estimated(key, estimator, read) for key, estimator in CONTROL_ESTIMATORS.items()}
    return Matched(steps, tuple(sorted(dims)), estimates)


def _sweeps(sweeps: Sweeps) -> list[Sweep]:
    """The sweeps of the VAE and the auto-encoder, as far as there are any."""
    found = [sweeps.by_network[network] for network in ("vae", "elu")]
    return [sweep for sweep in found if isinstance(sweep, Sweep)]
