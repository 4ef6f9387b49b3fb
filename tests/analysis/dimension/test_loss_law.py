"""The law of the loss on curves that follow it, on curves that do not, and on too few N."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.dimension import loss_law
from analysis.dimension.conclusion import concluded
from analysis.dimension.loss_law import LossLaw
from analysis.evidence import Evidence
from tests.support.sweeps import FLOOR, sweep_tables

DIMS = np.array([5, 10, 20, 32, 50, 64, 100, 128, 200])


def found(excess: np.ndarray, earlier: np.ndarray | None = None) -> LossLaw:
    law = loss_law.loss_law(DIMS, excess, excess.mean(0) if earlier is None else earlier)
    assert isinstance(law, LossLaw)
    return law


def test_law_of_an_exact_power_is_recovered_and_predicts() -> None:
    law = found(np.stack([c + 300.0 * DIMS**-1.1 for c in (2.9, 3.0, 3.1)]))
    assert law.b[0] == pytest.approx(1.1, abs=1e-3) and law.c[0] == pytest.approx(3.0, abs=1e-3)
    assert law.holds and law.errors["power law"][1] < 1e-3 < law.errors["exponential"][1]
    assert law.fitted == (20, 32, 50, 64, 100) and set(law.predicted) == {128, 200}
    assert law.tolerance[1.0][0] == pytest.approx(300 ** (1 / 1.1), rel=1e-3)
    assert set(law.by_range) >= {"20 to 100", "32 to 200"}
    assert law.exponents == pytest.approx([1.1] * len(law.exponents), abs=1e-3)


def test_law_has_the_interval_of_its_seeds_and_none_with_one() -> None:
    curves = np.stack([3.0 + 300.0 * DIMS**-b for b in (1.0, 1.1, 1.2)])
    low, high = found(curves).b[1:]
    assert low < 1.0 < 1.2 < high
    assert np.isnan(found(curves[:1]).b[1:]).all()


def test_tolerance_has_the_hull_of_the_seeds_and_of_the_ranges() -> None:
    bent = 3.0 + 300.0 * DIMS**-1.1 + 0.4 * (DIMS == 200)
    value, low, high = found(np.stack([bent - 1e-3, bent + 1e-3])).tolerance[1.0]
    assert low < 0.9 * value, "the ranges that end at N = 200 bend the law, the seeds agree"
    assert low <= value <= high
    assert np.isnan(found(bent[None]).tolerance[1.0][1:]).all()


def test_tolerance_that_still_moves_has_not_converged() -> None:
    law = found(np.stack([3.0 + 300.0 * DIMS**-1.0] * 2), earlier=3.0 + 310.0 * DIMS**-1.0)
    assert law.moved == pytest.approx(dict.fromkeys(loss_law.TOLERANCES, 1 / 30), rel=1e-2) and law.converged(1.0)
    law = found(np.stack([3.0 + 300.0 * DIMS**-1.0] * 2), earlier=3.0 + 330.0 * DIMS**-1.0)
    assert not law.converged(4.0)
    law = found(np.stack([3.0 + 300.0 * DIMS**-1.0] * 2), earlier=np.full(len(DIMS), np.nan))
    assert np.isnan(law.moved[1.0]) and not law.converged(1.0)


def test_law_of_networks_that_are_still_learning_is_not_told_and_the_remedy_is_longer_training() -> None:
    def curve(network: str, n: int, seed: int, fraction: float) -> float:
        return FLOOR + 3.0 + (600.0 - 300.0 * fraction) / n + 0.01 * seed

    dims = (5, 10, 20, 32, 50, 64, 100, 128)
    evidence = Evidence([sweep_tables(dims=dims, nll=curve, steps=2000)])
    assert evidence.law == "not converged: its N for 4 nats moved by 20 % over the last fifth of training"
    (line,) = [line for line in concluded(evidence).open if "law" in line]
    assert "Train longer: `study launch latent --steps 4000" in line


def test_law_whose_seeds_disagree_by_more_than_ten_times_is_not_told() -> None:
    def curve(network: str, n: int, seed: int, fraction: float) -> float:
        return FLOOR + 3.0 + 30.0 * n ** -(0.2 + 0.4 * seed)

    dims = (5, 10, 20, 32, 50, 64, 100, 128)
    evidence = Evidence([sweep_tables(dims=dims, nll=curve)])
    assert isinstance(evidence.law, str) and evidence.law.startswith("not known to a factor of 10: its N for 4 nats")
    assert "power" not in concluded(evidence).paragraph
    (line,) = [line for line in concluded(evidence).open if "law" in line]
    assert "Train longer: `study launch latent --steps" in line


def test_margin_without_an_interval_or_with_a_narrow_one_is_known() -> None:
    law = found(np.stack([3.0 + 300.0 * DIMS**-1.0] * 2))
    assert law.known(1.0)
    assert not replace(law, tolerance=law.tolerance | {1.0: (50.0, 10.0, 101.0)}).known(1.0)
    assert replace(law, tolerance=law.tolerance | {1.0: (50.0, 10.0, 100.0)}).known(1.0)
    assert replace(law, tolerance=law.tolerance | {1.0: (50.0, np.nan, np.nan)}).known(1.0)


def test_law_of_an_exponential_does_not_hold() -> None:
    law = found(np.stack([3.0 + 60 * np.exp(-DIMS / 30.0)] * 2))
    assert not law.holds and law.errors["exponential"][1] < 1e-3


def test_law_of_a_cliff_is_none() -> None:
    cliff = np.where(DIMS < 16, 30.0, 0.3 + DIMS * 1e-4)
    assert loss_law.loss_law(DIMS, cliff[None], cliff) == "the loss does not fall from N = 20 on"


@pytest.mark.parametrize("level", [0.01, 3.3, 160.7])
def test_law_of_equal_losses_is_none(level: float) -> None:
    """Networks that draw the mean image have equal losses up to rounding, in which a law must not be found."""
    rounded = level + np.array([0, 1, -1, 1, 0, -1, 1, 0, 0]) * np.spacing(level)
    for excess in (rounded, np.full(len(DIMS), level)):
        assert loss_law.loss_law(DIMS, excess[None], excess[::-1]) == "the loss does not fall from N = 20 on"


def test_law_of_which_a_seed_has_none_is_none() -> None:
    falling = 3.0 + 200.0 * DIMS**-0.7
    flat = np.full(len(DIMS), 160.3)
    law = loss_law.loss_law(DIMS, np.stack([falling, falling + 0.1, flat]), falling)
    assert law == "the loss does not fall from N = 20 on in 1 of 3 seeds"


def test_law_of_seeds_that_differ_beyond_all_numbers_has_no_upper_end() -> None:
    law = found(np.stack([2000.0 * DIMS**-0.06, 10.0 * DIMS**-4.0]))
    _, low, high = law.tolerance[1.0]
    assert low < 1e-9 and high == np.inf and not law.known(1.0)


@pytest.mark.parametrize("dims", [(20, 32, 50, 200), (20, 32, 50, 64, 100)], ids=["few fitted", "none beyond"])
def test_law_of_too_few_n_says_what_it_needs(dims) -> None:
    array = np.array(dims)
    needed = loss_law.loss_law(array, 100.0 / array[None], 100.0 / array)
    assert str(needed).startswith("needs 4 N from 20 to 100 and one beyond")


def test_law_on_other_data_is_fitted_above_the_description_length() -> None:
    dims = (2, 4, 8, 16, 32, 64, 128)

    def curve(network: str, n: int, seed: int, fraction: float) -> float:
        return FLOOR + (3.0 + 40.0 / n if network == "elu" else 30 + 30 * max(np.log(4 / n), 0.0) + 0.1 * seed)

    law = Evidence([sweep_tables(dims=dims, dataset="strokes", nll=curve)], "strokes").law
    assert isinstance(law, LossLaw) and law.fitted[0] == 4 and law.b[0] == pytest.approx(1.0, abs=0.01)
    few = Evidence([sweep_tables(dims=dims[:5], dataset="strokes", nll=curve)], "strokes").law
    assert str(few).startswith("too few N")
