"""The plateau of the description length, and N on curves whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.dimension import description_length, estimate_table
from analysis.dimension.estimate import Estimate
from analysis.evidence import Evidence
from analysis.verdict import Verdict
from study.table import Tables
from tests.support.sweeps import sweep_tables

MEAN_IMAGE = 205.8
DIMS = np.array([2, 4, 8, 16, 32, 64])
PAPERS_DIMS = (5, 10, 12, 16, 20, 32, 50, 100, 200)


def elbow(latent_dim: int, known: int = 16, slope: float = 30.0) -> float:
    """A description length that falls in log N up to a known N, and is flat from there."""
    return 75.0 + slope * max(np.log(known / latent_dim), 0.0)


def length(*tables: Tables, dataset: str = "mnist") -> Estimate:
    return next(one for one in Evidence(tables, dataset).estimates if one.key == "L")


def papers(**changes) -> Tables:
    curve = changes.pop("curve", lambda network, n, seed, f: elbow(n) + 0.1 * seed)
    return sweep_tables(dims=changes.pop("dims", PAPERS_DIMS), nll=curve, **changes)


def test_length_of_a_known_elbow_is_where_one_nat_is_left() -> None:
    found = length(papers())
    assert found.value == pytest.approx(16 * np.exp(-1 / 30))  # exact: 16 is one of the N
    assert found.verdict == Verdict.CONFIRMED and found.seeds == 3 and found.headline
    assert found.between == (13, 16)


def test_length_at_other_margins_is_told_with_the_margin_at_which_the_verdict_turns() -> None:
    found = length(papers(curve=lambda network, n, seed, f: elbow(n, slope=4.0) + 0.1 * seed))
    numbers = [found.margins[share][0] for share in description_length.MARGINS]
    assert numbers == sorted(numbers, reverse=True) and numbers[2] == found.value
    (turn,) = estimate_table.turning(found.margins)
    inside = [share for share, (_, low, _) in found.margins.items() if low > 10]
    assert turn[0] == min(share for share in found.margins if share > max(inside))
    assert f"from {turn[0]:.3g} times on" in found.reason


def test_length_on_an_uneven_plateau_has_a_value_and_no_verdict() -> None:
    found = length(papers(curve=lambda network, n, seed, f: elbow(n) + (n == 100)))
    assert np.isfinite(found.value) and found.verdict == Verdict.CONFIRMED, "its spread is below half the margin"
    found = length(papers(curve=lambda network, n, seed, f: elbow(n) + 3 * (n == 100)))
    assert np.isfinite(found.value) and found.verdict == Verdict.INCONCLUSIVE
    assert found.reason.startswith("uneven plateau")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dims": (2, 5, 10, 16)}, "plateau not reached: needs two N from 20 on"),
        ({"seeds": 1}, "1 seed"),
        ({"curve": lambda network, n, seed, f: elbow(n) + 2 * (f == 1)}, "overfits: the test loss rises by 2 nats"),
        ({"curve": lambda network, n, seed, f: elbow(n, round(8 + 6 * f))}, "not converged"),
        ({"status": lambda r: "pending" if r.config.latent_dim == 12 else "finished"}, "unfinished: nothing at N = 12"),
    ],
    ids=["no plateau", "one seed", "overfits", "still moving", "unfinished"],
)
def test_length_without_what_it_needs_has_no_verdict_and_says_why(changes, reason) -> None:
    found = length(papers(**changes))
    assert found.verdict == Verdict.INCONCLUSIVE and reason in found.reason


def test_length_of_one_n_alone_is_not_measured() -> None:
    assert length(papers(dims=(20,))).verdict == Verdict.NOT_MEASURED


def test_length_rising_within_noise_does_not_overfit() -> None:
    found = length(papers(curve=lambda network, n, seed, f: elbow(n) + 0.2 * (f == 1)))
    assert found.verdict == Verdict.CONFIRMED


def test_plateau_is_where_neighbours_differ_by_less_than_their_seeds() -> None:
    curve = np.array([[140.0, 120, 100, 90.1, 90.3, 89.9], [140.4, 120.2, 100, 90.5, 89.9, 90.3]])
    found = description_length.plateau(DIMS, curve, MEAN_IMAGE)
    assert found.where.tolist() == [False, False, False, True, True, True] and not found.reason
    assert found.margin == pytest.approx((MEAN_IMAGE - 90.167) / 108.2, rel=1e-3)


def test_plateau_of_a_curve_that_rises_again_is_its_least_value() -> None:
    curve = np.array([[140.0, 120, 100, 103, 104, 104.2]] * 2)
    found = description_length.plateau(DIMS, curve, MEAN_IMAGE)
    assert found.where.tolist() == [False, False, True, False, False, False] and not found.reason


def test_plateau_is_the_least_value_with_its_equals_where_the_curve_rises_beyond_them() -> None:
    curve = np.array([[140.0, 120, 100, 100.3, 103, 104.2]] * 2)
    found = description_length.plateau(DIMS, curve, MEAN_IMAGE)
    assert found.where.tolist() == [False, False, True, True, False, False] and not found.reason
    assert found.level(curve[0]) == pytest.approx(100.15)


def test_plateau_does_not_lie_above_the_least_value() -> None:
    """Wide networks that have been trained too little are alike, and worse than a narrower one."""
    curve = np.array([[140.0, 110, 100, 103, 103.1, 103.2]] * 2)
    assert description_length.plateau(DIMS, curve, MEAN_IMAGE).where.tolist() == [False, False, True, *[False] * 3]
    curve = np.array([[140.0, 110, 100, 103, 103.1, 100.3]] * 2)
    assert "nowhere flat" in description_length.plateau(DIMS, curve, MEAN_IMAGE).reason


def test_plateau_of_a_curve_that_still_falls_is_not_reached() -> None:
    curve = np.array([[140.0, 130, 120, 110, 100, 90]] * 2)
    found = description_length.plateau(DIMS, curve, MEAN_IMAGE)
    assert "nowhere flat up to N = 64" in found.reason and found.level(curve[0]) == 90


def test_plateau_is_not_three_close_n_on_a_slope() -> None:
    dims = np.array([4, 8, 11, 12, 13, 14])
    curve = np.array([[130.0, 110, 101, 100.8, 100.6, 100.4]] * 2)
    assert "not reached" in description_length.plateau(dims, curve, MEAN_IMAGE).reason


def test_length_by_the_other_plateau_swaps_the_rules_of_mnist_and_of_controls() -> None:
    def basin(network: str, n: int, seed: int, fraction: float) -> float:
        return elbow(n) + 4.0 * (n >= 32) + 0.001 * seed  # least at N = 16 and 20, worse beyond

    dims = (2, 5, 8, 12, 16, 20, 32, 50, 100)
    row = {one.key: one for one in Evidence([papers(curve=basin, dims=dims)]).estimates}
    by_mnists = 16 * np.exp(-(3 + 1) / 30)  # the mean over N from 20 on lies 3 nats above the least
    assert row["L"].value == pytest.approx(by_mnists)
    assert row["L rule"].value == pytest.approx(16 * np.exp(-(100 / 108) / 30), rel=0.02)
    own = papers(curve=basin, dims=dims, dataset="strokes-16-one")
    control = {one.estimator: one for one in Evidence([own]).controls}
    assert control["L"].value == pytest.approx(row["L rule"].value, rel=0.01)
    assert control["L rule"].value == pytest.approx(by_mnists)
    assert "L rule" not in {one.key for one in Evidence([own], "strokes-16-one").estimates}


def test_length_on_other_data_takes_the_same_share_of_the_loss_and_knows_no_band() -> None:
    tables = papers(
        dims=(2, 4, 8, 16, 32), curve=lambda network, n, seed, f: elbow(n, 4) + 0.1 * seed, dataset="strokes"
    )
    found = length(tables, dataset="strokes")
    margin = (MEAN_IMAGE - 100.1) / 108.2
    assert found.value == pytest.approx(4 * np.exp(-margin / 30), rel=0.01)
    assert found.verdict == Verdict.SETTLED
    assert (
        length(papers(dims=(2, 4, 8, 16, 32), seeds=1, dataset="strokes"), dataset="strokes").verdict == "not settled"
    )


def test_length_under_another_likelihood_is_measured_against_no_mean_image_and_active_units_stay() -> None:
    density = {"base": {"likelihood": "gaussian", "output": "identity"}, "networks": ("vae",)}
    found = length(papers(dataset="strokes", **density), dataset="strokes")
    assert found.verdict == Verdict.NOT_MEASURED
    assert "needs a VAE with the Bernoulli likelihood, which the mean image's loss has" in found.reason
    assert found.reason.endswith("this one has the gaussian one")
    assert np.isfinite(length(papers(**density)).value), "MNIST's margin is one nat of any likelihood"
    units = {one.key: one for one in Evidence([papers(dataset="strokes", **density)], "strokes").estimates}["U"]
    assert units.value == pytest.approx(24.5, abs=1)
