"""The forest plot counts in margins: above 0 on the claim's side, whatever the claim's unit."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from analysis.claims.evaluate import Judgement
from analysis.evidence import Evidence
from analysis.figures.base import Drawn, Skipped
from analysis.figures.forest import draw_forest, forest_data
from analysis.verdict import Verdict
from tests.support.sweeps import sweep_tables
from tests.support.tables import make_tables


@pytest.fixture(scope="module")
def judged() -> list[Judgement]:
    return Evidence([make_tables(seeds=3), sweep_tables()]).verdicts


def test_effect_lies_on_the_claims_side_exactly_where_it_is_above_or_below_its_margin(judged: list[Judgement]) -> None:
    rows = forest_data(judged).dropna(subset="margins")
    sided = rows[rows["claimed"].str.match(r"[<>] ")]
    assert len(sided) > 10
    for row in sided.to_dict("records"):
        holds = row["estimate"] > row["margin"] if row["claimed"].startswith(">") else row["estimate"] < row["margin"]
        assert (row["margins"] > 0) == holds, row
        if row["margin"]:
            assert abs(row["margins"]) == pytest.approx(abs(row["estimate"] - row["margin"]) / abs(row["margin"]))
    equal = rows[rows["claimed"].str.startswith("within")]
    assert len(equal) and (equal["margins"] <= 1).all()
    assert ((equal["estimate"].abs() < equal["margin"]) == (equal["margins"] > 0)).all()


def test_interval_holds_the_effect_and_verdicts_lie_on_their_side(judged: list[Judgement]) -> None:
    rows = forest_data(judged).dropna(subset=["margins_low", "margins_high"])
    assert (rows["margins_low"] <= rows["margins"] + 1e-9).all() and (
        rows["margins"] <= rows["margins_high"] + 1e-9
    ).all()
    assert (rows.loc[rows["verdict"] == "confirmed", "margins"] > 0).all()
    assert (rows.loc[rows["verdict"] == "refuted", "margins"] < 0).all()


def test_estimates_of_n_count_in_log_n_from_the_nearer_end_of_the_band(judged: list[Judgement]) -> None:
    rows = forest_data(judged).set_index("claim").loc[["C15"]]
    for row in rows.to_dict("records"):
        assert row["margins"] == pytest.approx(1 - abs(math.log10(row["estimate"]) - 1.5) / 0.5)


def test_each_claim_shows_its_worst_test_and_leads_to_its_tests(judged: list[Judgement]) -> None:
    figure = draw_forest(judged)
    assert isinstance(figure, Drawn)
    frame = figure.frame
    measured = frame[frame["margins"].notna()]
    assert (measured[measured["shown"]].groupby("claim").size() == 1).all()
    worst = measured.groupby("claim", sort=False)["margins"].min()
    assert (measured[measured["shown"]].set_index("claim")["margins"] == worst).all()
    assert frame["claim"].nunique() == 21 and "#claim-c14" in figure.svg("r1-")


def test_one_seed_has_a_mark_and_no_interval_and_no_measured_claim_no_figure() -> None:
    frame = forest_data(Evidence([make_tables(seeds=1)]).verdicts)
    measured = frame[frame["margins"].notna()]
    assert len(measured) and measured["margins_low"].isna().all()
    nothing = [
        replace(one, verdict=Verdict.NOT_MEASURED, outcomes=())
        for one in Evidence([make_tables(arms=("pca",))]).verdicts
    ]
    assert isinstance(draw_forest(nothing), Skipped)
