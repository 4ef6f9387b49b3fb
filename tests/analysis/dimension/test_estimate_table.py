"""Estimates of the latent dimension on curves whose answer is known; also builders of tables of made-up studies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.dimension import curve_shapes, estimate_table, ruler
from analysis.dimension.estimate import verdict_on
from analysis.dimension.intrinsic_estimates import intrinsic
from analysis.dimension.sweeps import FRACTIONS, Networks, sweep
from analysis.evidence import Evidence
from analysis.formats import figures, frame_of, with_interval
from analysis.verdict import Verdict
from study.table import Tables
from tests.support.sweeps import (
    BEST,
    DIMS,
    FLOOR,
    MEAN_IMAGE,
    SATURATED,
    SHRUNK,
    SLOPE,
    intrinsic_tables,
    nll,
    sweep_tables,
)
from tests.support.tables import make_tables, stored
from trainables.schema import Replicate


def by_key(*tables: Tables) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in records(estimate_table.to_frame(Evidence(tables).estimates))}


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


@pytest.fixture(scope="module")
def latent() -> Tables:
    return sweep_tables(networks=("elu", "vae", "linear", "pca"))


@pytest.fixture(scope="module")
def found(latent: Tables) -> dict[str, dict[str, Any]]:
    return by_key(latent)


def test_saturation_of_an_exponential_excess_is_where_one_nat_is_left() -> None:
    dims = np.arange(1, 201)
    assert curve_shapes.saturation(dims, 50 + 40 * np.exp(-dims / 10), 1.0) == pytest.approx(10 * np.log(40), abs=0.01)


def test_saturation_between_two_dims_is_linear_in_log_n() -> None:
    dims, values = np.array([10, 40]), np.array([3.0, 0.0])
    assert curve_shapes.saturation(dims, values, 1.5) == pytest.approx(20.0)


def test_saturation_curve_that_is_not_monotone_takes_the_first_n_within_the_margin() -> None:
    dims, values = np.array([1, 2, 4, 8, 16]), np.array([9.0, 0.5, 3.0, 0.0, 2.0])
    assert 1 < curve_shapes.saturation(dims, values, 1.0) < 2
    assert curve_shapes.still_gained(values) == 0.0


def test_first_within_already_at_the_first_n_or_nowhere() -> None:
    dims, values = np.array([3, 5]), np.array([2.0, 1.0])
    assert curve_shapes.first_within(dims, values, 2.0) == 3.0
    assert np.isnan(curve_shapes.first_within(dims, values, 0.5))


def test_knee_of_two_straight_lines_in_logs_is_where_they_meet() -> None:
    dims = np.geomspace(1, 256, 17)
    excess = np.exp(-np.log(dims) - 0.02 * np.log(dims / 16)) * np.where(dims < 16, 1.0, (dims / 16) ** 0.8)
    assert curve_shapes.knee(dims, excess) == pytest.approx(16, rel=0.15)


@pytest.mark.parametrize(
    "excess",
    [[8.0, 4.0, 2.0, 1.0], [8.0, 7.9, 7.0, 1.0], [1.0, 2.0, 4.0, 8.0], [8.0, 1.0, 0.5, 0.0]],
    ids=["straight", "above its chord", "rising", "no excess"],
)
def test_knee_of_a_curve_without_one_is_nan(excess: list[float]) -> None:
    assert np.isnan(curve_shapes.knee(np.array([1, 2, 4, 8]), np.array(excess)))


def test_bias_corrected_undoes_a_known_bias_and_gives_nothing_beyond_the_last_cube() -> None:
    cubes = np.array([1.0, 2, 4, 8, 16])
    biased = cubes**0.9
    assert curve_shapes.bias_corrected(4**0.9, cubes, biased) == pytest.approx(4.0)
    assert curve_shapes.bias_corrected(0.5, cubes, biased) == pytest.approx(0.5)  # from (0, 0) to (1, 1)
    assert np.isnan(curve_shapes.bias_corrected(16.5, cubes, biased))


def test_moved_is_the_share_of_the_last_value_over_the_last_fifth() -> None:
    fractions = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
    assert curve_shapes.moved(np.array([9.0, 9.0, 9.0, 11.0, 10.0]), fractions) == pytest.approx(0.1)
    assert np.isnan(curve_shapes.moved(np.array([9.0, 9.0, 9.0, np.nan, 10.0]), fractions))
    assert curve_shapes.moved(np.array([1.0, 1.0, 1.0, 1.0, 0.0]), fractions) == np.inf
    assert curve_shapes.moved(np.zeros(5), fractions) == 0.0


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (11.0, 99.0, "confirmed"), (10.0, 99.0, "inconclusive"), (11.0, 100.0, "inconclusive"), (5.0, 10.0, "refuted"),
        (100.0, 300.0, "refuted"), (5.0, 300.0, "inconclusive"), (np.nan, np.nan, "inconclusive"),
    ],
)  # fmt: skip
def test_verdict_is_by_where_the_interval_lies(low: float, high: float, expected: str) -> None:
    assert verdict_on(low, high) == expected


def test_estimates_of_a_known_curve_have_its_saturation_and_a_narrow_interval(found: dict[str, dict[str, Any]]) -> None:
    row = found["a"]
    assert row["value"] == pytest.approx(SATURATED * np.exp(-1 / SLOPE))  # exact: 64 is one of the N
    assert row["low"] <= row["value"] * (1 + 1e-9) and row["high"] >= row["value"] * (1 - 1e-9)
    assert (row["verdict"], row["seeds"], row["steps"]) == ("confirmed", 3, "1,000 to 5,000")
    assert found["a linear"]["value"] == pytest.approx(SATURATED * np.exp(-1 / SLOPE / 2))
    assert found["a 5 %"]["value"] == pytest.approx(SATURATED * np.exp(-0.05 * (BEST - FLOOR) / SLOPE), rel=1e-3)
    assert [key for key, row in found.items() if row["headline"]] == ["L", "U", "I"]
    assert [key for key, row in found.items() if row["beforehand"]] == ["a", "c"]


def test_estimates_interval_is_the_t_interval_of_log_n_over_seeds() -> None:
    slopes = (10.0, 20.0, 40.0)
    tables = sweep_tables(nll=lambda network, n, seed, f: BEST + slopes[seed] * max(np.log(64 / n), 0.0))
    logs = np.log(64) - 1 / np.array(slopes)
    expected = np.exp(stats.t.interval(0.95, 2, loc=logs.mean(), scale=stats.sem(logs)))
    assert [by_key(tables)["a"][end] for end in ("low", "high")] == pytest.approx(expected.tolist())


def test_estimates_active_units_are_the_mean_over_seeds_of_the_largest_n(found: dict[str, dict[str, Any]]) -> None:
    row = found["c"]
    half = float(stats.t.ppf(0.975, 2)) / 3**0.5
    assert [row["value"], row["low"], row["high"]] == pytest.approx([25.0, 25.0 - half, 25.0 + half])
    assert row["verdict"] == "confirmed" and "of 200 latents" in row["reason"]
    assert found["c 0.1"]["verdict"] == "not measured"


def test_estimates_count_that_is_the_same_in_every_seed_says_so() -> None:
    row = by_key(sweep_tables(active=lambda latent_dim, seed, fraction: min(latent_dim, 24)))["c"]
    half = float(stats.t.ppf(0.975, 2)) / 12**0.5  # a count is known to its step, however many seeds agree
    assert [row["low"], row["high"]] == pytest.approx([24 - half, 24 + half]) and row["verdict"] == "confirmed"
    assert "the same in each of 3 seeds" in row["reason"]


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (52.96, 0.6549, 2891.4, "53 [0.655, 2,891]"),
        (22.0, 22.0, 22.0, "22"),
        (105.21, np.nan, np.nan, "105"),
        (np.nan, np.nan, np.nan, "–"),
    ],
)
def test_number_has_three_figures_or_all_before_the_point(value: float, low: float, high: float, expected: str) -> None:
    assert with_interval(value, low, high) == expected


def test_estimates_active_units_at_the_other_threshold_are_counted_in_the_code_variance() -> None:
    variances = [0.9] * 18 + [0.05] * 6 + [0.0] * 176
    tables = sweep_tables(
        dims=(100, 200), profiles=lambda r, name: {"code_variance": variances} if r.config.latent_dim == 200 else {}
    )
    row = by_key(tables)["c 0.1"]
    assert row["value"] == 18.0
    assert row["verdict"] == "inconclusive" and "convergence not known" in row["reason"]  # recorded at the end only


def test_estimates_still_moving_active_units_are_not_converged() -> None:
    tables = sweep_tables(active=lambda n, seed, f: min(n, 20 + round(100 * (1 - f))))
    row = by_key(tables)["c"]
    assert row["value"] == 20.0
    assert row["verdict"] == "inconclusive"
    assert "not converged: moved 100 % over the last fifth of training" in row["reason"]


def test_estimates_one_seed_has_a_value_and_no_verdict() -> None:
    frame = by_key(sweep_tables(seeds=1))
    for key in ("a", "b", "c"):
        assert np.isfinite(frame[key]["value"]) and np.isnan(frame[key]["low"])
        assert frame[key]["verdict"] == "inconclusive" and "1 seed: no interval" in frame[key]["reason"]


@pytest.mark.parametrize(("last", "verdict"), [(100, "inconclusive"), (200, "refuted")])
def test_estimates_curve_that_falls_to_the_last_n_is_a_lower_bound_and_refutes_from_100_on(last, verdict) -> None:
    dims = tuple(dim for dim in DIMS if dim <= last)
    row = by_key(sweep_tables(dims=dims, nll=lambda network, n, seed, f: BEST + 10 * np.log(last / n)))["a"]
    assert 0.9 * last < row["value"] < last
    assert row["verdict"] == verdict and "a lower bound" in row["reason"]


def test_estimates_lower_bound_that_has_not_converged_gives_no_verdict() -> None:
    moving = sweep_tables(nll=lambda network, n, seed, f: BEST + (3 if f == 1 else 10) * np.log(200 / n))
    row = by_key(moving)["a"]
    assert row["low"] > 100 and "not converged" in row["reason"] and row["verdict"] == "inconclusive"


def test_estimates_best_at_the_last_n_by_chance_is_noted_and_keeps_its_verdict() -> None:
    row = by_key(sweep_tables(nll=lambda network, n, seed, f: nll(network, n, seed, f) - 0.1 * (n == 200)))["a"]
    assert row["verdict"] == "confirmed" and "the loss still falls by 0.1 nats from N = 100 to 200" in row["reason"]


def test_estimates_curve_that_begins_within_the_margin_is_an_upper_bound() -> None:
    row = by_key(sweep_tables(dims=(64, 100, 200)))["a"]
    assert row["value"] == 64.0
    assert row["verdict"] == "inconclusive" and "an upper bound" in row["reason"]


def test_estimates_of_an_unfinished_study_name_what_is_missing_and_give_no_verdict() -> None:
    tables = sweep_tables(status=lambda r: "running" if r.config.latent_dim in (1, 2) else "finished")
    row = by_key(tables)["a"]
    assert np.isfinite(row["value"])
    assert row["verdict"] == "inconclusive" and "nothing at N = 1, 2" in row["reason"]
    assert by_key(tables)["c"]["verdict"] == "confirmed"  # needs the largest N only


def test_estimates_of_a_study_that_has_just_begun_are_unfinished_whatever_smaller_studies_hold() -> None:
    begun = sweep_tables(status=lambda r: "running" if r.config.latent_dim == 200 else "pending")
    frame = by_key(make_tables(arms=("elu", "vae"), seeds=2), begun)
    assert {frame[key]["reason"] for key in "abc"} == {"unfinished: study latent has none yet"}
    few = sweep_tables(status=lambda r: "finished" if (r.config.latent_dim or 0) > 64 else "pending")
    assert by_key(few)["a"]["reason"] == "unfinished: 2 of 9 N"


def test_estimates_seed_that_failed_at_one_n_is_left_out_and_named() -> None:
    tables = sweep_tables(status=lambda r: "failed" if (r.seed, r.config.latent_dim) == (1, 50) else "finished")
    row = by_key(tables)["a"]
    assert row["seeds"] == 2 and "seed 1 left out" in row["reason"] and row["verdict"] == "confirmed"


@pytest.mark.parametrize("pilot", ["wider", "longer"])
def test_estimates_one_pilot_replicate_takes_no_verdict_and_is_listed(latent: Tables, pilot: str) -> None:
    grid, note = {
        "wider": ({"latent_dim": [300], "steps": [5000]}, "left out: N = 300 (1 seed)"),
        "longer": ({"latent_dim": [200], "steps": [20_000]}, "left out: N = 200 at 20,000 steps (1 seed)"),
    }[pilot]

    def finished(replicate: Replicate) -> str:
        own = replicate.config.latent_dim in grid["latent_dim"] and replicate.config.steps in grid["steps"]
        return "pending" if own and replicate.seed else "finished"

    before, after = by_key(latent), by_key(sweep_tables(further=(grid,), status=finished))
    for key in ("a", "b", "c"):
        assert after[key]["verdict"] == before[key]["verdict"] == "confirmed", after[key]["reason"]
        assert after[key]["value"] == before[key]["value"] and after[key]["seeds"] == 3
    assert note in after["a"]["reason"] and (pilot == "wider" or note in after["c"]["reason"])


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("loss", [MEAN_IMAGE - 1.0, MEAN_IMAGE, 543.4], ids=["collapsed below", "collapsed", "begun"])
def test_estimates_of_networks_that_have_learned_nothing_are_none(dataset: str, loss: float) -> None:
    evidence = Evidence([sweep_tables(dataset=dataset, nll=lambda *_: loss, active=lambda *_: 0)], dataset)
    reason = f"not clearly better than the mean image: test NLL {loss:.1f} against 205.8 nats"
    frame = {one.key: one for one in evidence.estimates if one.key in ("L", "L best", "U", "a", "a vae", "b", "c")}
    assert {one.verdict for one in frame.values()} == {Verdict.NOT_MEASURED}
    assert {one.reason for one in frame.values()} == {reason} == {evidence.law}


def test_estimates_of_a_vae_whose_code_costs_more_than_it_saves_have_no_description_length() -> None:
    tables = sweep_tables(dataset="fashion_mnist", nll=lambda *_: MEAN_IMAGE - 20.0)  # its KL is 25 nats
    found = {one.key: one for one in Evidence([tables], "fashion_mnist").estimates}
    assert found["L"].verdict == Verdict.NOT_MEASURED
    assert found["L"].reason == "no gain: the description length, 210.8 nats, is not below the mean image's 205.8"
    assert found["U"].value == 25.0 and found["U"].verdict == Verdict.SETTLED


@pytest.mark.parametrize(("before", "reason"), [(0, ""), (5, "not converged: moved to 0 over the last fifth")])
def test_estimates_of_a_count_that_ends_at_0(before: int, reason: str) -> None:
    row = by_key(sweep_tables(active=lambda n, seed, fraction: before if fraction < 1 else 0))["U"]
    assert row["value"] == 0.0 and row["low"] == 0.0 and row["reason"].startswith(reason)
    assert row["verdict"] == ("inconclusive" if reason else "refuted")


def test_estimates_without_the_studies_say_which_they_need() -> None:
    frame = by_key(make_tables(arms=("elu", "vae", "relu"), seeds=2))
    assert {row["verdict"] for row in frame.values()} == {"not measured"}
    assert all(np.isnan(row["value"]) for row in frame.values())
    assert {frame[key]["reason"] for key in "LUabcf"} == {"needs study latent"}
    assert {frame[key]["reason"] for key in ("I", "e TwoNN")} == {"needs study intrinsic"}
    assert {one.verdict for one in Evidence([]).estimates} == {Verdict.NOT_MEASURED}


def test_estimates_of_another_setting_do_not_mix_into_the_sweep(latent: Tables) -> None:
    wider = sweep_tables(dims=(*DIMS, 300), networks=("elu",))
    results = wider.results.assign(test_nll=0.0)
    spec = wider.spec.model_copy(update={"base": wider.spec.base | {"l2": 0.5}})
    other = stored({"results": results, "profiles": wider.profiles, "images": wider.images}, spec, {})
    alone, both = (estimate_table.to_frame(Evidence(runs).estimates) for runs in ([latent], [other, latent]))
    pd.testing.assert_frame_equal(both, alone)


def test_estimates_recognition_is_where_one_percent_is_lost() -> None:
    def accuracy(replicate: Replicate, network: str) -> dict[str, list[float]]:
        lost = 0.02 * max(np.log(64 / (replicate.config.latent_dim or 1)), 0.0) + 0.001 * replicate.seed
        lost += 0.5 if network == "linear" else 0.0
        return {"recognition": [0.99 - lost], "recognition_originals": [0.99]}

    frame = by_key(sweep_tables(profiles=accuracy, networks=("elu", "linear")))
    assert frame["f"]["value"] == pytest.approx(64 * np.exp(-(0.01 - 0.001) / 0.02))
    assert frame["f"]["verdict"] == "confirmed"
    assert np.isnan(frame["f linear"]["value"]) and "not within 1 % up to N = 200" in frame["f linear"]["reason"]


def test_estimates_recognition_leaves_out_seeds_that_were_not_measured_at_every_n() -> None:
    def accuracy(replicate: Replicate, network: str) -> dict[str, list[float]]:
        if replicate.seed == 2 and replicate.config.latent_dim == 50:
            return {}
        lost = 0.02 * max(np.log(64 / (replicate.config.latent_dim or 1)), 0.0) + 0.001 * replicate.seed
        return {"recognition": [0.99 - lost], "recognition_originals": [0.99]}

    row = by_key(sweep_tables(profiles=accuracy, networks=("elu",)))["f"]
    assert row["value"] == pytest.approx(64 * np.exp(-(0.01 - 0.0005) / 0.02))  # the mean of seeds 0 and 1
    assert row["seeds"] == 2 and "seed 2 left out" in row["reason"]
    nowhere = by_key(
        sweep_tables(profiles=lambda r, network: {} if r.config.latent_dim == 50 else accuracy(r, network))
    )
    assert nowhere["f"]["reason"] == "needs the measurement recognition"


def test_estimates_knee_after_equal_steps_does_not_see_the_longer_training() -> None:
    def trained(network: str, n: int, seed: int, fraction: float) -> float:
        steps = fraction * (1000 if n < 20 else 5000)
        return float(FLOOR + 100 / n * (1 + 9 * (steps < 4000)))  # a straight line, were all trained alike

    frame = by_key(sweep_tables(nll=trained))
    assert 10 < frame["b"]["value"] < 50
    assert frame["b equal"]["steps"] == "1,000"
    assert np.isnan(frame["b equal"]["value"]) and "no knee" in frame["b equal"]["reason"]


def test_estimates_pca_counts_components_for_a_share_of_the_variance() -> None:
    spectrum = [85.0, 8.0, 4.0, 2.5, *[0.5 / 780] * 780]
    tables = sweep_tables(seeds=1, networks=("pca",), profiles=lambda r, network: {"spectrum": spectrum})
    frame = by_key(tables)
    assert [frame[f"g {share} %"]["value"] for share in (90, 95, 99)] == [2.0, 3.0, 4.0]
    assert frame["g 90 %"]["verdict"] == "refuted"


def test_estimates_pca_of_images_that_do_not_differ_has_no_number() -> None:
    tables = sweep_tables(seeds=1, networks=("pca",), profiles=lambda r, network: {"spectrum": [0.0] * 5})
    row = by_key(tables)["g 90 %"]
    assert np.isnan(row["value"]) and row["reason"] == "the training images do not differ"


def test_sweep_reads_history_at_shares_of_each_run(latent: Tables) -> None:
    found = sweep([Networks(latent)], "mnist", "elu")
    assert found.steps.tolist() == [1000] * 4 + [5000] * 5
    half = found.values["test_nll"][list(FRACTIONS).index(0.5), 1]  # the last evaluation before is at 0.4
    assert half.tolist() == pytest.approx([nll("elu", n, 1, 0.4) for n in DIMS])
    least, equal = found.at_equal_steps("test_nll")
    assert least == 1000
    assert equal[2].tolist() == pytest.approx([nll("elu", n, 2, 1.0 if n < 20 else 0.2) for n in DIMS])


def test_history_ends_at_the_estimates(latent: Tables, found: dict[str, dict[str, Any]]) -> None:
    last = estimate_table.history(Evidence([latent]).sweeps).groupby("key").last()
    assert last["fraction"].eq(1.0).all()
    assert last["value"].to_dict() == pytest.approx({key: found[key]["value"] for key in last.index})
    assert {"a", "b", "c"} <= set(last.index)


def test_intrinsic_is_corrected_by_the_cubes_per_seed_and_by_digit() -> None:
    tables = intrinsic_tables(lambda name, n, digit, seed: 8 + seed + (digit or 0) + n / 1000, digits=(None, 4))
    frame = by_key(tables)
    assert frame["e TwoNN"]["value"] == pytest.approx(19.0)  # n = 10,000, seeds 18, 19, 20
    assert frame["e TwoNN corrected"]["value"] == pytest.approx(19.0 / SHRUNK)
    assert frame["e MLE 20 corrected"]["value"] == pytest.approx(20.0 / SHRUNK)
    assert frame["e TwoNN digit 4"]["value"] == pytest.approx(23.0)
    assert frame["e TwoNN"]["verdict"] == "confirmed" and "n = 10,000" in frame["e TwoNN"]["reason"]
    assert {one.sample_size for one in intrinsic([tables])} == {1000, 10_000}
    assert len(intrinsic([tables, tables])) == len(intrinsic([tables]))  # the same replicates count once


def test_intrinsic_beyond_the_last_cube_has_no_correction() -> None:
    frame = by_key(intrinsic_tables(lambda name, n, digit, seed: 33.0 + seed))
    assert frame["e TwoNN"]["value"] == pytest.approx(34.0)
    row = frame["e TwoNN corrected"]
    assert (row["verdict"], row["reason"]) == ("not measured", "no correction: beyond the cube of 40")


def test_intrinsic_is_not_corrected_by_cubes_of_fewer_points() -> None:
    frame = by_key(intrinsic_tables(lambda name, n, digit, seed: 8.0 + seed, sizes=(1000,), cubes=500))
    assert "cubes have 500 points only" in frame["e TwoNN corrected"]["reason"]


def test_intrinsic_of_the_same_images_under_each_seed_has_no_interval() -> None:
    row = by_key(intrinsic_tables(lambda name, n, digit, seed: 12.0))["e TwoNN"]
    assert row["value"] == 12.0 and row["verdict"] == "inconclusive" and "the same images" in row["reason"]


@pytest.mark.parametrize(
    ("dataset", "known"),
    [
        ("strokes", 8),
        ("strokes-32", 32),
        ("strokes-4-one", 4),
        ("strokes-8-one-tail", 8),
        ("mnist-pca-8", 8),
        ("mnist-decoder-8", 8),
    ],
)
def test_known_dimension_is_in_the_name(dataset: str, known: int) -> None:
    assert estimate_table.known_dimension(dataset) == known


@pytest.mark.parametrize("dataset", ["mnist", "kmnist", "strokes-x", "strokes-4-two"])
def test_known_dimension_of_other_data_is_none(dataset: str) -> None:
    assert estimate_table.known_dimension(dataset) is None


def test_controls_stand_beside_what_is_known_with_the_error() -> None:
    raw = intrinsic_tables(lambda name, n, digit, seed: 3.2 + 0.01 * seed, datasets=("strokes-4", "mnist"))
    trained = sweep_tables(dims=(2, 4, 8, 16), dataset="strokes-4", seeds=1, active=lambda n, seed, f: min(n, 5))
    frame = frame_of(estimate_table.ControlEstimate, Evidence([raw, trained]).controls)
    assert set(frame["dataset"]) == {"strokes-4"} and set(frame["known"]) == {4}
    rows = {row["estimator"]: row for row in records(frame)}
    assert rows["TwoNN"]["error"] == pytest.approx(-0.79)
    assert rows["TwoNN"]["corrected_error"] == pytest.approx(3.21 / SHRUNK - 4)
    assert rows["c"]["value"] == 5.0 and rows["c"]["error"] == 1.0
    assert "1 seed" in rows["a"]["reason"] and not rows["a"]["settled"] and rows["TwoNN"]["settled"]
    assert not Evidence([intrinsic_tables(lambda *given: 3.0)]).controls


def test_ruler_shows_each_known_data_set_with_the_error_then_the_one_that_is_asked_for(latent: Tables) -> None:
    raw = intrinsic_tables(lambda name, n, digit, seed: 3.2 + 0.01 * seed, datasets=("strokes-4", "mnist"))
    trained = sweep_tables(dims=(2, 4, 8, 16), dataset="strokes-4", seeds=1, active=lambda n, seed, f: min(n, 5))
    known, asked = records(ruler.ruler(Evidence([raw, trained, latent])))
    assert (known["data"], known["known"], known["TwoNN"]) == ("strokes-4", "4", "3.21 (-0.79)")
    assert known["TwoNN corrected"].startswith("4.01 (+0.01")  # 3.21 / SHRUNK
    assert known["(c) of the largest"] == "5 (+1)*" and known["(U) active units"] == "5 (+1)*", (
        "one seed settles nothing"
    )
    values = {one.key: one.value for one in Evidence([raw, trained, latent]).estimates}
    assert (asked["data"], asked["known"]) == ("mnist", "?")
    assert [asked[heading] for heading in ("(a) saturation", "(c) of the largest", "MLE 20 corrected")] == [
        f"{values[key]:.3g}" for key in ("a", "c", "e MLE 20 corrected")
    ]
    assert "| strokes-4 | 4 |" in ruler.markdown(Evidence([raw, trained, latent]))
    assert ruler.markdown(Evidence([latent])) == "No control was estimated."


def test_headline_tells_the_answers_rows(latent: Tables) -> None:
    text = estimate_table.headline(Evidence([latent]).estimates)
    assert all(f"({key}) " in text for key in "LUI") and "confirmed" in text
    assert "needs study latent" in estimate_table.headline(Evidence([]).estimates)


def test_active_units_of_vaes_with_room_are_a_range_over_their_n() -> None:
    row = by_key(sweep_tables(active=lambda n, seed, f: min(n, 26 - (n == 200) * 3)))["U"]
    assert (row["least"], row["most"]) == (23.0, 26.0) and "over N = 50 to 200" in row["reason"]
    half = float(stats.t.ppf(0.975, 2)) / 12**0.5  # a count is known to its step
    assert [row["low"], row["high"]] == pytest.approx([23 - half, 26 + half]) and row["verdict"] == "confirmed"


def test_active_units_without_room_to_spare_bound_nothing_since_training_begins_so() -> None:
    row = by_key(sweep_tables(dims=(2, 5, 10, 20), active=lambda n, seed, f: n))["U"]
    assert row["verdict"] == "inconclusive" and "no latent to spare" in row["reason"] and row["value"] == 20.0
    frame = by_key(sweep_tables(active=lambda n, seed, f: n))
    for key in ("U", "c"):
        assert frame[key]["low"] > 100 and frame[key]["verdict"] == "inconclusive", "200 of 200 are active"


def test_active_units_by_kl_are_counted_in_each_latents_kl() -> None:
    kl = [1.0] * 12 + [0.02] * 3 + [0.005] * 185
    tables = sweep_tables(
        profiles=lambda r, name: {"kl_per_latent": kl[: r.config.latent_dim]} if name == "vae" else {}
    )
    row = by_key(tables)["U kl"]
    assert row["value"] == 15.0 and "over N = 20 to 200" in row["reason"]


def test_sweep_of_other_settings_is_read_where_there_is_no_default_one_and_names_them() -> None:
    narrow = sweep_tables(base={"hidden_dims": (64,), "learning_rate": 0.002})
    row = by_key(narrow)["a"]
    assert row["value"] == pytest.approx(SATURATED * np.exp(-1 / SLOPE))
    assert "with hidden_dims 64, learning_rate 0.002" in row["reason"]
    both = by_key(narrow, sweep_tables(nll=lambda network, n, seed, f: nll(network, min(2 * n, 200), seed, f)))["a"]
    assert both["value"] < row["value"] - 10 and "hidden_dims" not in both["reason"]


def test_estimates_of_other_data_are_settled_or_not_and_say_what_a_spec_lacks() -> None:
    frame = records(estimate_table.to_frame(Evidence([sweep_tables(dataset="strokes")], "strokes").estimates))
    rows = {row["key"]: row for row in frame}
    assert rows["a"]["verdict"] == "settled" and rows["c"]["verdict"] == "settled"
    assert "add the arm {model: autoencoder, activation: linear}" in rows["a linear"]["reason"]
    assert "task: intrinsic_dimension" in rows["I"]["reason"] and "task: pca" in rows["g 90 %"]["reason"]
    few = Evidence([sweep_tables(dims=(5, 10), dataset="strokes")], "strokes").estimates
    assert "too few N: needs an auto-encoder at 3 N or more, has N = 5, 10" in {one.reason for one in few}


def test_markdown_has_a_line_for_each_estimate_and_its_verdict(latent: Tables) -> None:
    estimates = Evidence([latent]).estimates
    lines = estimate_table.markdown(estimates).splitlines()
    assert len(lines) == len(estimates) + 2
    assert len({line.count("|") for line in lines}) == 1
    (headline,) = [line for line in lines if line.startswith("| **U** ")]
    assert "**25 [" in headline and "**confirmed**" in headline


def test_row_of_the_answer_tells_its_value_while_training() -> None:
    """Active units that fall from 40 to 25 while a description length stays."""
    units = {0.2: 40, 0.4: 33, 0.6: 28, 0.8: 26, 1.0: 25}
    tables = sweep_tables(active=lambda n, seed, fraction: min(n, units.get(fraction, n)))
    reasons = {key: row["reason"] for key, row in by_key(tables).items()}
    assert "N = 40, 33, 26, 25 after 20, 50, 80, 100 % of the training" in reasons["U"]
    length = figures(by_key(tables)["L"]["value"])
    assert f"N = {length}, {length}, {length}, {length} after 20, 50, 80, 100 %" in reasons["L"]
    assert "of the training" not in reasons["c"], "no row of the answer"
