"""Several verdicts make one by the rule of the claim."""

from __future__ import annotations

import pytest

from analysis.verdict import combine, counts_of


@pytest.mark.parametrize(
    ("found", "rule", "expected"),
    [
        (["confirmed", "confirmed"], "all", "confirmed"),
        (["confirmed", "refuted"], "all", "refuted"),
        (["confirmed", "refuted"], "split", "split"),
        (["refuted", "refuted"], "split", "refuted"),
        (["confirmed", "inconclusive"], "all", "inconclusive"),
        (["confirmed", "inconclusive", "refuted"], "split", "split"),
        (["confirmed", "not measured"], "all", "inconclusive"),
        (["refuted", "not measured"], "all", "refuted"),
        (["refuted", "not measured"], "split", "refuted in part"),
        (["refuted", "inconclusive"], "split", "refuted in part"),
        (["refuted in part", "inconclusive"], "split", "refuted in part"),
        (["refuted in part", "confirmed"], "split", "split"),
        (["not measured"], "all", "not measured"),
        ([], "split", "not measured"),
    ],
)
def test_combine_follows_the_rule(found: list[str], rule: str, expected: str) -> None:
    assert combine(found, rule) == expected


def test_counts_are_in_the_order_of_the_verdicts() -> None:
    assert counts_of(["inconclusive", "refuted", "confirmed", "refuted"]) == "1 confirmed, 2 refuted, 1 inconclusive"
