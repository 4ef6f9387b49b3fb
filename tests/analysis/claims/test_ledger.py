"""The ledger is whole, refuses what it does not know, and speaks of cells that the studies have."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

import pytest
from pydantic import ValidationError

from analysis.claims import markdown
from analysis.claims.arms import bind
from analysis.claims.ledger import READING_FIELDS, UNMATCHED_FIELDS, Control, LedgerError, load, parse
from analysis.claims.pool import agrees
from analysis.evidence import Evidence
from study import spec
from study.plan import Plan
from tests.support.claims import DIFFERENCE, content_of, ledger_of
from trainables.quantities import QUANTITIES
from trainables.registry import CURVES, DATASETS
from trainables.schema import TrialConfig


def test_ledger_has_claims_c1_to_c21_once_each_in_order() -> None:
    assert [claim.id for claim in load().claims] == [f"C{number}" for number in range(1, 22)]
    assert len(load().errata) == 4


def test_ledger_names_only_studies_and_recorded_quantities_and_datasets_that_exist() -> None:
    for claim in load().claims:
        for part in claim.parts:
            assert set(claim.studies_of(part)) <= set(spec.names()), f"{claim.id} {part.name}"
            for value in (getattr(part, "value", None), getattr(part, "against", None)):
                profile = None if value is None else value.profile
                assert profile is None or QUANTITIES[profile].recorded, f"{claim.id} {part.name}"
            assert not isinstance(part, Control) or part.dataset in DATASETS


@pytest.mark.parametrize("claim", load().claims, ids=lambda claim: claim.id)
def test_ledger_arms_are_cells_of_the_studies_that_feed_the_claim(claim: Any) -> None:
    ledger = load()
    for part in claim.parts:
        planned = [c for name in claim.studies_of(part) for c in Plan(spec.load(name)).cells.values()]
        free = (getattr(part, "by", None), *getattr(part, "readings", ()), *getattr(part, "over", ()))
        for name in part.arm_names:
            arm = bind(ledger, name, part, (*free, "latent_dim") if part.kind == "reach" else free)
            matched = TrialConfig.model_fields.keys() - arm.unmatched - set(arm.free)
            assert any(all(agrees(getattr(arm.config, f), getattr(c, f)) for f in matched) for c in planned), (
                f"{claim.id} {part.name}: no cell of {claim.studies_of(part)} is {name}"
            )


def test_ledger_linear_claims_are_split_by_every_reading() -> None:
    claims = {claim.id: claim for claim in load().claims}
    assert any(getattr(part, "readings", ()) == READING_FIELDS for part in claims["C6"].parts)
    main = [part for part in claims["C7"].parts if part.main]
    assert all({"output", *getattr(part, "readings", ())} == set(READING_FIELDS) for part in main)
    heads = {tuple(load().arm(name, {}).output for name in part.arm_names) for part in main}
    assert heads == {("sigmoid", "sigmoid"), ("clipped", "clipped")}  # the same of both networks


def test_ledger_names_cells_that_a_study_of_the_part_has() -> None:
    for claim in load().claims:
        for part in claim.parts:
            names = [name for study in claim.studies_of(part) for name in Plan(spec.load(study)).cells]
            assert not part.cells or fnmatch.filter(names, part.cells), f"{claim.id} {part.name}: {part.cells}"


def test_ledger_asks_only_for_quantities_that_a_study_of_the_part_measures() -> None:
    always = {"evaluation", "pca", "intrinsic_dimension"}
    for claim in load().claims:
        for part in claim.parts:
            measured = {name for study in claim.studies_of(part) for name in spec.load(study).measurements}
            for value in (getattr(part, "value", None), getattr(part, "against", None)):
                if value is not None and value.profile is not None:
                    assert QUANTITIES[value.profile].by in measured | always, f"{claim.id} {part.name}"
            assert part.kind != "told_apart" or "redrawn" in measured


def test_ledger_says_beside_a_changed_test_that_it_was_changed_after_seeing_the_data() -> None:
    changed = {claim.id for claim in load().claims if claim.history}
    assert changed >= {f"C{number}" for number in (1, 2, 3, 5, 7, 8, 9, 12, 13, 14, 17, 18, 19, 20, 21)}
    assert all(claim.history.startswith("After seeing the data: ") for claim in load().claims if claim.history)
    page = markdown.to_markdown(Evidence([]).verdicts)
    assert page.count("After seeing the data: ") == len(changed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"typo": 1}, "typo"),
        ({"value": {"metric": "test_nl"}}, "Did you mean 'test_nll'"),
        ({"value": {"metric": "test_nll", "profile": "spectrum"}}, "exactly one of metric, profile"),
        ({"value": {"profile": "probe_liner"}}, "`profile` must be a quantity .* Did you mean 'probe_linear'"),
        ({"value": {"profile": "probes"}}, "`profile` must be a quantity .* got 'probes'"),
        (
            {"value": {"profile": "projection_sse"}},
            "`index of projection_sse` must be one of encoded, optimised, but got None",
        ),
        ({"value": {"profile": "projection_sse", "index": 1}}, "one of encoded, optimised, but got 1"),
        ({"value": {"profile": "projection_sse", "index": "optimized"}}, "Did you mean 'optimised'"),
        ({"value": {"profile": "probe_knn", "each": ["100 labels", "all"]}}, "`index of probe_knn` .* but got 'all'"),
        ({"value": {"profile": "kl_per_latent", "index": "first"}}, "`index` of kl_per_latent must be a number"),
        ({"value": {"metric": "test_nll", "steps_until": {"reaches": 1, "share": 1}}}, "exactly one of within"),
        ({"between": [1, 5]}, "`by` must name the field of `between`"),
        ({"value": {"metric": "test_nll", "steps_until": {"target": 1, "share": 1}}}, "exactly one of within"),
        ({"pairs": [["linear", "eluu"]]}, "Did you mean 'elu'"),
        ({"readings": ["inti"]}, "Did you mean 'init'"),
        ({"by": "latent"}, "Did you mean 'latent_dim'"),
        ({"where": {"latent_dims": 3}}, "Did you mean 'latent_dim'"),
        ({"direction": "up"}, "'greater' or 'less'"),
        ({"kind": "differences"}, "kind"),
        ({"arms": ["elu"]}, "exactly one of pairs, arms"),
        ({"main": False}, "`main` must be true"),
    ],
)
def test_parse_wrong_part_raises_one_line_that_names_it(change: dict[str, Any], message: str) -> None:
    claim = ledger_of(DIFFERENCE).claims[0].model_dump()
    content = content_of([claim | {"parts": [DIFFERENCE | {"name": "p"} | change]}])
    with pytest.raises(LedgerError, match=message) as raised:
        parse(json.dumps(content))
    assert "\n" not in str(raised.value)


def test_parse_quantity_of_a_plugin_is_known_by_the_name_of_its_measurement(monkeypatch) -> None:
    monkeypatch.setitem(CURVES, "spread", "mine:measure_spread")
    for name in ("spread", "spread_of_codes"):
        assert ledger_of(DIFFERENCE | {"value": {"profile": name}}).claims
    with pytest.raises(ValidationError, match="Did you mean 'spread'"):
        ledger_of(DIFFERENCE | {"value": {"profile": "sprad"}})


def test_parse_same_name_or_id_twice_or_no_yaml_raises() -> None:
    with pytest.raises(ValidationError, match="given once"):
        ledger_of(DIFFERENCE | {"name": "p"}, DIFFERENCE | {"name": "p"})
    with pytest.raises(LedgerError, match="no valid YAML"):
        parse("claims: [")
    with pytest.raises(LedgerError, match="Did you mean 'init'"):
        parse(json.dumps({"version": 1, "arms": {"a": {"inti": "he"}}, "claims": []}))


def test_parse_history_must_have_an_entry_for_each_version() -> None:
    with pytest.raises(LedgerError, match="`history` must have 2 entries, one a version, but has 1"):
        parse(json.dumps({"version": 2, "history": ["the first"], "arms": {}, "claims": []}))
    assert len(load().history) == load().version


def test_unmatched_fields_are_fields_of_the_config() -> None:
    assert set(UNMATCHED_FIELDS) | set(READING_FIELDS) <= TrialConfig.model_fields.keys()
