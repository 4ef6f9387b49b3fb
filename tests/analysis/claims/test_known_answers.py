"""What enters a test, against numbers worked out by hand: curves, rates, the N reached; specification curves."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from analysis.claims.evaluate import Judgement
from analysis.claims.specification import CHOICE, plot_specification, specification_caption, specification_data
from analysis.claims.wording import needs
from analysis.evidence import Evidence
from analysis.figures.base import NotApplicableError
from tests.support.claims import (
    DIFFERENCE,
    ELU,
    EQUIVALENCE,
    LINEAR,
    ledger_of,
    tables,
    trial,
    verdict_of,
)
from tests.support.sweeps import intrinsic_tables

SEEDS = range(3)
VALUE = {"metric": "test_nll"}
THRESHOLD = {"kind": "threshold", "arms": ["elu"], "value": VALUE, "direction": "greater", "margin": 0.9}


def test_difference_p_value_and_interval_are_those_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(101, 1, 6), rng.normal(100, 1, 6)
    trials = [
        trial(arm, s, metrics={"test_nll": v[s]}) for arm, v in ((LINEAR, first), (ELU, second)) for s in range(6)
    ]
    (outcome,) = verdict_of(trials, DIFFERENCE).outcomes
    expected = stats.ttest_1samp(first - second, 1.0)
    assert outcome.p == pytest.approx(expected.pvalue)
    assert (outcome.low, outcome.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    (same,) = verdict_of(trials, EQUIVALENCE).outcomes
    assert (same.low, same.high) == pytest.approx(tuple(expected.confidence_interval(0.90)))


def test_networks_in_tf32_count_where_there_is_none_in_fp32_and_those_in_bf16_never() -> None:
    trials = [trial(ELU, 0, metrics={"test_nll": 100.0})]
    trials += [trial(ELU | {"precision": "tf32"}, seed, metrics={"test_nll": 200.0 + seed}) for seed in (0, 1)]
    trials += [trial(ELU | {"precision": "bf16"}, seed, metrics={"test_nll": 900.0}) for seed in range(4)]
    for order in (trials, trials[::-1]):
        (outcome,) = verdict_of(order, THRESHOLD).outcomes
        assert outcome.sample.seeds == (0, 1)
        assert outcome.estimate == (100.0 + 201.0) / 2


def test_bootstrap_stands_beside_from_20_seeds_on() -> None:
    values = np.random.default_rng(1).normal(3, 1, 20)
    trials = [trial(ELU, seed, metrics={"test_nll": value}) for seed, value in enumerate(values)]
    (outcome,) = verdict_of(trials, THRESHOLD).outcomes
    assert outcome.bootstrap == pytest.approx((outcome.low, outcome.high), abs=0.2)
    assert verdict_of(trials[:19], THRESHOLD).outcomes[0].bootstrap is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"profile": "kl_per_latent"}, 3.0),
        ({"profile": "kl_per_latent", "index": 1}, 1.0),
        ({"profile": "kl_per_latent", "reduce": "min"}, 1.0),
        ({"profile": "kl_per_latent", "reduce": "mean"}, 2.0),
        ({"profile": "kl_per_latent", "at": 0.2}, 7.0),
        ({"metric": "test_nll", "excess": True}, 55.0),
        ({"metric": "test_nll", "at": 0.25}, 140.0),  # the last evaluation up to step 250
        ({"metric": "test_nll", "steps_until": {"target": 140}}, 200.0),
        ({"metric": "test_nll", "steps_until": {"target": 1000}}, 1.0),  # at step 0 already
        ({"metric": "test_nll", "steps_until": {"within": 0.1}}, 600.0),  # 110, and not 90 at step 400
        ({"profile": "recognition_curve", "steps_until": {"share": 0.9}}, 600.0),
        ({"profile": "recognition_curve", "steps_until": {"share": 0.9, "least": 0.85}}, 600.0),
        ({"profile": "recognition_curve", "steps_until": {"reaches": 0.6}}, 600.0),
        ({"profile": "recognition_curve", "steps_until": {"reaches": 0.05}}, 1.0),  # at step 0 already
        ({"profile": "recognition_curve", "at": 0.0}, 0.1),
        ({"profile": "projection_sse", "index": "encoded"}, 9.0),
        ({"profile": "projection_sse", "index": "optimised"}, 4.0),
        ({"profile": "projection_sse", "reduce": "min"}, 4.0),
    ],
)
def test_value_is_read_as_its_description_says(value: dict[str, Any], expected: float) -> None:
    curve = {0: 500.0, 200: 140.0, 400: 89.0, 600: 110.0, 1000: 100.0}
    profiles = {(200, "kl_per_latent"): [7.0, 8.0], (1000, "kl_per_latent"): [3.0, 1.0]}
    profiles |= {(1000, "projection_sse"): [9.0, 4.0]}
    read = {(step, "recognition_curve"): [share] for step, share in ((0, 0.1), (200, 0.5), (600, 0.8), (1000, 0.85))}
    one = trial(ELU, 0, curve=curve, metrics={"test_nll": 100.0}, profiles=profiles | read)
    (outcome,) = verdict_of([one], THRESHOLD | {"value": value}).outcomes
    assert outcome.estimate == pytest.approx(expected)


def test_threshold_against_another_value_is_of_the_same_replicate() -> None:
    trials = [
        trial(ELU, seed, profiles={(1000, "recognition"): [0.70 + seed / 10], (1000, "recognition_originals"): [0.99]})
        for seed in SEEDS
    ]
    part = THRESHOLD | {"value": {"profile": "recognition"}, "against": {"profile": "recognition_originals"}}
    (outcome,) = verdict_of(trials, part | {"direction": "less", "margin": 0}).outcomes
    assert outcome.estimate == pytest.approx(0.80 - 0.99)
    assert outcome.sample.contrast == "elu, minus its recognition originals"


def test_threshold_each_index_is_a_test_of_its_own() -> None:
    trials = [trial(ELU, s, profiles={(1000, "probe_knn"): [0.5 + s / 100, 0.95 + s / 100]}) for s in SEEDS]
    value = {"profile": "probe_knn", "each": ["100 labels", "1,000 labels"]}
    found = verdict_of(trials, THRESHOLD | {"value": value, "margin": 0.8}).outcomes
    assert {outcome.sample.at["index"]: outcome.verdict for outcome in found} == {
        "100 labels": "refuted",
        "1,000 labels": "confirmed",
    }


@pytest.mark.parametrize("draws", [1, 3])
def test_value_that_a_seed_draws_for_is_paired_with_that_seeds_draw_in_closed_form(draws: int) -> None:
    pixels = {"task": "pca", "latent_dim": 784}
    luck = [0.0, 0.2, -0.1]  # of the labels drawn, the same in both arms
    trials = [trial(ELU, s, profiles={(1000, "probe_knn"): [0.7 + luck[s] + s / 1000, 0.9]}) for s in SEEDS]
    names = ["probe_knn", "probe_knn/1", "probe_knn/2"][:draws]
    trials.append(trial(pixels, 0, profiles={(1000, name): [0.6 + luck[s], 0.8] for s, name in enumerate(names)}))
    value = {"profile": "probe_knn", "drawn": True, "each": ["100 labels"]}
    part = DIFFERENCE | {"pairs": [["elu", "pixels"]], "value": value, "margin": 0.01}
    (paired,) = verdict_of(trials, part).outcomes
    assert paired.sample.seeds == tuple(range(draws)) and paired.estimate == pytest.approx(0.1 + (draws - 1) / 2000)
    assert paired.verdict == ("confirmed" if draws == 3 else "inconclusive")
    (broadcast,) = verdict_of(trials, part | {"value": value | {"drawn": False}}).outcomes
    assert broadcast.verdict == "inconclusive" and broadcast.sample.seeds == (0, 1, 2)


def test_network_whose_end_is_below_the_least_never_gets_to_a_share_of_it() -> None:
    curves = {"linear": [0.1, 0.1, 0.1], "elu": [0.1, 0.5, 0.8]}
    trials = [
        trial(
            {"activation": name},
            s,
            profiles={(at, "recognition_curve"): [v] for at, v in zip((0, 10, 1000), curve, strict=True)},
        )
        for name, curve in curves.items()
        for s in range(6)
    ]
    value = {"profile": "recognition_curve", "steps_until": {"share": 0.5}}
    part = DIFFERENCE | {"kind": "log10_ratio", "margin": 0.3, "value": value}
    assert verdict_of(trials, part).outcomes[0].estimate == -1.0
    value["steps_until"]["least"] = 0.2  # type: ignore[index]
    (outcome,) = verdict_of(trials, part).outcomes
    assert (outcome.estimate, outcome.verdict) == (2.0, "confirmed")
    assert "never got there in 6 of 6 seeds" in outcome.note and "the same in each of 6 seeds" in outcome.note


def test_equivalence_to_a_number_is_of_the_value_less_that_number() -> None:
    trials = [trial(ELU, seed, profiles={(1000, "jacobian_rank"): [5.0, 5.0, 5.0]}) for seed in SEEDS]
    part = {
        "kind": "equivalence",
        "arms": ["elu"],
        "value": {"profile": "jacobian_rank", "index": "median"},
        "margin": 2,
    }
    assert verdict_of(trials, part | {"target": 5}).verdict == "confirmed"
    assert verdict_of(trials, part | {"target": 13}).verdict == "refuted"
    (fine,) = verdict_of(trials, part | {"target": 5, "margin": 0.5}).outcomes
    assert fine.verdict == "inconclusive" and "the same in each of 3 seeds" in fine.note  # a count is known to its step


def test_equivalence_against_another_value_is_of_the_same_replicate_or_of_the_other_arm() -> None:
    trials = [
        trial(ELU, s, metrics={"test_nll": 100.0 + s}, profiles={(1000, "logistic_pca_nll"): [100.2 + s]})
        for s in SEEDS
    ]
    trials.append(trial({"task": "pca"}, 0, profiles={(1000, "logistic_pca_nll"): [90.0]}, metrics={"test_nll": 158.0}))
    part = {"kind": "equivalence", "value": VALUE, "against": {"profile": "logistic_pca_nll"}, "margin": 1}
    (own,) = verdict_of(trials, part | {"arms": ["elu"]}).outcomes
    assert own.verdict == "confirmed" and own.estimate == pytest.approx(-0.2)
    assert own.sample.contrast == "elu, minus its logistic PCA NLL"
    (other,) = verdict_of(trials, part | {"pairs": [["elu", "pca"]], "beside_excess": [0.05]}).outcomes
    assert other.verdict == "refuted" and other.estimate == pytest.approx(11.0)
    assert (other.sample.contrast, other.sample.excess) == ("elu minus pca's logistic PCA NLL", 45.0)
    without = [one for one in trials if one["config"].task == "train"]
    assert verdict_of(without, part | {"pairs": [["elu", "pca"]]}).verdict == "not measured"


def test_by_between_two_values_tests_those_alone() -> None:
    trials = [
        trial(arm | {"latent_dim": dim}, s, metrics={"test_nll": nll + s})
        for dim, gap in ((5, 40.0), (50, 2.0), (200, 0.5))
        for arm, nll in ((LINEAR, 100.0 + gap), (ELU, 100.0))
        for s in SEEDS
    ]
    part = DIFFERENCE | {"by": "latent_dim"}
    assert verdict_of(trials, part).verdict == "refuted"
    up_to_50 = verdict_of(trials, part | {"between": [1, 50]})
    assert [o.sample.at["latent_dim"] for o in up_to_50.outcomes] == [5, 50] and up_to_50.verdict == "confirmed"
    assert verdict_of(trials, part | {"between": [51, 784]}).verdict == "refuted"
    assert verdict_of(trials, part | {"between": [300, 784]}).verdict == "not measured"


def test_steps_ratio_of_an_arm_that_never_gets_there_is_a_lower_bound() -> None:
    slow = {0: 500.0, 500: 300.0, 1000: 200.0}
    fast = {0: 500.0, 10: 150.0, 1000: 100.0}
    trials = [trial(LINEAR, s, curve=slow, metrics={"test_nll": 200.0}) for s in range(6)]
    trials += [trial(ELU, s, curve=fast, metrics={"test_nll": 100.0}) for s in range(6)]
    part = DIFFERENCE | {"kind": "log10_ratio", "value": VALUE | {"steps_until": {"target": 160}}, "margin": 0.3}
    (outcome,) = verdict_of(trials, part).outcomes
    assert (outcome.estimate, outcome.verdict, outcome.high) == (2.0, "confirmed", np.inf)
    assert "first arm never got there in 6 of 6 seeds" in outcome.note
    (far,) = verdict_of(trials, part | {"margin": 2.5}).outcomes
    assert far.verdict == "inconclusive"  # a lower bound of 2 does not refute "> 2.5"
    (other,) = verdict_of(trials, part | {"pairs": [["elu", "linear"]]}).outcomes
    assert (other.verdict, other.low) == ("refuted", -np.inf)  # at most 0.01 times as long
    assert "second arm never got there in 6 of 6 seeds" in other.note
    (neither,) = verdict_of(trials, part | {"value": VALUE | {"steps_until": {"target": 50}}}).outcomes
    assert (neither.verdict, neither.low, neither.high) == ("inconclusive", -np.inf, np.inf)
    few = [one for one in trials if one["seed"] < 3]
    assert verdict_of(few, part).outcomes[0].verdict == "inconclusive", "equal bounds are no certainty: a sign test"


def test_time_read_at_evaluations_is_known_between_two_of_them() -> None:
    curves = {"linear": {0: 500.0, 100: 300.0, 1000: 100.0}, "elu": {0: 500.0, 10: 300.0, 100: 150.0, 1000: 90.0}}
    trials = [
        trial({"activation": name}, s, curve=curve, metrics={"test_nll": curve[1000]})
        for name, curve in curves.items()
        for s in SEEDS
    ]
    part = DIFFERENCE | {"kind": "log10_ratio", "value": VALUE | {"steps_until": {"target": 160}}, "margin": 0.3}
    (outcome,) = verdict_of(trials, part).outcomes
    assert outcome.estimate == 1.0 and outcome.verdict == "inconclusive"
    assert outcome.low is not None and outcome.high is not None
    assert outcome.low < 0.0 < 2.0 < outcome.high  # 100 to 1,000 steps over 10 to 100
    assert outcome.p is not None and outcome.p > 0.05
    assert "longer runs or finer evaluations" in needs(outcome)


def test_specification_of_a_bound_is_drawn_without_its_open_end() -> None:
    curves = {LINEAR["activation"]: {0: 500.0, 1000: 200.0}, ELU["activation"]: {0: 500.0, 10: 150.0, 1000: 100.0}}
    trials = [
        trial({"activation": name, "init": init}, s, curve=curve, metrics={"test_nll": curve[1000]})
        for name, curve in curves.items()
        for init in ("he", "xavier")
        for s in SEEDS
    ]
    value = VALUE | {"steps_until": {"target": 160}}
    part = DIFFERENCE | {"kind": "log10_ratio", "value": value, "margin": 0.3, "readings": ["init"]}
    frame = specification_data(verdict_of(trials, part))
    assert frame["high"].isna().all() and np.isfinite(frame["low"]).all()
    assert len(plot_specification(frame).axes) == 2


def test_rate_is_the_share_of_trials_in_trouble_over_matched_cells_by_seed() -> None:
    def outcome_of(l2: float, init: str, clip: float, seed: int) -> dict[str, Any]:
        if not l2 and init == "xavier":
            return {"status": "diverged"} if clip else {"collapsed": True}
        return {"status": "failed"} if (l2, init, clip, seed) == (0.0, "he", 5.0, 0) else {}

    cells = list(itertools.product((0.0, 1e-5), ("he", "xavier", "default"), (0.0, 5.0), SEEDS))
    trials = [
        trial(ELU | {"l2": l2, "init": init, "grad_clip": clip}, seed, **outcome_of(l2, init, clip, seed))
        for l2, init, clip, seed in cells
    ]
    part = {"kind": "rate", "pairs": [["with L2", "without L2"]], "over": ["init", "grad_clip"], "direction": "less"}
    (outcome,) = verdict_of(trials, part).outcomes
    assert outcome.estimate == pytest.approx(-6 / 17)  # the failed one's cell is not in seed 0
    assert outcome.p == pytest.approx(2 * 0.5**6)  # the sign test: all six pairs that differ speak for L2
    assert outcome.verdict == "confirmed"
    assert "0 of 17 in with L2, 6 of 17 in without L2" in outcome.note
    assert (outcome.sample.trouble.failed, outcome.sample.trouble.diverged, outcome.sample.trouble.collapsed) == (
        1,
        3,
        3,
    )
    (nothing,) = verdict_of([t for t in trials if t["config"].init == "default"], part).outcomes
    assert (nothing.verdict, nothing.estimate) == ("inconclusive", 0.0)
    assert "nothing to avoid" in nothing.note


def test_rate_of_too_few_trials_says_how_many_seeds_can_decide() -> None:
    trials = [trial(ELU | {"l2": l2}, s, collapsed=not l2) for l2 in (0.0, 1e-5) for s in range(2)]
    part = {"kind": "rate", "pairs": [["with L2", "without L2"]], "over": ["init"], "direction": "less"}
    (outcome,) = verdict_of(trials, part).outcomes
    assert (outcome.verdict, outcome.p, outcome.more_seeds) == ("inconclusive", 0.5, 4)
    assert "cannot be decided with 2 seeds, needs 6" in outcome.note
    decided = [trial(ELU | {"l2": l2}, s, collapsed=not l2) for l2 in (0.0, 1e-5) for s in range(6)]
    assert verdict_of(decided, part).verdict == "confirmed"


def _curves(offset: dict[str, float], swing: float = 0.0) -> list[dict[str, Any]]:
    """Curves of networks that lie `offset` apart; that of ReLU swings about its level from evaluation to evaluation."""
    steps = range(0, 1001, 100)
    trials = []
    for (name, level), seed in itertools.product(offset.items(), SEEDS):
        curve = {
            step: 100.0
            + seed
            + level
            + (swing if name == "relu" and step % 200 else 0.0)
            + (300.0 if step == 0 else 0.0)
            for step in steps
        }
        trials.append(trial({"activation": name}, seed, curve=curve, metrics={"test_nll": curve[1000]}))
    return trials


CURVES = {"kind": "curves", "arms": ["sigmoid", "relu", "elu"], "metric": "test_nll", "after": 0.05}


def test_curves_gaps_are_those_of_the_seed_means() -> None:
    trials = _curves({"sigmoid": 0.0, "relu": 0.5, "elu": 0.25}, swing=3.0)  # the gap is 3.5 at 5 of 10 steps, else 0.5
    mean, largest = verdict_of(
        trials,
        CURVES | {"statistic": "mean_gap", "direction": "less", "margin": 1},
        CURVES | {"statistic": "largest_gap", "direction": "less", "margin": 3.8},
    ).outcomes
    assert mean.estimate == pytest.approx(2.0) and mean.verdict == "refuted"
    assert largest.estimate == pytest.approx(3.5) and largest.verdict == "confirmed"
    assert mean.note == "10 evaluations" and mean.low is not None and mean.high is not None
    assert mean.low < 2.0 < mean.high


def test_curves_least_lead_is_the_share_of_the_arm_that_leads_least() -> None:
    trials = _curves({"sigmoid": 0.0, "relu": -1.0, "elu": 5.0}, swing=3.0)
    part = CURVES | {"statistic": "least_lead", "direction": "greater", "margin": 0.2}
    (outcome,) = verdict_of(trials, part).outcomes
    assert (outcome.estimate, outcome.verdict) == (0.0, "refuted")
    assert verdict_of(trials, part | {"margin": 0.05}).verdict == "inconclusive"  # ten evaluations are too few for 5 %
    assert "sigmoid 50 %, relu 50 %, elu 0 %" in outcome.note
    (two,) = verdict_of(trials, part | {"arms": ["sigmoid", "relu"]}).outcomes
    assert (two.estimate, two.verdict) == (0.5, "confirmed")


def test_curves_apart_read_each_arm_at_another_seed_so_that_shared_batches_decide_nothing() -> None:
    """Batches move a seed's networks together by 10; ReLU is 1 below ELU at each of them."""
    rng = np.random.default_rng(0)
    steps = range(0, 4001, 40)
    batch = {(s, step): 10 * rng.standard_normal() for s in range(5) for step in steps}
    trials = [
        trial(
            {"activation": name}, s, curve={t: 100.0 + level + batch[s, t] for t in steps}, metrics={"test_nll": 100.0}
        )
        for name, level in (("relu", -1.0), ("elu", 0.0))
        for s in range(5)
    ]
    for one in trials:
        one["config"] = one["config"].model_copy(update={"steps": 4000})
        one["metrics"] = {"test_nll": one["curve"][4000]}
    part = CURVES | {"arms": ["relu", "elu"], "statistic": "least_lead", "direction": "greater", "margin": 0.05}
    (together,) = verdict_of(trials, part).outcomes
    assert (together.estimate, together.verdict) == (0.0, "refuted") and "noise" not in together.note
    (apart,) = verdict_of(trials, part | {"apart": True}).outcomes
    assert apart.verdict == "confirmed" and apart.estimate is not None and 0.4 < apart.estimate < 0.5
    assert "noise of sd 1" in apart.note and "predicts relu 53 %, elu 47 %" in apart.note
    alone = [one for one in trials if one["seed"] == 0]
    (too_few,) = verdict_of(alone, part | {"apart": True}).outcomes
    assert too_few.verdict == "not measured" and "2 networks at different seeds" in too_few.note


def test_reach_is_interpolated_in_log_n() -> None:
    ends = {2: 180.0, 5: 150.0, 20: 110.0, 80: 70.0}  # 100 lies a quarter of the way from 20 to 80 in log N
    trials = [
        trial(LINEAR | {"latent_dim": dim, "steps": 500 if dim < 20 else 1000}, s, metrics={"test_nll": nll + s})
        for dim, nll in ends.items()
        for s in SEEDS
    ]
    goal = [trial(ELU, s, metrics={"test_nll": 100.0 + s}) for s in SEEDS]
    part = {"kind": "reach", "curve": "linear", "goal": "elu", "goal_at": 5, "value": VALUE, "direction": "greater"}
    (outcome,) = verdict_of([*trials, *goal], part | {"margin": 10, "beside": [50]}).outcomes
    assert outcome.estimate == pytest.approx(20 * 4**0.25)
    assert (outcome.verdict, outcome.asides[0].verdict) == ("confirmed", "refuted")
    assert outcome.sample.budget_text == "500 to 1,000 steps"
    far = [trial(ELU, s, metrics={"test_nll": 50.0}) for s in SEEDS]
    (never,) = verdict_of([*trials, *far], part | {"margin": 10}).outcomes
    assert (never.estimate, "lower bound" in never.note) == (80.0, True)


def test_reach_reads_the_goal_at_the_n_that_it_names() -> None:
    trials = [
        trial(arm | {"latent_dim": dim}, s, metrics={"test_nll": nll + s})
        for arm, ends in ((LINEAR, {2: 180.0, 8: 100.0, 9: 60.0}), (ELU, {2: 100.0, 5: 60.0, 8: 50.0}))
        for dim, nll in ends.items()
        for s in SEEDS
    ]
    part = {"kind": "reach", "curve": "linear", "goal": "elu", "goal_at": 2, "value": VALUE, "direction": "greater"}
    (outcome,) = verdict_of(trials, part | {"margin": 5}).outcomes
    assert outcome.estimate == pytest.approx(8.0) and outcome.verdict == "confirmed"  # ELU has 60 at its default N


def test_reach_without_the_goals_n_is_the_n_from_which_on_two_arms_are_alike() -> None:
    gaps = {2: 40.0, 20: 5.0, 80: 1.0}  # 3 lies half of the way from 20 to 80 in log N
    trials = [
        trial(arm | {"latent_dim": dim}, s, metrics={"test_nll": 100.0 - dim + extra * gap + s})
        for dim, gap in gaps.items()
        for arm, extra in ((LINEAR, 1.0), (ELU, 0.0))
        for s in SEEDS
    ]
    part = {"kind": "reach", "curve": "linear", "goal": "elu", "value": VALUE, "direction": "greater", "margin": 30}
    (alike,) = verdict_of(trials, part | {"within": 3}).outcomes
    assert alike.estimate == pytest.approx(40.0) and alike.verdict == "confirmed"
    assert alike.sample.contrast == "N at which linear comes within 3 of elu at that N"
    (never,) = verdict_of(trials, part | {"within": 0.5}).outcomes
    assert (never.estimate, "lower bound" in never.note) == (80.0, True)
    alone = [one for one in trials if one["config"].activation == "linear"]
    assert verdict_of(alone, part | {"within": 3}).verdict == "not measured"


def test_interaction_is_the_change_of_the_difference_over_n() -> None:
    trials = [
        trial({"activation": name, "latent_dim": dim}, s, metrics={"test_nll": 100.0 - dim + s * 0.1 + gap})
        for dim, gaps in ((2, (0.0, 5.0)), (5, (0.0, 5.1)), (20, (0.0, 9.0)))
        for name, gap in zip(("relu", "elu"), gaps, strict=True)
        for s in SEEDS
    ]
    part = EQUIVALENCE | {"kind": "interaction", "pairs": [["elu", "relu"]], "by": "latent_dim", "reference": 5}
    found = {outcome.sample.at["latent_dim"]: outcome for outcome in verdict_of(trials, part).outcomes}
    assert {dim: outcome.verdict for dim, outcome in found.items()} == {2: "confirmed", 20: "refuted"}
    assert found[20].estimate == pytest.approx(3.9)


def test_dimension_and_control_parts_are_the_estimates_of_the_dimension_module() -> None:
    trials = [
        trial(
            ELU | {"latent_dim": dim, "dataset": data}, s, curve={800: nll + s / 10}, metrics={"test_nll": nll + s / 10}
        )
        for data in ("mnist", "strokes-4-one")
        for dim, nll in ((2, 140.0), (4, 100.4), (16, 100.0), (64, 100.0))
        for s in SEEDS
    ]
    made = tables(*trials, study="latent")
    begins_at_4 = [one for one in trials if one["config"].latent_dim != 2]
    row = next(one for one in Evidence([made]).estimates if one.key == "a")
    parts: list[dict[str, Any]] = [{"kind": "dimension", "key": "a"}, {"kind": "dimension", "key": "c"}]
    parts += [{"kind": "control", "estimator": "a", "dataset": "strokes-4-one", "tolerance": t} for t in (1, 1e-6)]
    a, c, near, exact = Evidence([made]).judge(ledger_of(*parts))[0].outcomes
    (unsettled,) = Evidence([tables(*begins_at_4, study="latent")]).judge(ledger_of(parts[2]))[0].outcomes
    assert (unsettled.estimate, unsettled.verdict) == (4.0, "inconclusive") and "an upper bound" in unsettled.note
    assert (a.verdict, a.estimate) == (row.verdict, row.value)
    assert c.verdict == "not measured"
    assert (near.verdict, exact.verdict) == ("confirmed", "refuted")


@pytest.mark.parametrize(
    ("dims", "verdict", "note"),
    [((4, 7, 8, 16), "confirmed", ""), ((2, 4, 8, 16), "inconclusive", "on this grid it may be any N from 5 to 8")],
)
def test_control_is_confirmed_only_where_the_grid_leaves_no_n_open_outside(dims, verdict, note) -> None:
    trials = [
        trial(
            ELU | {"latent_dim": dim, "dataset": "strokes-8-one"},
            s,
            curve={800: 100.0 + max(8 - dim, 0) * (10 + s)},
            metrics={"test_nll": 100.0 + max(8 - dim, 0) * (10 + s)},
        )
        for dim in dims
        for s in SEEDS
    ]
    part = {"kind": "control", "estimator": "a", "dataset": "strokes-8-one", "tolerance": 1}
    (found,) = Evidence([tables(*trials, study="controls")]).judge(ledger_of(part))[0].outcomes
    assert found.estimate == pytest.approx(7.9, abs=0.1) and (found.verdict, found.note) == (verdict, note)


def test_control_of_the_images_own_dimension_is_that_of_the_intrinsic_estimator() -> None:
    raw = intrinsic_tables(lambda name, n, digit, seed: 3.9 + 0.01 * seed, datasets=("strokes-4",))
    part = {"kind": "control", "estimator": "TwoNN", "dataset": "strokes-4", "tolerance": 1}
    (found,) = Evidence([raw]).judge(ledger_of(part))[0].outcomes
    assert found.estimate == pytest.approx(3.9, abs=0.05) and found.verdict == "confirmed"


@cache
def _readings(outputs: tuple[str, ...], inits: tuple[str, ...], clips: tuple[float, ...]) -> Judgement:
    trials = [
        trial(
            {"activation": arm, "output": out, "init": init, "grad_clip": clip}, s, metrics={"test_nll": nll + 2.0 * s}
        )
        for out, init, clip in itertools.product(outputs, inits, clips)
        for arm, nll in (("elu", 100.0), ("linear", {"clipped": 1500.0, "sigmoid": 147.0}[out] + len(init) + clip))
        for s in SEEDS
    ]
    part = DIFFERENCE | {"kind": "log10_ratio", "readings": True, "beside": [2.0], "unit": "log10"}
    return verdict_of(trials, part, part | {"value": VALUE | {"excess": True}}, rule="split")


def test_specification_data_is_sorted_and_names_the_choices_that_differ() -> None:
    frame = specification_data(_readings(("clipped", "sigmoid"), ("he", "xavier"), (5.0,)))
    assert frame["estimate"].is_monotonic_increasing
    assert list(frame["order"]) == list(range(8))  # 2 outputs, 2 inits, raw and excess
    assert {column for column in map(str, frame) if column.startswith(CHOICE)} == {
        "choice/output, linear",
        "choice/init",
        "choice/loss",
    }
    clipped = frame[frame["choice/output, linear"] == "clipped"]
    assert set(clipped["verdict"]) == {"confirmed"} and set(clipped["order"]) == {4, 5, 6, 7}
    caption = specification_caption(frame)
    assert "8 specifications: 4 confirmed, 4 refuted" in caption
    assert "3 seeds, bars are 95 % t intervals" in caption


def test_reason_tells_output_head_and_initialisation_apart_where_several_were_measured() -> None:
    several = _readings(("clipped", "sigmoid"), ("he", "xavier"), (5.0,)).reason
    for part in ("clipped output and he init 2 confirmed", "sigmoid output and xavier init 2 refuted"):
        assert f"; with the {part}" in several
    one = _readings(("clipped", "sigmoid"), ("he",), (5.0, 0.0)).reason
    assert "; with the clipped output 4 confirmed" in one and "init" not in one


def test_specification_of_parts_with_margins_of_their_own_has_a_panel_for_each() -> None:
    trials = [
        trial({"activation": "linear", "output": out}, s, metrics={"test_nll": nll + s, "test_sse": nll / 1000})
        for out, nll in (("clipped", 500.0), ("sigmoid", 147.0))
        for s in SEEDS
    ]
    threshold = {"kind": "threshold", "arms": ["linear"], "readings": ["output"], "direction": "greater"}
    parts: list[dict[str, Any]] = [
        threshold | {"value": {"metric": "test_sse"}, "margin": 0.1, "unit": "squared grey"},
        threshold | {"value": {"metric": "test_sse"}, "margin": 0.2, "unit": "squared grey", "direction": "less"},
        threshold | {"value": VALUE, "margin": 200, "unit": "nats"},
        {"kind": "not_measured", "reason": "nobody was asked"},
    ]
    frame = specification_data(verdict_of(trials, *parts))
    assert list(frame["panel"]) == [0, 0, 1, 1, 2, 2]
    caption = specification_caption(frame)
    assert "claimed, the line: above 0.1, below 0.2, above 200)" in caption and "“p3” (1)" in caption
    uppers = plot_specification(frame).axes[:3]
    assert [float(np.asarray(ax.lines[-2].get_ydata())[0]) for ax in uppers] == [0.1, 0.2, 200]
    assert [ax.get_ylabel() for ax in uppers] == ["squared grey", "squared grey", "nats"]
    assert [ax.get_yscale() for ax in uppers] == ["linear", "linear", "symlog"]
    assert [ax.get_title(loc="left").splitlines()[-1] for ax in uppers] == [
        "claimed: above 0.1",
        "claimed: below 0.2",
        "claimed: above 200",
    ]


def test_specification_says_a_logarithm_as_the_ratio_that_it_stands_for() -> None:
    frame = specification_data(_readings(("clipped", "sigmoid"), ("he", "xavier"), (5.0,)))
    assert set(frame["claimed"]) == {"above 10 times; dashed: 100 times"}
    assert "(claimed, the line: above 10 times; dashed: 100 times)" in specification_caption(frame)
    (upper, _), title = (figure := plot_specification(frame)).axes, "test NLL: linear over elu\nclaimed: above 10 times"
    assert upper.get_title(loc="left") == title and upper.get_ylabel() == "ratio" and len(figure.axes) == 2
    assert [label.get_text() for label in upper.get_yticklabels()] == ["equal", "10 times", "100 times"]


def test_specification_data_of_one_reading_is_not_applicable() -> None:
    with pytest.raises(NotApplicableError, match="fewer than two readings of C1"):
        specification_data(_readings(("sigmoid",), ("he",), (5.0,)))


def test_plot_specification_has_a_mark_for_each_effect_and_a_row_for_each_choice() -> None:
    frame = specification_data(_readings(("clipped", "sigmoid"), ("he",), (5.0, 0.0)))
    figure = plot_specification(frame)
    assert isinstance(figure, Figure)
    upper, lower = figure.axes
    drawn = np.concatenate([line.get_ydata() for line in upper.lines if line.get_linestyle() == "None"])
    assert sorted(drawn) == pytest.approx(sorted(frame["estimate"]))
    labels = [label.get_text() for label in lower.get_yticklabels()]
    assert labels == ["clipped", "sigmoid", "off", "±5", "above floor", "raw"]
