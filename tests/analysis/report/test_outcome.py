"""The answer to a run's question has the tables' numbers, and is true of a run with one cell, one seed or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.report.outcome import answer
from study.table import Tables, load_tables
from study.tables.trials import ranked
from tests.support.moments import first_second
from tests.support.sweeps import intrinsic_tables, sweep_tables
from tests.support.tables import make_tables, replaced

RESULTS = Path(__file__).resolve().parents[3] / "results"


def one(tables: Tables) -> str:
    (sentence,) = answer(tables)
    return sentence


def test_comparison_names_best_and_worst_with_their_intervals() -> None:
    first, *rest = answer(make_tables(seeds=2))
    assert first == (
        "Of 7 networks elu is best, with a test NLL of 101.0 [88.3, 113.7] nats per image; linear clipped is worst, "
        "with 1,546.0 [1,533.3, 1,558.7]."
    )
    assert rest == [], "all differ by the same amount in each seed, so that each is told apart from the best"


def test_network_whose_paired_difference_holds_0_is_not_told_apart() -> None:
    tables = replaced(make_tables(seeds=3), "vae", 0, test_nll=90.0)
    _, near = answer(tables)
    assert near.endswith("holds 0: vae.")


def test_two_networks_have_their_paired_difference() -> None:
    tables = replaced(make_tables(seeds=2, arms=("elu", "relu")), "relu", 1, test_nll=115.0)
    assert one(tables) == (
        "The test NLL of elu is 101.0 [88.3, 113.7] nats per image, of relu 113.0 [87.6, 138.4]; paired by seed, the "
        "difference is 12 [-0.706, 24.7] nats."
    )


def test_one_seed_has_no_interval_and_one_cell_no_comparison() -> None:
    assert "elu is best, with a test NLL of 100.0 nats" in answer(make_tables(seeds=1))[0]
    assert one(make_tables(seeds=1, arms=("elu",))) == (
        "The only network that finished, elu, ends at a test NLL of 100.0 nats per image."
    )


@pytest.mark.parametrize(
    ("values", "states"),
    [
        ({"status": "diverged", "final": True}, "none of 1 replicates has finished (1 diverged)"),
        ({"status": "failed", "final": False}, "none of 1 replicates has finished (1 failed)"),
        ({"test_nll": float("nan")}, "none of 1 replicates has a final test NLL that is a number (1 finished)"),
    ],
)
def test_run_without_a_number_says_so_in_one_sentence(values: dict[str, object], states: str) -> None:
    assert (
        one(replaced(make_tables(seeds=1, arms=("elu",)), "elu", 0, **values)) == f"There is no answer yet: {states}."
    )


def test_run_that_has_only_begun_says_so() -> None:
    assert one(first_second(make_tables(seeds=1, arms=("elu",)))).startswith("There is no answer yet: none of 1")


def test_sweep_compares_its_ends_or_follows_its_only_network() -> None:
    rates = [1e-4, 1e-3, 1e-2, 1e-1]
    both = make_tables(seeds=1, arms=("elu", "vae"), grid={"learning_rate": rates})
    assert one(both) == (
        "Best and worst test NLL, in nats per image: at learning rate = 0.0001 elu 157.7 and vae 157.7; at learning "
        "rate = 0.1 elu 157.7 and vae 157.7."
    )
    alone = make_tables(seeds=1, arms=("vae",), grid={"learning_rate": rates})
    alone = replaced(alone, "vae learning_rate=0.001", 0, test_nll=90.0)
    assert one(alone) == (
        "From learning rate = 0.0001 to 0.1, vae: test NLL from 157.7 to 157.7, KL from 11.0 to 11.0. The test NLL is "
        "least at learning rate = 0.001."
    )


def test_sweep_over_n_tells_n_first() -> None:
    first, second = answer(sweep_tables())
    assert "with room to spare a VAE keeps 25" in first and "latents in use (U)" in first
    assert second.startswith("Best and worst test NLL, in nats per image: at N = ")


def test_setting_with_the_largest_effect_is_that_of_networks_that_differ_in_it_alone() -> None:
    grid = {"init": ["he", "default"], "grad_clip": [5.0, 0.0]}
    tables = make_tables(seeds=1, arms=("elu",), grid=grid)
    for init, clip, value in (("he", 5.0, 100.0), ("he", 0.0, 103.0), ("default", 5.0, 120.0), ("default", 0.0, 121.0)):
        tables = replaced(tables, f"elu init={init} grad_clip={clip}", 0, test_nll=value)
    effect = answer(tables)[-1]
    assert effect == (
        "The largest effect has init: 19.0 nats from its best to its worst value over 2 comparisons of networks that "
        "differ in nothing else; then grad clip 2.0."
    )


def test_search_is_told_in_its_objective_with_what_was_drawn() -> None:
    tables = load_tables(str(RESULTS / "vae"))
    best = ranked(tables).iloc[0]
    told = answer(tables)
    assert f"{best['val_neg_elbo']:.0f} nats/image" in told[0] and f"of trial {best['trial']}" in told[0]
    assert f"N = {best['field/latent_dim']}" in told[0] and "learning rate 0.00" in told[0]
    assert told[-1] == "Of 60 trials: 31 finished, 29 stopped."
    front = answer(load_tables(str(RESULTS / "rate-distortion")))
    assert front[0].startswith("24 of 40 finished trials are on the Pareto front, from validation NLL")


def test_estimators_on_known_images_are_told_by_where_they_are_right() -> None:
    tables = intrinsic_tables(lambda name, n, digit, seed: 4.0 + 0.01 * seed, datasets=("strokes-4-one", "mnist"))
    assert any(text.startswith("Where the number k of factors is known") for text in answer(tables))
