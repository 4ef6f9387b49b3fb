"""Numbers, intervals and tables are written as a reader expects."""

from __future__ import annotations

import pytest

from analysis.formats import decimals, figures, in_words, number, p_value, table, with_interval, word


@pytest.mark.parametrize(("value", "text"), [(-1e-9, "0.0"), (-0.00004, "0.0"), (-0.5, "-0.5000"), (0.0, "0.0")])
def test_number_that_rounds_to_zero_has_no_sign(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "< 0.0001"), (1e-20, "< 0.0001"), (1e-4, "0.0001"), (0.0123, "0.012")]
)
def test_p_value_is_never_zero(value: float, text: str) -> None:
    assert p_value(value) == text


@pytest.mark.parametrize("write", [number, figures, decimals])
def test_absent_number_is_a_dash_and_an_infinite_one_is_told(write) -> None:
    assert [write(value) for value in (None, float("nan"), float("inf"), -float("inf"))] == ["–", "–", "∞", "-∞"]


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((22.2, 21.64, 22.76), "22.2 [21.6, 22.8]"),
        ((1234.5, 1200.0, 1300.4), "1,234 [1,200, 1,300]"),
        ((5.0, 5.0, 5.0), "5"),
        ((5.0, None, None), "5"),
        ((5.0, float("nan"), float("nan")), "5"),
        ((float("nan"), 1.0, 2.0), "–"),
        ((5.0, 4.0, float("inf")), "5 [4, ∞]"),
        ((336.0, 13_580_290.0, 40_335_219_835_413.0), "336 [13,580,290, 4.03e+13]"),
    ],
)
def test_interval_stands_beside_its_number_if_it_has_a_width(numbers, text) -> None:
    assert with_interval(*numbers) == text
    assert with_interval(2.0, 1.0, 3.0, decimals) == "2.0 [1.0, 3.0]"


def test_table_escapes_pipes() -> None:
    assert table(("a", "b"), [(1, "x|y")]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("elu", "elu"),
        ("elu latent_dim=50", "elu, N = 50"),
        ("vae dataset=strokes-8-one latent_dim=64", "vae, strokes-8-one, N = 64"),
        ("linear clipped hidden_dims=[500, 500] l2=0.0", "linear clipped, layers [500, 500], L2 0.0"),
        ("elu learning_rate=0.0019020817006779444", "elu, learning rate 0.001902"),
    ],
)
def test_cell_is_named_in_words_with_n_and_few_digits(cell: str, text: str) -> None:
    assert in_words(cell) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("test_nll", "test NLL"),
        ("val_neg_elbo", "validation negative ELBO"),
        ("test_active_units", "active units"),
        ("latent_dim", "latent dimension N"),
        ("weight_dropout", "weight dropout"),
    ],
)
def test_metrics_and_fields_have_words(name: str, text: str) -> None:
    assert word(name) == text
