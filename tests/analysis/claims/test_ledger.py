"""The ledger is whole, refuses what it does not know, and speaks of cells that the studies have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from analysis.claims.arms import bind
from analysis.claims.ledger import READING_FIELDS, UNMATCHED_FIELDS, Control, LedgerError, load, parse
from analysis.claims.pool import agrees
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


@pytest.mark.parametrize("claim_id", ["C6", "C7"])
def test_ledger_linear_claims_are_split_by_every_reading(claim_id: str) -> None:
    claim = next(claim for claim in load().claims if claim.id == claim_id)
    assert any(getattr(part, "readings", ()) == READING_FIELDS for part in claim.parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"typo": 1}, "typo"),
        ({"value": {"metric": "test_nl"}}, "Did you mean 'test_nll'"),
        ({"value": {"metric": "test_nll", "profile": "spectrum"}}, "exactly one of metric, profile"),
        ({"value": {"profile": "probe_liner"}}, "`profile` must be a quantity .* Did you mean 'probe_linear'"),
        ({"value": {"profile": "probes"}}, "`profile` must be a quantity .* got 'probes'"),
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
