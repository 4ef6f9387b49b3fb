"""Each kind of test gives the verdict of a made-up effect; also `trial`, `tables`, `ledger_of`: what is made up."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import Any

import pyarrow.parquet as pq
import pytest

from analysis.claims import markdown
from analysis.claims.ledger import READING_FIELDS, load
from analysis.evidence import Evidence
from study.table import Tables
from tests.support.claims import DIFFERENCE, ELU, EQUIVALENCE, LINEAR, arms, ledger_of, tables, trial, verdict_of


def test_evaluate_without_tables_measures_nothing_and_names_the_studies() -> None:
    verdicts = Evidence([]).verdicts
    assert {verdict.verdict for verdict in verdicts} == {"not measured"}
    for verdict in verdicts:
        assert all(study in verdict.reason for study in verdict.claim.studies), verdict.claim.id


def test_reason_of_many_tests_counts_them_and_names_the_few_that_refute() -> None:
    trials = arms([147.1, 146.8, 147.0], [99.0, 99.3, 99.1])  # 48 apart
    true, false = DIFFERENCE, DIFFERENCE | {"margin": 60}
    reason = verdict_of(trials, *[true] * 5, false).reason
    assert reason.startswith("6 tests: 5 confirmed, 1 refuted; p5 (linear minus elu): refuted, 47.83 [")
    assert "p0" not in reason
    assert verdict_of(trials, *[true] * 3, *[false] * 3).reason == "6 tests: 3 confirmed, 3 refuted"
    single = [
        *arms([147.1, 146.8, 147.0], [99.0, 99.3, 99.1]),
        trial(ELU | {"activation": "relu"}, 0, metrics={"test_nll": 100.0}),
    ]
    undecided = verdict_of(single, *[true] * 5, DIFFERENCE | {"pairs": [["linear", "relu"]]})
    assert undecided.verdict == "inconclusive"
    assert undecided.reason.startswith("6 tests: 5 confirmed, 1 inconclusive; p5 (linear minus relu): inconclusive, ")


def test_difference_far_above_the_margin_is_confirmed_and_of_the_wrong_sign_refuted() -> None:
    trials = arms([147.1, 146.8, 147.0], [99.0, 99.3, 99.1])
    assert verdict_of(trials, DIFFERENCE).verdict == "confirmed"
    assert verdict_of(trials, DIFFERENCE | {"pairs": [["elu", "linear"]]}).verdict == "refuted"
    assert verdict_of(trials, DIFFERENCE | {"direction": "less"}).verdict == "refuted"
    assert verdict_of(trials, DIFFERENCE | {"direction": "less", "margin": 60}).verdict == "confirmed"


def test_difference_below_the_margin_but_above_0_is_refuted() -> None:
    assert verdict_of(arms([100.3, 100.4, 100.5], [100.0, 100.1, 100.3]), DIFFERENCE).verdict == "refuted"


def test_one_seed_is_inconclusive_and_asks_for_another() -> None:
    verdict = verdict_of(arms([147.0], [99.0]), DIFFERENCE)
    (outcome,) = verdict.outcomes
    assert (verdict.verdict, outcome.more_seeds, outcome.estimate) == ("inconclusive", 1, 48.0)
    assert "at least 1 more seed" in markdown.to_markdown([verdict])


def test_noise_is_inconclusive_and_says_how_many_more_seeds_would_do() -> None:
    (outcome,) = verdict_of(arms([103.0, 99.0, 106.0], [100.0, 100.0, 100.0]), DIFFERENCE).outcomes
    assert outcome.verdict == "inconclusive"
    assert outcome.more_seeds is not None and 5 < outcome.more_seeds < 100


def test_equivalence_within_the_margin_is_confirmed_and_outside_refuted() -> None:
    inside = arms([100.2, 100.1, 99.9, 100.0], [100.0, 100.0, 100.0, 100.0])
    outside = arms([103.2, 103.1, 102.9, 103.0], [100.0, 100.0, 100.0, 100.0])
    between = arms([101.4, 100.2, 99.9, 101.0], [100.0, 100.0, 100.0, 100.0])
    assert verdict_of(inside, EQUIVALENCE).verdict == "confirmed"
    assert verdict_of(outside, EQUIVALENCE).verdict == "refuted"
    assert verdict_of(outside, EQUIVALENCE | {"pairs": [["elu", "linear"]]}).verdict == "refuted"
    undecided = verdict_of(between, EQUIVALENCE)
    assert undecided.verdict == "inconclusive"
    assert undecided.outcomes[0].more_seeds is not None


def test_equivalence_stands_beside_at_shares_of_the_excess() -> None:
    trials = arms([100.8, 100.9, 100.7], [100.0, 100.0, 100.0])  # 0.8 of an excess of 55: 1 % is 0.55, 5 % is 2.75
    (outcome,) = verdict_of(trials, EQUIVALENCE | {"beside_excess": [0.01, 0.05]}).outcomes
    assert [(aside.margin, aside.verdict) for aside in outcome.asides] == [
        ("1 % of the excess", "refuted"),
        ("5 % of the excess", "confirmed"),
    ]


def test_log10_ratio_above_10_is_confirmed_at_1_and_refuted_at_2() -> None:
    ratio = DIFFERENCE | {"kind": "log10_ratio", "margin": 1, "beside": [2.0]}
    trials = arms([1545.0, 1560.0, 1550.0], [100.0, 101.0, 100.5])
    (outcome,) = verdict_of(trials, ratio).outcomes
    assert (outcome.verdict, [aside.verdict for aside in outcome.asides]) == ("confirmed", ["refuted"])
    assert outcome.estimate == pytest.approx(1.1884, abs=1e-3)
    (above,) = verdict_of(trials, ratio | {"value": {"metric": "test_nll", "excess": True}}).outcomes
    assert above.estimate == pytest.approx(1.4335, abs=1e-3)  # 1506.7 / 55.5


def test_margin_less_than_the_estimate_in_one_reading_only_gives_a_split_claim() -> None:
    clipped = [trial(LINEAR | {"output": "clipped"}, seed, metrics={"test_nll": 1500.0 + seed}) for seed in range(3)]
    trials = [*arms([147.0, 147.2, 147.1], [99.0, 99.1, 99.2]), *clipped]
    part = DIFFERENCE | {"kind": "log10_ratio", "readings": ["output"]}
    verdict = verdict_of(trials, part, rule="split")
    assert verdict.verdict == "split"
    assert {dict(o.sample.departs).get("output", "sigmoid"): o.verdict for o in verdict.outcomes} == {
        "clipped": "confirmed",
        "sigmoid": "refuted",
    }
    table = markdown.split_table(verdict)
    assert table.to_dict("list") == {
        "output": ["clipped", "sigmoid"], "init": ["he", "he"], "confirmed": [1, 0], "refuted": [0, 1],
    }  # fmt: skip
    assert "with the clipped output" in verdict.reason or "output clipped" in verdict.reason


def test_readings_pair_each_with_the_same_reading_of_the_other_arm() -> None:
    trials = [
        trial(arm | {"init": init}, seed, metrics={"test_nll": nll + seed})
        for init, ends in {"he": (120.0, 100.0), "xavier": (90.0, 100.0)}.items()
        for arm, nll in zip((LINEAR, ELU), ends, strict=True)
        for seed in range(3)
    ]
    found = verdict_of(trials, DIFFERENCE | {"readings": True}).outcomes
    assert {o.sample.reading["init"]: (o.estimate, o.verdict) for o in found} == {
        "he": (20.0, "confirmed"),
        "xavier": (-10.0, "refuted"),
    }
    assert found[0].family_size == 1  # each reading is a family of its own


def test_holm_adjusts_within_the_family_and_not_across() -> None:
    trials = arms([104.0, 103.0, 105.2], [100.0, 100.0, 100.0])
    parts = [DIFFERENCE | {"name": name} for name in ("a", "b", "c")]
    alone = verdict_of(trials, DIFFERENCE).outcomes[0]
    together = verdict_of(trials, *parts).outcomes[0]
    beside = verdict_of(trials, DIFFERENCE | {"name": "x"}, *(part | {"main": False} for part in parts)).outcomes
    assert alone.p is not None and alone.p_adjusted == alone.p
    assert together.p_adjusted == pytest.approx(3 * alone.p)
    assert [outcome.p_adjusted for outcome in beside] == pytest.approx([alone.p, *[3 * alone.p] * 3])
    first, second = ({"id": f"C{n}", "family": family} for n, family in ((1, "f"), (2, "g")))
    base = ledger_of(DIFFERENCE)
    both = base.model_copy(update={"claims": tuple(base.claims[0].model_copy(update=keys) for keys in (first, second))})
    assert [v.outcomes[0].p_adjusted for v in Evidence([tables(*trials)]).judge(both)] == pytest.approx([alone.p] * 2)


def test_pairing_is_by_seed_whatever_the_order_of_rows() -> None:
    values = ([101.0, 111.0, 121.0], [100.0, 110.0, 120.0])  # far apart over seeds, and exactly 1 apart within
    trials = arms(*values)
    part = DIFFERENCE | {"margin": 0.5}
    (outcome,) = verdict_of(trials, part).outcomes
    (shuffled,) = verdict_of([trials[index] for index in (4, 0, 2, 5, 1, 3)], part).outcomes
    assert outcome.verdict == "confirmed"
    assert (outcome.estimate, outcome.low, outcome.high) == (1.0, 1.0, 1.0)
    assert shuffled == outcome


def test_seed_without_a_partner_is_left_out_and_reported() -> None:
    (outcome,) = verdict_of(arms([147.0, 148.0, 149.0, 150.0], [100.0, 101.0]), DIFFERENCE).outcomes
    assert (outcome.sample.seeds, outcome.estimate, outcome.sample.trouble.unpaired) == ((0, 1), 47.0, 2)


def test_failed_diverged_and_unfinished_replicates_are_reported_and_collapsed_ones_used() -> None:
    trials = arms([147.0, 148.0], [100.0, 101.0])
    trials += [trial(LINEAR, 2, metrics={"test_nll": 1e9}, status="diverged"), trial(LINEAR, 3, status="failed")]
    trials += [trial(ELU, 2, status="running"), trial(ELU, 3, status="pending")]
    trials += [trial(arm, 4, metrics={"test_nll": 206.0}, collapsed=True) for arm in (LINEAR, ELU)]
    (outcome,) = verdict_of(trials, DIFFERENCE).outcomes
    assert outcome.sample.seeds == (0, 1, 4)
    found = {name: count for name, count in asdict(outcome.sample.trouble).items() if count}
    assert found == {"failed": 1, "diverged": 1, "unfinished": 2, "collapsed": 2}
    page = markdown.to_markdown([verdict_of(trials, DIFFERENCE)])
    assert "3 seeds, 1,000 steps, 1 failed, 1 diverged, 2 unfinished, 2 collapsed" in page


def test_seeds_that_one_arm_was_given_more_of_leave_nothing_unfinished_in_the_other() -> None:
    trials = arms([147.0, 148.0], [100.0, 101.0, 102.0])
    (outcome,) = verdict_of([*trials, trial(LINEAR, 2, status="pending")], DIFFERENCE).outcomes
    assert (outcome.sample.seeds, outcome.sample.trouble.unpaired, outcome.sample.trouble.unfinished) == ((0, 1), 1, 0)
    (outcome,) = verdict_of([trial(LINEAR, 0, status="pending"), *trials[1:]], DIFFERENCE).outcomes
    assert outcome.sample.trouble.unfinished == 1


def test_longest_budget_that_both_arms_have_is_used_and_stated() -> None:
    def at(steps: int, linear: float, elu: float | None) -> list[dict[str, Any]]:
        ends = {"linear": linear} | ({} if elu is None else {"elu": elu})
        return [
            trial({"activation": name, "steps": steps}, seed, metrics={"test_nll": nll + seed})
            for name, nll in ends.items()
            for seed in range(2)
        ]

    trials = [*at(500, 160.0, 150.0), *at(1000, 150.0, 120.0), *at(2000, 148.0, None)]
    (outcome,) = verdict_of(trials, DIFFERENCE | {"steps": 2000}).outcomes
    assert (outcome.estimate, outcome.sample.budget_text) == (30.0, "1,000 steps")
    assert "short of the 2,000 steps" in outcome.note
    (named,) = verdict_of(trials, DIFFERENCE | {"where": {"steps": 500}}).outcomes
    assert (named.estimate, named.sample.budget_text) == (10.0, "500 steps")
    pilot = [*trials, trial({"activation": "elu", "steps": 2000}, 0, metrics={"test_nll": 90.0})]
    (kept,) = verdict_of(pilot, DIFFERENCE).outcomes
    assert (kept.estimate, kept.sample.seeds) == (30.0, (0, 1))
    assert "left out: 2,000 steps (1 seed)" in kept.note  # one longer seed takes nothing from the others
    apart = [*at(500, 160.0, None), *at(1000, 150.0, 120.0)[2:]]
    assert "no steps in common (linear: 500; elu: 1,000)" in verdict_of(apart, DIFFERENCE).outcomes[0].note


def test_replicate_in_two_runs_counts_once_with_what_either_has_measured() -> None:
    bare = [trial(ELU, seed, metrics={"test_nll": 100.0}) for seed in range(3)]
    measured = [
        trial(ELU, seed, metrics={"test_nll": 100.0}, profiles={(1000, "recognition"): [0.95 + seed / 1000]})
        for seed in range(3)
    ]
    part = {"kind": "threshold", "arms": ["elu"], "value": {"profile": "recognition"}} | {"direction": "greater"}
    (verdict,) = Evidence([tables(*bare), tables(*measured, study="latent")]).judge(ledger_of(part | {"margin": 0.9}))
    assert verdict.outcomes[0].sample.seeds == (0, 1, 2)
    assert verdict.verdict == "confirmed"
    (without,) = Evidence([tables(*bare)]).judge(ledger_of(part | {"margin": 0.9}))
    assert without.outcomes[0].note == "needs `study launch paper` with its measurements: elu: not recorded"


def test_pca_is_the_partner_of_every_seed() -> None:
    pca = trial({"task": "pca"}, 0, metrics={"test_sse": 34.4})
    trials = [*(trial(ELU, seed, metrics={"test_sse": 16.0 + seed}) for seed in range(3)), pca]
    part = DIFFERENCE | {"pairs": [["elu", "pca"]], "value": {"metric": "test_sse"}, "direction": "less", "margin": 0}
    (outcome,) = verdict_of(trials, part).outcomes
    assert outcome.estimate == pytest.approx(-17.4)
    assert (outcome.verdict, outcome.sample.trouble.unpaired) == ("confirmed", 0)


def test_by_latent_dim_tests_each_and_skips_what_no_run_was_to_have() -> None:
    trials = [
        trial(arm | {"latent_dim": dim}, seed, metrics={"test_nll": nll + dim + seed})
        for arm, nll, dims in ((LINEAR, 150.0, (2, 5, 10)), (ELU, 100.0, (2, 5)))
        for dim in dims
        for seed in range(2)
    ]
    verdict = verdict_of(trials, DIFFERENCE | {"by": "latent_dim"})
    assert {o.sample.at["latent_dim"]: o.verdict for o in verdict.outcomes} == {2: "confirmed", 5: "confirmed"}
    assert verdict.verdict == "confirmed"
    assert verdict_of(trials, DIFFERENCE | {"by": "latent_dim", "least": 3}).verdict == "inconclusive"


def test_table_older_than_a_field_has_its_default() -> None:
    new = tables(*arms([147.0, 148.0], [100.0, 101.0]))
    content = io.BytesIO()
    pq.write_table(new.files["results"].read().drop_columns(["config/precision", "config/input_noise"]), content)
    old = Tables({**new.files, "results": pq.ParquetFile(content)}, new.spec, new.provenance)
    assert "config/precision" not in old.files["results"].schema_arrow.names
    assert old.ends["config/precision"].equals(new.ends["config/precision"])
    (verdict,) = Evidence([old]).judge(ledger_of(DIFFERENCE))
    assert verdict.outcomes == Evidence([new]).judge(ledger_of(DIFFERENCE))[0].outcomes


def test_page_and_frame_show_every_test_and_escape_what_markdown_would_read() -> None:
    verdicts = Evidence([tables(*arms([147.0, 148.0], [100.0, 101.0]))]).verdicts
    page, frame = markdown.to_markdown(verdicts), markdown.to_frame(verdicts)
    assert all(f"## {verdict.claim.id}: {verdict.verdict}" in page for verdict in verdicts)
    assert "q(z\\|x)" in page
    assert all(erratum.correct.replace("|", "\\|") in page for erratum in load().errata)
    assert len(frame) == sum(len(verdict.outcomes) for verdict in verdicts)
    assert set(frame["claim"]) == {claim.id for claim in load().claims}
    assert {f"reading/{field}" for field in READING_FIELDS} <= set(frame)
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert all(line.endswith(" |") for line in rows)
