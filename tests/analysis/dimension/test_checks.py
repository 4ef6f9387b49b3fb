"""The answer's rows where the dimension is known, and the data read at the protocol of the controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.dimension.checks import Check, recovery
from analysis.dimension.conclusion import concluded
from analysis.dimension.estimate_table import ControlEstimate
from analysis.dimension.loss_law import LossLaw
from analysis.dimension.network_estimates import OTHER_PLATEAU
from analysis.evidence import Evidence
from analysis.verdict import Verdict
from tests.support.sweeps import FLOOR, intrinsic_tables, sweep_tables

DIMS = (2, 4, 8, 16, 32, 64)


def known(dataset: str, k: int, *, active: int, steps: int = 2000):
    """Networks of a control: a description length that bends at k, and as many active units as given."""
    return sweep_tables(
        dims=DIMS, dataset=dataset, seeds=2, steps=steps, networks=("elu", "vae"),
        nll=lambda network, n, seed, f: 60 + 30 * max(np.log(k / n), 0.0) + 0.1 * seed,
        active=lambda n, seed, f: min(n, active),
    )  # fmt: skip


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    runs = [
        known("strokes-4-one", 4, active=4), known("strokes-8-one", 8, active=8), known("strokes-4", 4, active=11),
        sweep_tables(dims=(2, 4, 8, 16, 32, 64, 100, 200), active=lambda n, seed, f: min(n, round(20 / f) if f else n)),
        intrinsic_tables(lambda name, n, digit, seed: 1.0 + 0.01 * seed, datasets=("strokes-4-one",)),
    ]  # fmt: skip
    return Evidence(runs)


def test_row_that_recovers_every_k_says_so_and_tells_its_offsets(evidence: Evidence) -> None:
    length, units = evidence.checks["L"], evidence.checks["U"]
    assert abs(length.one_class[8].error) < 0.5
    assert length.short.startswith("right at k = 4; -0.3 at k = 8: open, for the grid allows N = 5 to 8; ten classes")
    assert units.offsets is not None and units.offsets == pytest.approx((7.0, 7.0))
    assert units.short == "+0.0 at k = 4, 8: open with 2 seeds; ten classes +7.0"
    assert units.text == f"one class {units.short}"


def errors(controls: Mapping[int, ControlEstimate]) -> dict[int, float]:
    return {k: one.error for k, one in controls.items()}


def test_control_of_another_size_checks_a_row_only_where_none_of_mnists_size_does(evidence: Evidence) -> None:
    runs = [known("strokes-4-one-16px", 4, active=7), known("strokes-8-one-colour", 8, active=8)]
    alone = Evidence([*evidence.tables[3:], *runs]).checks["U"]
    assert errors(alone.one_class) == {4: 3.0, 8: 0.0} and not alone.ten_classes
    beside = Evidence([*evidence.tables, *runs, known("strokes-8-one-64px", 8, active=12, steps=3000)])
    assert errors(beside.checks["U"].one_class) == {4: 0.0, 8: 0.0} and errors(beside.checks["U"].ten_classes) == {
        4: 7.0
    }
    assert beside.matched == evidence.matched, "they are not MNIST's protocol"


def test_row_that_fails_says_where(evidence: Evidence) -> None:
    images = evidence.checks["I"]
    assert images.at(Verdict.REFUTED) == [4] and not images.at(Verdict.CONFIRMED)
    assert images.short == "wrong: -3.0 at k = 4"


def control(known: int, low: float, high: float, **changes: Any) -> ControlEstimate:
    value = (low + high) / 2
    plain = ControlEstimate(
        estimator="L", dataset=f"strokes-{known}-one", known=known, value=value, low=low, high=high, corrected=np.nan,
        error=value - known, nearest_error=value - known, corrected_error=np.nan, settled=True, between=None, seeds=2,
        sample_size=None, reason="",
    )  # fmt: skip
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (control(4, 3.1, 4.9), Verdict.CONFIRMED),
        (control(4, 3.1, 5.1), Verdict.INCONCLUSIVE),
        (control(4, 5.1, 5.9), Verdict.REFUTED),
        (control(16, 14.5, 17.5), Verdict.CONFIRMED),
        (control(16, 14.5, 17.7), Verdict.INCONCLUSIVE),
        (control(16, 15.5, 16.5, between=(15, 17)), Verdict.CONFIRMED),
        (control(16, 15.5, 16.5, between=(9, 16)), Verdict.INCONCLUSIVE),
        (control(4, 5.1, 5.9, settled=False), Verdict.INCONCLUSIVE),
        (control(4, np.nan, np.nan), Verdict.INCONCLUSIVE),
    ],
)
def test_recovery_needs_the_interval_and_every_n_of_the_grid_within_one_or_a_tenth(
    one: ControlEstimate, verdict: Verdict
) -> None:
    assert recovery(one) == verdict


def test_recovery_that_its_grid_leaves_open_says_so_for_no_seeds_can_decide_it() -> None:
    by_grid, by_seeds = control(8, 7.5, 8.1, between=(5, 8)), control(16, 14.0, 18.0, between=(16, 16))
    assert Check({8: by_grid}, {}).short == "-0.2 at k = 8: open, for the grid allows N = 5 to 8"
    both = Check({4: control(4, 3.9, 4.1), 8: by_grid, 16: by_seeds}, {})
    assert both.short == (
        "right at k = 4; +0.0 at k = 16: open with 2 seeds; -0.2 at k = 8: open, for the grid allows N = 5 to 8"
    )
    assert Check({8: replace(by_grid, settled=False)}, {}).short.endswith("open with 2 seeds")


def test_offsets_of_a_range_are_those_of_both_ends() -> None:
    """Active units of ten classes: 11 and 14 at the two N with room to spare, of 4 factors."""
    units = sweep_tables(
        dims=(2, 4, 8, 32, 64), dataset="strokes-4", seeds=2, active=lambda n, seed, f: min(n, 14 if n > 32 else 11)
    )
    assert Evidence([units]).checks["U"].offsets == pytest.approx((7.0, 10.0))


def test_length_of_mnist_is_checked_by_its_own_rule_for_the_plateau() -> None:
    """A curve that ends falling at k = 8, and lies 2 nats lower at N = 32 and 64 than where it is flat before."""

    def nll(network: str, n: int, seed: int, fraction: float) -> float:
        return 60 + 30 * max(np.log(8 / n), 0.0) - 2.0 * (n >= 32) + 0.01 * seed

    runs = [sweep_tables(dims=(2, 4, 8, 12, 16, 32, 64), dataset="strokes-8-one", nll=nll), sweep_tables()]
    by_rule = {one.estimator: one.value for one in Evidence(runs).controls}
    assert by_rule["L"] != by_rule[OTHER_PLATEAU]
    assert Evidence(runs).checks["L"].one_class[8].value == by_rule[OTHER_PLATEAU]
    assert Evidence(runs, "strokes-8-one").checks["L"].one_class[8].value == by_rule["L"]


def test_check_ends_at_sixteen() -> None:
    beyond = Check({32: control(32, 21.0, 23.0)}, {32: control(32, 12.0, 14.0)})
    assert beyond.short == "" and beyond.offsets is None
    assert "one class at k = 32 -10.0" in beyond.text and "ten classes at k = 32 -19.0" in beyond.text
    assert Check({}, {}).short == "not checked: study controls"


def test_data_are_read_at_the_steps_and_the_n_of_the_controls(evidence: Evidence) -> None:
    found = evidence.matched
    assert found is not None and (found.steps, found.latent_dims) == (2000, DIMS)
    own = {one.key: one for one in evidence.estimates}
    assert own["c"].value == 20
    assert found.estimates["c"].value == 50, "after 2,000 of 5,000 steps more units were active still"
    assert found.protocol == "2,000 steps, N = 2, 4, 8, 16, 32, 64"


def test_nothing_is_matched_without_controls_or_at_the_same_protocol() -> None:
    alone = sweep_tables(dims=DIMS, steps=2000)
    assert Evidence([alone]).matched is None
    assert Evidence([alone, known("strokes-4-one", 4, active=4)]).matched is None
    assert Evidence([known("strokes-4-one", 4, active=4)]).matched is None


def law(network: str, n: int, seed: int, fraction: float) -> float:
    """A description length that bends at 8, and an auto-encoder's loss that falls like a power of N."""
    return FLOOR + (3.0 + 40.0 / n if network == "elu" else 30 + 30 * max(np.log(8 / n), 0.0) + 0.1 * seed)


def test_loss_falls_on_beyond_k_with_a_tail_of_noise_and_not_without() -> None:
    dims = (*DIMS, 128)
    runs = [
        sweep_tables(dims=(4, 8, 16, 32, 64, 128), dataset="strokes-8-one-tail", nll=law),
        sweep_tables(dims=dims, dataset="strokes-8-one", nll=lambda *network: max(law(*network), FLOOR + 8.0)),
        sweep_tables(),
    ]
    cliff, tail = Evidence(runs).falls
    assert (cliff.dataset, tail.dataset) == ("strokes-8-one", "strokes-8-one-tail")
    assert (cliff.first, cliff.last, cliff.gain) == (8, 128, 0.0)
    assert cliff.law == "for less than 1 nat is left to fall"
    assert tail.gain == pytest.approx(40 / 8 - 40 / 128) and isinstance(tail.law, LossLaw)
    assert tail.text == "4.7 nats from N = 8 to 128, by a power law"
    (row,) = [row for row in concluded(Evidence(runs)).rows if row.key == "law"]
    assert row.check == f"k = 8: its loss falls by {cliff.text}; with a tail of noise: its loss falls by {tail.text}"
    assert Evidence(runs).matched == Evidence(runs[1:]).matched, "a tail checks no row"
    assert not Evidence(runs[1:]).falls, "without the tail there is nothing to compare"


def test_fall_whose_law_gives_no_n_is_told_for_nothing_is_read_off_beyond_it() -> None:
    def slow(network: str, n: int, seed: int, fraction: float) -> float:
        """A loss that falls so slowly that its limit lies below the floor."""
        noise = 0.05 * np.sin(7.0 * n + seed)
        return law(network, n, seed, fraction) if network != "elu" else FLOOR - 20 + 70 * n**-0.15 + noise

    tables = sweep_tables(dims=(4, 8, 16, 20, 32, 50, 64, 100, 200), dataset="strokes-8-one-tail", nll=slow)
    evidence = Evidence([tables], "strokes-8-one-tail")
    assert str(evidence.law).startswith("not known to a factor of 10")
    (fall,) = evidence.falls
    assert isinstance(fall.law, LossLaw) and fall.text == "19.6 nats from N = 8 to 200, by a power law"


def test_fall_needs_two_n_from_k_on() -> None:
    runs = [sweep_tables(dims=dims, dataset="strokes-8-one-tail", nll=law) for dims in ((1, 2, 8), (8, 10, 16))]
    assert not Evidence(runs[:1]).falls
    (fall,) = Evidence(runs[1:]).falls
    assert (fall.first, fall.last) == (8, 16) and str(fall.law).startswith("too few N")
