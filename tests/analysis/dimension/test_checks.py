"""The answer's rows where the dimension is known, and the data read at the protocol of the controls."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.dimension import checks
from analysis.dimension.checks import Check
from analysis.evidence import Evidence
from tests.support.sweeps import intrinsic_tables, sweep_tables

DIMS = (2, 4, 8, 16, 32)


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
    assert length.recovers and not length.failed and set(length.errors) == {4, 8}
    assert abs(length.errors[8]) < 0.5
    assert units.recovers and units.offsets[4] == pytest.approx(7.0)
    assert units.text == "recovers k = 4, 8 of one class; ten classes +7.0"
    assert units.short == "right at k = 4, 8; ten classes +7.0"


def test_control_of_another_size_checks_a_row_only_where_none_of_mnists_size_does(evidence: Evidence) -> None:
    runs = [known("strokes-4-one-16px", 4, active=7), known("strokes-8-one-colour", 8, active=8)]
    alone = Evidence([*evidence.tables[3:], *runs]).checks["U"]
    assert (alone.errors, alone.offsets) == ({4: 3.0, 8: 0.0}, {})
    beside = Evidence([*evidence.tables, *runs, known("strokes-8-one-64px", 8, active=12, steps=3000)])
    assert beside.checks["U"].errors == {4: 0.0, 8: 0.0} and beside.checks["U"].offsets == {4: 7.0}
    assert beside.matched == evidence.matched, "they are not MNIST's protocol"


def test_row_that_fails_says_where(evidence: Evidence) -> None:
    images = evidence.checks["I"]
    assert not images.recovers and images.failed == [4]
    assert images.short == "wrong at 4 (-3.0)" and "misses k = 4 (-3.0)" in images.text


def test_check_allows_one_or_a_tenth_and_ends_at_sixteen() -> None:
    assert checks.recovered(4, 1.0) and not checks.recovered(4, -1.01)
    assert checks.recovered(16, 1.6) and not checks.recovered(16, 1.61)
    beyond = Check({32: -10.0}, {})
    assert beyond.failed == [] and not beyond.recovers and "misses k = 32 (-10.0)" in beyond.text
    assert Check({}, {}).short == "not checked: study controls" and not Check({}, {}).recovers


def test_data_are_read_at_the_steps_and_the_n_of_the_controls(evidence: Evidence) -> None:
    found = evidence.matched
    assert found is not None and (found.steps, found.latent_dims) == (2000, DIMS)
    own = {one.key: one for one in evidence.estimates}
    assert own["c"].value == 20
    assert found.estimates["c"].value == 32, "after 2,000 of 5,000 steps all 32 units were active still"
    assert found.protocol == "2,000 steps, N = 2, 4, 8, 16, 32"


def test_nothing_is_matched_without_controls_or_at_the_same_protocol() -> None:
    alone = sweep_tables(dims=DIMS, steps=2000)
    assert Evidence([alone]).matched is None
    assert Evidence([alone, known("strokes-4-one", 4, active=4)]).matched is None
    assert Evidence([known("strokes-4-one", 4, active=4)]).matched is None
