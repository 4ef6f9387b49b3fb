"""Outcomes that are looked up and not tested: estimates of the latent dimension, and parts that nothing can measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.claims.decide import Outcome
from analysis.claims.ledger import Control, Dimension, NotMeasured
from analysis.claims.samples import Sample
from analysis.dimension.estimate import Estimate
from analysis.dimension.estimate_table import ControlEstimate, within
from analysis.verdict import Verdict


@dataclass(frozen=True)
class Lookup:
    """Estimates of the latent dimension, of the data and of datasets whose dimension is known."""

    estimates: Sequence[Estimate] = ()
    controls: Sequence[ControlEstimate] = ()

    def outcome(self, part: Dimension | Control | NotMeasured) -> Outcome:
        """The outcome of a part."""
        if isinstance(part, NotMeasured):
            return Outcome(part, Sample(""), Verdict.NOT_MEASURED, note=part.reason)
        if isinstance(part, Dimension):
            return self._of_estimate(part)
        return self._of_control(part)

    def _of_estimate(self, part: Dimension) -> Outcome:
        estimate = next((one for one in self.estimates if one.key == part.key), None)
        if estimate is None or estimate.verdict == Verdict.NOT_MEASURED:
            return Outcome(part, Sample(""), Verdict.NOT_MEASURED, note="" if estimate is None else estimate.reason)
        budget = f"{estimate.steps} steps" if estimate.steps else ""
        outcome = _measured(part, estimate, Sample(estimate.name, budget_text=budget))
        return replace(outcome, verdict=estimate.verdict, rule="10 < N < 100")

    def _of_control(self, part: Control) -> Outcome:
        wanted = (part.dataset, part.estimator)
        control = next((one for one in self.controls if (one.dataset, one.estimator) == wanted), None)
        if control is None:
            return Outcome(part, Sample(""), Verdict.NOT_MEASURED)
        outcome = _measured(part, control, Sample(f"estimate ({part.estimator}) on {part.dataset}"))
        outcome = replace(outcome, rule=f"{control.known:g} ± {part.tolerance:g}")
        verdict = control.recovered(part.tolerance)
        interval_alone = within(control.low, control.high, control.known, part.tolerance)
        if control.settled and control.between and interval_alone != verdict:
            open_still = "on this grid it may be any N from {} to {}".format(*control.between)
            outcome = replace(outcome, note="; ".join(filter(None, (open_still, outcome.note))))
        return replace(outcome, verdict=verdict)


def _measured(part: Dimension | Control, estimate: Estimate | ControlEstimate, sample: Sample) -> Outcome:
    """An outcome with an estimate's numbers, not yet decided."""
    value, low, high = (x if math.isfinite(x) else None for x in (estimate.value, estimate.low, estimate.high))
    sample = replace(sample, seeds=tuple(range(estimate.seeds)))
    return Outcome(part, sample, Verdict.INCONCLUSIVE, estimate=value, low=low, high=high, note=estimate.reason)
