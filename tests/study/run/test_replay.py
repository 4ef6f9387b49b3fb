"""A replicate trained again against its rows: equal, computed otherwise, beyond the spread over seeds."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from study.run.replay import Comparison, Difference, compare, lines
from trainables.records import Record
from trainables.schema import METRICS

OLD = {"numerics": "old", "device": "cpu", "git_commit": "abc"}


def table(*ends: float) -> pd.DataFrame:
    """One cell's seeds `r0`, `r1`, ... with these test NLLs at step 10; at step 0 all have 500."""
    rows = [
        {"replicate": f"r{seed}", "cell": "elu", "step": step, "test_nll": nll} | OLD
        for seed, end in enumerate(ends)
        for step, nll in ((0, 500.0), (10, end))
    ]
    return pd.DataFrame(rows).reindex(columns=[*rows[0], *(name for name in METRICS if name != "test_nll")])


def again(end: float | None, **origin: Any) -> Record:
    rows = [dict.fromkeys(METRICS) | {"step": step, "test_nll": nll} for step, nll in ((0, 500.0), (10, end))]
    return Record({}, rows=rows, provenance=OLD | origin)


@pytest.mark.parametrize(
    ("stored", "now", "share"),
    [(2.0, 2.0, 0), (2.0, 1.0, 0.5), (-1.0, 1.0, 2), (0.0, 0.0, 0), (0.0, 1e-9, 1), (None, None, 0)],
)
def test_difference_is_a_share_of_the_larger(stored: float | None, now: float | None, share: float) -> None:
    assert Difference(0, "test_nll", stored, now).share == share


def test_difference_of_a_number_to_none_is_infinite() -> None:
    assert Difference(0, "test_nll", 1.0, None).share == Difference(0, "test_nll", None, 1.0).share == math.inf


def compared(end: float | None, *ends: float, **origin: Any) -> tuple[Comparison, str]:
    comparison = compare(table(*ends), "r0", again(end, **origin))
    return comparison, " ".join(lines(comparison))


def test_compare_of_the_same_numerics_is_equal_below_a_millionth_alone() -> None:
    same, text = compared(100.0, 100.0, 101.0)
    assert same.agrees and "bit for bit" in text and "Others" not in text
    near, text = compared(100.0 + 9e-5, 100.0, 101.0)
    assert near.agrees and "bit for bit" not in text and "9e-07: test_nll at step 10" in text
    far, text = compared(100.0 + 2e-4, 100.0, 101.0)
    assert not far.agrees and "nothing that is recorded" in text


def test_compare_of_other_numerics_is_held_against_the_spread_over_seeds() -> None:
    within, text = compared(100.5, 100.0, 101.0, numerics="new")
    assert within.agrees and within.in_spreads == pytest.approx(0.5 / math.sqrt(0.5))
    assert "numerics: old in the table, new now" in text and "within their spread" in text
    beyond, text = compared(102.0, 100.0, 101.0, device="GPU")
    assert not beyond.agrees and "device: cpu in the table, GPU now" in text and "beyond their spread" in text


def test_compare_of_other_numerics_with_one_seed_does_not_agree() -> None:
    alone, text = compared(100.5, 100.0, git_commit="def")
    assert alone.in_spreads is None and not alone.agrees and "one seed of this cell" in text


def test_compare_of_a_number_that_became_none_is_beyond_any_spread() -> None:
    lost, _ = compared(None, 100.0, 101.0, numerics="new")
    assert lost.in_spreads == math.inf and not lost.agrees


def test_compare_of_a_table_without_the_column_says_that_it_is_not_recorded() -> None:
    comparison = compare(table(100.0, 101.0).drop(columns="numerics"), "r0", again(100.0))
    assert comparison.others == ["numerics: not recorded in the table, old now"] and comparison.agrees


def test_compare_without_a_common_step_does_not_agree() -> None:
    nothing = compare(table(100.0), "absent", again(100.0))
    assert not nothing.agrees and "nothing to compare" in " ".join(lines(nothing))
